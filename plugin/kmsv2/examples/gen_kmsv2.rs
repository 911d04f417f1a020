//! Generates src/gen from proto/ without protoc: `cargo run -p kmslab-kmsv2 --example gen_kmsv2 [--
//! --check]`.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Messages that contain plaintext; their `Debug` is written by hand and prints lengths only.
const REDACTED: [&str; 4] = [
    ".v2.EncryptRequest",
    ".v2.DecryptResponse",
    ".v1beta1.EncryptRequest",
    ".v1beta1.DecryptResponse",
];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => {
            return Err(format!("unknown argument {other:?}; the only one is --check").into());
        }
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut stale = Vec::new();
    for (folder, package) in [("socket", "v2"), ("socket_v1", "v1beta1"), ("stored", "v2")] {
        let created = generate(&root.join("proto").join(folder), package)?;
        let path = root
            .join("src/gen")
            .join(folder)
            .join(format!("{package}.rs"));
        if fs::read_to_string(&path).ok().as_deref() == Some(created.as_str()) {
            continue;
        }
        if check {
            stale.push(path.display().to_string());
        } else {
            fs::write(&path, created)?;
            println!("wrote {}", path.display());
        }
    }
    if stale.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "{} differs from its proto: run `cargo run -p kmslab-kmsv2 --example gen_kmsv2` and commit",
        stale.join(", ")
    );
    Ok(ExitCode::FAILURE)
}

fn generate(folder: &Path, package: &str) -> Result<String, Box<dyn Error>> {
    let descriptors = protox::compile(["api.proto"], [folder])?;
    let out = std::env::temp_dir().join(format!("kmsv2-gen-{}", std::process::id()));
    fs::create_dir_all(&out)?;
    let created = tonic_prost_build::configure()
        .btree_map(".")
        .skip_debug(REDACTED)
        .emit_rerun_if_changed(false)
        .out_dir(&out)
        .compile_fds(descriptors)
        .and_then(|()| fs::read_to_string(out.join(format!("{package}.rs"))));
    fs::remove_dir_all(&out)?;
    Ok(created?)
}
