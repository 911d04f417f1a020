//! Which files of a crate import which, from their syntax. Tests are left out, and so is what a
//! module and its own submodules import from each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};

type Module = Vec<String>;
type Modules = BTreeMap<Module, BTreeSet<Module>>;

/// The groups of files that import each other, each as sorted module paths.
pub(crate) fn circles(src: &Path) -> Vec<Vec<String>> {
    let mut sources = BTreeMap::new();
    collect(src, &Vec::new(), &mut sources);
    let names: BTreeSet<Module> = sources.keys().cloned().collect();
    let mut modules = Modules::new();
    for (module, source) in &sources {
        let mut imports = Imports {
            module,
            names: &names,
            found: BTreeSet::new(),
        };
        for text in source {
            imports.visit_file(&syn::parse_file(text).unwrap());
        }
        imports.found.retain(|other| !are_related(module, other));
        modules.insert(module.clone(), imports.found);
    }
    groups(&modules)
}

/// Reads the modules of a directory; `tests` are not among them.
fn collect(at: &Path, module: &Module, sources: &mut BTreeMap<Module, Vec<String>>) {
    for entry in fs::read_dir(at).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let child = [module.clone(), vec![name.clone()]].concat();
        if path.is_dir() {
            collect(&path, &child, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests" {
            let is_parent = matches!(name.as_str(), "mod" | "lib" | "main");
            let at = if is_parent { module.clone() } else { child };
            sources
                .entry(at)
                .or_default()
                .push(fs::read_to_string(&path).unwrap());
        }
    }
}

/// Whether one is the other's parent, or the parent of that.
fn are_related(one: &Module, other: &Module) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

struct Imports<'a> {
    module: &'a Module,
    names: &'a BTreeSet<Module>,
    found: BTreeSet<Module>,
}

impl Imports<'_> {
    /// Records the module that a path leads to, if it is one of the crate's.
    fn add(&mut self, path: &[String]) {
        let mut rest = path;
        let mut at = match rest.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self" | "super") => self.module.clone(),
            _ => {
                let child = [self.module.as_slice(), &path[..1]].concat();
                if !self.names.contains(&child) {
                    return;
                }
                self.module.clone()
            }
        };
        while let Some(first) = rest.first() {
            match first.as_str() {
                "crate" | "self" => {}
                "super" => drop(at.pop()),
                name => {
                    at.push(name.to_owned());
                    if !self.names.contains(&at) {
                        at.pop();
                        break;
                    }
                }
            }
            rest = &rest[1..];
        }
        if at != *self.module {
            self.found.insert(at);
        }
    }

    fn add_tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.add_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.add(&with(&name.ident)),
            syn::UseTree::Rename(name) => self.add(&with(&name.ident)),
            syn::UseTree::Glob(_) => self.add(before),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_tree(before, tree);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Imports<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.ident != "tests" {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if segments.len() > 1 {
            self.add(&segments);
        }
        visit::visit_path(self, path);
    }
}

/// The modules that can be reached from each other.
fn groups(modules: &Modules) -> Vec<Vec<String>> {
    let reached: BTreeMap<&Module, BTreeSet<&Module>> = modules
        .keys()
        .map(|module| (module, reachable(module, modules)))
        .collect();
    let mut groups = BTreeSet::new();
    for (module, others) in &reached {
        let group: Vec<String> = others
            .iter()
            .filter(|other| {
                reached
                    .get(*other)
                    .is_some_and(|back| back.contains(module))
            })
            .map(|other| other.join("/"))
            .collect();
        if group.len() > 1 {
            groups.insert(group);
        }
    }
    groups.into_iter().collect()
}

fn reachable<'a>(from: &Module, modules: &'a Modules) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&Module> = modules[from].iter().collect();
    while let Some(module) = next.pop() {
        if reached.insert(module) {
            next.extend(modules.get(module).into_iter().flatten());
        }
    }
    reached
}

#[test]
fn circle_of_three_files_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("lib.rs", "mod a; mod b; mod c; mod d;");
    write("a.rs", "use crate::b::{self, B};");
    write("b.rs", "fn b() { super::c::c() }");
    write("c.rs", "use crate::{a::A, d::D}; pub fn c() {}");
    write("d.rs", "#[cfg(test)] mod tests { use crate::a::A; }");
    assert_eq!(circles(dir.path()), [["a", "b", "c"]]);
    write("b.rs", "fn b() {}");
    assert!(circles(dir.path()).is_empty());
}
