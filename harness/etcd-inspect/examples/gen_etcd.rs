//! Generates `src/gen/` from `proto/etcd/`; with `--check` compares and exits 1 on a
//! difference.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context, Result, bail};

const FILES: [&str; 2] = ["mvccpb.rs", "etcdserverpb.rs"];

fn main() -> Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = root.join("src/gen");
    match env::args().nth(1).as_deref() {
        None => generate(root, &target).map(|()| ExitCode::SUCCESS),
        Some("--check") => check(root, &target),
        Some(other) => bail!("unknown argument {other}; use --check or nothing"),
    }
}

fn generate(root: &Path, out: &Path) -> Result<()> {
    let protos = root.join("proto/etcd");
    let files = protox::compile(["kv.proto", "rpc.proto"], [&protos])
        .with_context(|| format!("{} does not compile", protos.display()))?;
    tonic_prost_build::configure()
        .build_server(true)
        .out_dir(out)
        .compile_fds(files)
        .with_context(|| format!("writing to {}", out.display()))
}

fn check(root: &Path, target: &Path) -> Result<ExitCode> {
    let fresh = tempfile::tempdir()?;
    generate(root, fresh.path())?;
    let mut code = ExitCode::SUCCESS;
    for name in FILES {
        let committed = fs::read_to_string(target.join(name)).unwrap_or_default();
        if committed != fs::read_to_string(fresh.path().join(name))? {
            eprintln!(
                "{} differs from its proto: run `cargo run -p kmslab --example gen_etcd`",
                target.join(name).display()
            );
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}
