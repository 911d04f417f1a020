//! Shared by the end-to-end tests.

mod shell;

use std::path::{Path, PathBuf};

pub use shell::{Shell, without_clouds};

/// Directory of the programs that cargo built for this test: `kmslab`, and `examples/`.
pub fn binaries() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let dir = test
        .ancestors()
        .nth(2)
        .map(Path::to_owned)
        .expect("cargo runs tests in a directory of the target's");
    assert!(
        dir.join("kmslab").exists(),
        "no kmslab in {}: run the tests with --workspace",
        dir.display()
    );
    dir
}

/// Root of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is a member of a workspace")
}
