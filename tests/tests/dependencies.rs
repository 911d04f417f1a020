//! deny.toml compared with what cargo resolves.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use kmslab_e2e::root;

/// A package that the workspace is built, tested or generated with on this platform.
struct Package {
    name: String,
    version: String,
    license: String,
    /// `None` for a registry.
    source: Option<String>,
}

/// The packages that cargo resolves. Not by `cargo metadata`, which also lists dependencies of
/// unused features, such as rustls' ring.
fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--edges",
            "all",
            "--prefix",
            "none",
            "--format",
            "{p}|{l}",
        ])
        // Everything is on this machine, since this test was built.
        .args(["--locked", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8(output.stdout).unwrap();
    // `name v1.2.3`, optionally `(proc-macro)` and `(*)`, and `(path or URL)` if it is not from a
    // registry.
    let packages = tree.lines().filter_map(|line| {
        let (package, license) = line.split_once('|')?;
        let mut words = package.split_whitespace();
        let (name, version) = (
            words.next()?.to_owned(),
            words.next()?.strip_prefix('v')?.to_owned(),
        );
        let source =
            words.find(|word| word.starts_with('(') && !["(*)", "(proc-macro)"].contains(word));
        Some(Package {
            name,
            version,
            license: license.replace("(*)", "").trim().to_owned(),
            source: source.map(str::to_owned),
        })
    });
    let packages: Vec<Package> = packages.collect();
    assert!(
        packages.len() > 100,
        "{} packages are too few to be all",
        packages.len()
    );
    packages
}

fn deny() -> toml::Table {
    std::fs::read_to_string(root().join("deny.toml"))
        .unwrap()
        .parse()
        .unwrap()
}

fn list(table: &toml::Table, section: &str, name: &str) -> Vec<String> {
    let items = table[section][name].as_array().unwrap();
    items
        .iter()
        .map(|item| item.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_licence_is_allowed() {
    let allowed: Vec<spdx::Licensee> = list(&deny(), "licenses", "allow")
        .iter()
        .map(|name| spdx::Licensee::parse(name).unwrap())
        .collect();
    for Package { name, license, .. } in packages() {
        let parsed = spdx::Expression::parse_mode(&license, spdx::ParseMode::LAX);
        let parsed =
            parsed.unwrap_or_else(|error| panic!("{name} has the licence {license:?}: {error}"));
        let holds =
            parsed.evaluate(|expected| allowed.iter().any(|licence| licence.satisfies(expected)));
        assert!(holds, "{name} has the licence {license}");
    }
}

#[test]
fn denied_crates_and_other_sources_are_not_used() {
    let denied = list(&deny(), "bans", "deny");
    for Package { name, source, .. } in packages() {
        assert!(!denied.contains(&name), "{name} is denied");
        let ours = source
            .as_deref()
            .is_none_or(|source| Path::new(source.trim_start_matches('(')).starts_with(root()));
        assert!(ours, "{name} comes from {source:?}");
    }
}

#[test]
fn duplicate_crates_are_listed() {
    let skipped = list(&deny(), "bans", "skip");
    let is_skipped = |name: &str, version: &str| {
        skipped.iter().any(|skip| {
            let (its_name, its_version) = skip.split_once('@').unwrap();
            its_name == name
                && (version == its_version || version.starts_with(&format!("{its_version}.")))
        })
    };
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for Package { name, version, .. } in packages() {
        if !is_skipped(&name, &version) {
            versions.entry(name).or_default().insert(version);
        }
    }
    versions.retain(|_, versions| versions.len() > 1);
    assert!(versions.is_empty(), "{versions:?}");
}
