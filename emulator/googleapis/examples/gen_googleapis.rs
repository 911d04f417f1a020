//! Generates src/gen from proto/ without protoc: `cargo run -p kmslab-googleapis --example
//! gen_googleapis [-- --check]`.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Files of the services that are implemented.
const FILES: [&str; 5] = [
    "google/cloud/kms/v1/service.proto",
    "google/iam/v1/iam_policy.proto",
    "google/cloud/location/locations.proto",
    "google/longrunning/operations.proto",
    "google/rpc/error_details.proto",
];
/// Messages that contain plaintext or keys; their `Debug` is written by hand and prints only the
/// name.
const REDACTED: [&str; 10] = [
    "EncryptRequest",
    "DecryptResponse",
    "RawEncryptRequest",
    "RawDecryptResponse",
    "AsymmetricDecryptResponse",
    "AsymmetricSignRequest",
    "MacSignRequest",
    "MacVerifyRequest",
    "GenerateRandomBytesResponse",
    "DecapsulateResponse",
];
/// A package needed for the options in the descriptors only.
const OPTIONS_ONLY: &str = "google.api.rs";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => {
            return Err(format!("unknown argument {other:?}; the only one is --check").into());
        }
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = std::env::temp_dir().join(format!("googleapis-gen-{}", std::process::id()));
    fs::create_dir_all(&made)?;
    let generated = generate(&root.join("proto"), &made)
        .and_then(|()| differing(&made, &root.join("src/gen"), check));
    fs::remove_dir_all(&made)?;
    let stale = generated?;
    if stale.is_empty() || !check {
        return Ok(ExitCode::SUCCESS);
    }
    let stale = stale.join(", ");
    eprintln!(
        "{stale}: not what the protos make; run `cargo run -p kmslab-googleapis --example gen_googleapis` and commit"
    );
    Ok(ExitCode::FAILURE)
}

fn generate(protos: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let mut compiler = protox::Compiler::new([protos])?;
    compiler
        .include_imports(true)
        .include_source_info(false)
        .open_files(FILES)?;
    // Bytes of the compiler: prost's types would drop the options with the HTTP rules.
    fs::write(
        out.join("descriptors.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .build_client(false)
        .btree_map(".")
        .disable_comments(["."])
        .skip_debug(REDACTED.map(|name| format!(".google.cloud.kms.v1.{name}")))
        .emit_rerun_if_changed(false)
        .out_dir(out)
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;
    fs::remove_file(out.join(OPTIONS_ONLY))?;
    Ok(())
}

/// Names of the files that differ. They are written unless `check` is set.
fn differing(made: &Path, kept: &Path, check: bool) -> Result<Vec<String>, Box<dyn Error>> {
    let mut differ = Vec::new();
    for entry in fs::read_dir(made)? {
        let entry = entry?;
        let (bytes, kept) = (fs::read(entry.path())?, kept.join(entry.file_name()));
        if fs::read(&kept).ok().as_ref() == Some(&bytes) {
            continue;
        }
        differ.push(entry.file_name().to_string_lossy().into_owned());
        if !check {
            fs::write(&kept, bytes)?;
            println!("wrote {}", kept.display());
        }
    }
    Ok(differ)
}
