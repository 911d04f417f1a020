//! The list of variables that the vendors' SDKs read, compared with their sources.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use kmslab::cloud::sdk_variables;
use kmslab_e2e::root;

/// The SDK crates that read the environment.
const CRATES: &[&str] = &[
    "aws-config",
    "aws-runtime",
    "aws-types",
    "azure_core",
    "azure_identity",
    "google-cloud-auth",
    "google-cloud-gax-internal",
];
const PREFIXES: &[&str] = &[
    "AWS_",
    "AZURE_",
    "GCE_",
    "GOOGLE_",
    "IDENTITY_",
    "IMDS_",
    "MSI_",
];
/// In their sources, but not read: examples in documentation and tests, settings of live tests and
/// of the build.
const NOT_READ: &[&str] = &[
    "AWS_SDK_RUST_BUILD_UA_METADATA",
    "AWS_SOME_KEY",
    "AZURE_TEST_MODE",
    "IDENTITY_ACI_IP_USER_ASSIGNED",
    "IDENTITY_AKS_IP",
    "IDENTITY_IMDS_AVAILABLE",
    "IDENTITY_STORAGE_NAME_USER_ASSIGNED",
    "IDENTITY_USER_ASSIGNED_IDENTITY_CLIENT_ID",
];

/// Where cargo has unpacked a crate of this workspace.
fn source(metadata: &serde_json::Value, name: &str) -> PathBuf {
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages
        .iter()
        .find(|package| package["name"] == name)
        .unwrap_or_else(|| panic!("no {name}"));
    Path::new(package["manifest_path"].as_str().unwrap()).with_file_name("src")
}

/// Every string literal in a crate's sources that is the full name of a variable.
fn names(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let literals = text
                .split('"')
                .filter(|part| PREFIXES.iter().any(|prefix| part.starts_with(prefix)));
            let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            found.extend(
                literals
                    .filter(|literal| literal.chars().all(is_name))
                    .map(str::to_owned),
            );
        }
    }
}

/// This machine's platform; dependencies of other platforms may be missing.
fn host() -> String {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
        .arg("-vV")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap()
        .to_owned()
}

#[test]
fn every_variable_in_the_sdk_sources_is_listed() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--offline",
            "--filter-platform",
            &host(),
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut found = BTreeSet::new();
    for name in CRATES {
        names(&source(&metadata, name), &mut found);
    }
    for sure in [
        "AWS_SESSION_TOKEN",
        "AZURE_AUTHORITY_HOST",
        "GCE_METADATA_HOST",
    ] {
        assert!(found.contains(sure), "the search finds nothing: {found:?}");
    }
    let listed: BTreeSet<&str> = sdk_variables::all().collect();
    let missing: Vec<_> = found
        .iter()
        .filter(|name| {
            !listed.contains(name.as_str()) && !NOT_READ.iter().any(|not| name.starts_with(not))
        })
        .collect();
    assert!(
        missing.is_empty(),
        "harness/src/cloud/sdk_variables.rs lacks {missing:?}"
    );
}
