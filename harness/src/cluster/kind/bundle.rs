//! kmslab for containers and nodes: the program with its loader and libraries, so that it runs with
//! any libc or none. A statically linked program is a bundle by itself.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::engine::Engine;
use crate::exit::environment;
use crate::process::shell_quote;

/// Directory of a bundle in containers and on nodes.
pub const BUNDLE_DIR: &str = "/opt/kmslab";
/// Path at which the plugin's unit and static pod expect it.
const PLUGIN_PATH: &str = "/usr/local/bin/kmslab-plugin";
const PROGRAM: &str = "kmslab";
const LOADER: &str = "loader";

/// A directory with the program and its libraries.
#[derive(Debug, Clone)]
pub struct Bundle {
    dir: PathBuf,
    dynamic: bool,
}

impl Bundle {
    /// Creates a bundle of `program` in `dir`.
    pub fn create(program: &Path, dir: &Path) -> anyhow::Result<Self> {
        if !cfg!(target_os = "linux") {
            return Err(environment(
                "nodes run Linux, and this kmslab does not: build one for Linux, and run it there",
            ));
        }
        std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        let copy = |from: &Path, name: &str| {
            let to = dir.join(name);
            std::fs::copy(from, &to)
                .with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o755))?;
            anyhow::Ok(())
        };
        copy(program, PROGRAM)?;
        let needed = libraries(program)?;
        for library in &needed {
            let name = library
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            copy(library, if is_loader(name) { LOADER } else { name })?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            dynamic: !needed.is_empty(),
        })
    }

    /// Creates a bundle in the root directory of a node: in [`BUNDLE_DIR`] below `root`, with a
    /// link for the plugin.
    pub fn for_node(program: &Path, root: &Path) -> anyhow::Result<Self> {
        let below = |path: &str| root.join(path.trim_start_matches('/'));
        let bundle = Self::create(program, &below(BUNDLE_DIR))?;
        let plugin = below(PLUGIN_PATH);
        let command: Vec<String> = bundle
            .command()
            .iter()
            .map(|word| shell_quote(word))
            .collect();
        let written = || {
            std::fs::create_dir_all(plugin.parent().unwrap_or(root))?;
            std::fs::write(
                &plugin,
                format!("#!/bin/sh\nexec {} plugin \"$@\"\n", command.join(" ")),
            )?;
            std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755))
        };
        written().with_context(|| format!("writing {}", plugin.display()))?;
        Ok(bundle)
    }

    /// Directory of the bundle on this machine.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The command that runs it if the bundle is in [`BUNDLE_DIR`].
    pub fn command(&self) -> Vec<String> {
        let program = format!("{BUNDLE_DIR}/{PROGRAM}");
        if self.dynamic {
            vec![
                format!("{BUNDLE_DIR}/{LOADER}"),
                "--library-path".into(),
                BUNDLE_DIR.into(),
                program,
            ]
        } else {
            vec![program]
        }
    }

    /// Creates an image in the engine that runs kmslab with the given arguments, with labels such
    /// as `dev.kmslab.lab=…`.
    pub async fn image(&self, engine: &Engine, tag: &str, labels: &[String]) -> anyhow::Result<()> {
        let mut changes: Vec<String> = labels
            .iter()
            .map(|label| format!("LABEL {label}"))
            .collect();
        changes.push(format!(
            "ENTRYPOINT {}",
            serde_json::to_string(&self.command())?
        ));
        let (bundle, before) = (self.clone(), engine.image_id(tag).await?);
        engine
            .import(tag, &changes, move |pipe| bundle.archive(pipe))
            .await?;
        match before {
            // Without a name it would never be removed. An image that a container uses is removed
            // with that container.
            Some(before) if engine.image_id(tag).await?.as_ref() != Some(&before) => {
                drop(engine.run(&["rmi", &before]).await)
            }
            _ => {}
        }
        Ok(())
    }

    /// A file system with only the bundle in [`BUNDLE_DIR`], as a tar archive for `docker import`.
    pub fn archive(&self, into: impl std::io::Write) -> anyhow::Result<()> {
        let mut archive = tar::Builder::new(into);
        archive.append_dir_all(BUNDLE_DIR.trim_start_matches('/'), &self.dir)?;
        // For the emulator's temporary files.
        let mut tmp = tar::Header::new_gnu();
        tmp.set_entry_type(tar::EntryType::Directory);
        tmp.set_mode(0o1777);
        tmp.set_size(0);
        archive.append_data(&mut tmp, "tmp", std::io::empty())?;
        archive.into_inner()?.flush()?;
        Ok(())
    }
}

/// Loader and libraries of a program, by `ldd`; none if it is statically linked.
fn libraries(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .env("LC_ALL", "C")
        .output()
        .context("running ldd")?;
    let (text, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    if text.contains("statically linked") || error.contains("not a dynamic executable") {
        return Ok(Vec::new());
    }
    if !output.status.success() || text.contains("not found") {
        return Err(environment(format!(
            "ldd {}: {}{}",
            program.display(),
            text.trim(),
            error.trim()
        )));
    }
    Ok(parse_ldd(&text))
}

/// Parses lines such as `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f…)` and
/// `/lib64/ld-linux-x86-64.so.2 (0x00007f…)`; the kernel's `linux-vdso.so.1` has no path.
fn parse_ldd(text: &str) -> Vec<PathBuf> {
    let paths = text.lines().filter_map(|line| {
        let path = line
            .split_once(" => ")
            .map_or(line, |(_, path)| path)
            .trim();
        path.starts_with('/')
            .then(|| PathBuf::from(path.split(" (").next().unwrap_or(path)))
    });
    paths.collect()
}

fn is_loader(name: &str) -> bool {
    name.starts_with("ld-linux") || name.starts_with("ld-musl") || name.starts_with("ld64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_output_is_parsed() {
        let text = "\tlinux-vdso.so.1 (0x00007f98c66b4000)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f98c481e000)\n\t\
                    /lib64/ld-linux-x86-64.so.2 (0x00007f98c66b6000)\n";
        assert_eq!(
            parse_ldd(text),
            [
                Path::new("/lib/x86_64-linux-gnu/libc.so.6"),
                Path::new("/lib64/ld-linux-x86-64.so.2")
            ]
        );
        assert!(is_loader("ld-linux-aarch64.so.1") && !is_loader("libc.so.6"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn bundle_runs_with_its_own_loader() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = Bundle::create(Path::new("/bin/true"), dir.path()).unwrap();
        let here = |word: &String| word.replace(BUNDLE_DIR, dir.path().to_str().unwrap());
        let command: Vec<String> = bundle.command().iter().map(here).collect();
        let status = Command::new(&command[0])
            .args(&command[1..])
            .env_clear()
            .status()
            .unwrap();
        assert!(status.success());
        let mut archive = Vec::new();
        bundle.archive(&mut archive).unwrap();
        let mut archive = tar::Archive::new(&archive[..]);
        let names = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string());
        let names: Vec<String> = names.collect();
        assert!(
            names.iter().any(|name| name == "opt/kmslab/kmslab"),
            "{names:?}"
        );
    }
}
