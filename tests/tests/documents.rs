//! Statements in documents.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kmslab_e2e::{binaries, root};

/// Every `.rs` file of the workspace that is not generated or a build product.
fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "gen" {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// Names of all test functions.
fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(root(), &mut files);
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let mut marked = false;
        for line in text.lines().map(str::trim) {
            marked |= line == "#[test]" || line.starts_with("#[tokio::test");
            if let Some(rest) = line
                .split_once("fn ")
                .map(|(_, rest)| rest)
                .filter(|_| marked)
            {
                names.insert(rest.split(['(', '<']).next().unwrap().to_owned());
                marked = false;
            }
        }
    }
    names
}

#[test]
fn every_statement_of_semantics_names_an_existing_test() {
    let text = fs::read_to_string(root().join("SEMANTICS.md")).unwrap();
    let known = tests();
    let mut sentences = 0;
    for item in text.split("\n- ").skip(1) {
        let item = item.split("\n\n").next().unwrap();
        let names: Vec<&str> = item
            .split("(test: ")
            .skip(1)
            .map(|rest| rest.split(')').next().unwrap())
            .collect();
        assert!(!names.is_empty(), "no test holds this: {item}");
        for name in names {
            assert!(
                known.contains(name),
                "there is no test {name}, which holds: {item}"
            );
        }
        sentences += 1;
    }
    assert!(sentences > 10, "{sentences}");
}

#[test]
fn generated_code_matches_its_protos() {
    let examples = binaries().join("examples");
    for name in ["gen_kmsv2", "gen_etcd"] {
        let output = std::process::Command::new(examples.join(name))
            .arg("--check")
            .output();
        let output = output
            .unwrap_or_else(|error| panic!("{name}: {error}; run the tests with --workspace"));
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
