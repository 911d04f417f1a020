//! The tree in ARCHITECTURE.md: its first code block. A line that is not indented names a
//! directory; the lines below it name paths in it. Paths end at two spaces; `{a,b}` is both.

use std::collections::BTreeSet;

/// All paths, without a `/` at the end.
pub(crate) fn paths(architecture: &str) -> BTreeSet<String> {
    let block = architecture.split("```").nth(1).unwrap();
    let mut named = BTreeSet::new();
    let mut top = String::new();
    for line in block.lines().filter(|line| !line.trim().is_empty()) {
        let column = line.trim_start().split("  ").next().unwrap();
        let inside = line.starts_with(' ');
        for path in column.split(' ').flat_map(alternatives) {
            let path = path.trim_end_matches('/').to_owned();
            if inside {
                named.insert(format!("{top}/{path}"));
            } else {
                top.clone_from(&path);
                named.insert(path);
            }
        }
    }
    named
}

/// `a/{b,c}/d` as `a/b/d` and `a/c/d`.
fn alternatives(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else {
        return vec![path.to_owned()];
    };
    let (names, after) = rest.split_once('}').unwrap();
    names
        .split(',')
        .map(|name| format!("{before}{name}{after}"))
        .collect()
}

#[test]
fn tree_lines_are_read_as_paths() {
    let text = "x\n```\na/   the first\n  b/{c,d}/ e.rs   both\nf/  g\n```\n";
    let paths: Vec<_> = paths(text).into_iter().collect();
    assert_eq!(paths, ["a", "a/b/c", "a/b/d", "a/e.rs", "f"]);
}
