//! ARCHITECTURE.md describes the tree as it is, and files do not import each other in circles.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod imports;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Directories of the workspace's crates.
fn members() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    members
        .iter()
        .map(|member| member.as_str().unwrap().to_owned())
        .collect()
}

/// Names of the directories in a directory, without hidden ones.
fn directories(at: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(at)
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && name != "target")
        .collect();
    names.sort();
    names
}

#[test]
fn files_do_not_import_each_other_in_circles() {
    let mut circles = Vec::new();
    for member in members() {
        for circle in imports::circles(&root().join(&member).join("src")) {
            circles.push(format!("{member}: {}", circle.join(" ⇄ ")));
        }
    }
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn architecture_names_every_directory_that_is_there_and_no_other() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let named = tree::paths(&text);
    let missing: Vec<_> = named
        .iter()
        .filter(|path| !root().join(path).exists())
        .collect();
    assert!(missing.is_empty(), "not there: {missing:?}");

    let mut there = directories(&root());
    there.extend(members());
    for member in members() {
        let src = Path::new(&member).join("src");
        for name in directories(&root().join(&src)) {
            there.push(src.join(name).to_str().unwrap().to_owned());
        }
    }
    // A directory of generated code needs no line.
    there.retain(|path| !named.contains(path) && !path.ends_with("/gen"));
    assert!(there.is_empty(), "not named: {there:?}");
}
