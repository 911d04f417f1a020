//! `kmslab assets`: builds, downloads and errors. A script replaces Go, which would take minutes.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Records its GOPROXY and creates the files of a build; if `hang` exists, only some of them, and
/// then it never exits.
const GO: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "GOPROXY=$GOPROXY" >> "$here/calls"
while [ $# -gt 0 ]; do
  if [ "$1" = -o ]; then out=$2; fi
  shift
done
for program in kube-apiserver server kubectl etcdctl etcdutl kind; do
  printf '#!/bin/sh\n' > "$out/$program"
  chmod +x "$out/$program"
  if [ -e "$here/hang" ]; then
    touch "$here/hangs"
    exec sleep 600
  fi
done
"#;

/// A machine with its own cache, optionally with Go, and with a mirror of releases that counts
/// requests.
struct Machine {
    root: tempfile::TempDir,
    mirror: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("bin")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mirror, asked) = (
            listener.local_addr().unwrap(),
            Arc::new(AtomicUsize::new(0)),
        );
        let count = Arc::clone(&asked);
        // Ends with the test's process; every connection is closed without a response.
        std::thread::spawn(move || {
            listener.incoming().for_each(|_| {
                count.fetch_add(1, Ordering::SeqCst);
            })
        });
        Self {
            root,
            mirror,
            asked,
        }
    }

    fn with_go() -> Self {
        let machine = Self::new();
        let go = machine.bin().join("go");
        std::fs::write(&go, GO).unwrap();
        std::fs::set_permissions(&go, std::fs::Permissions::from_mode(0o755)).unwrap();
        machine
    }

    fn bin(&self) -> PathBuf {
        self.root.path().join("bin")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kmslab"));
        let path = if self.bin().join("go").exists() {
            format!("{}:/usr/bin:/bin", self.bin().display())
        } else {
            self.bin().display().to_string()
        };
        command
            .arg("assets")
            .args(args)
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.root.path())
            .env("KMSLAB_ASSETS_MIRROR", format!("http://{}", self.mirror));
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// The arguments of the script, one line per call.
    fn calls(&self) -> Vec<String> {
        let calls = std::fs::read_to_string(self.bin().join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn until(path: &Path) {
    for _ in 0..2000 {
        if path.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited 20 s for {}", path.display());
}

#[test]
fn missing_programs_are_built_once_and_then_found() {
    let machine = Machine::with_go();
    assert_eq!(machine.run(&["path"]).status.code(), Some(3));
    let first = machine.run(&["install"]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let again = machine.run(&["install"]);
    assert_eq!(
        (text(&again.stdout), machine.calls().len()),
        (text(&first.stdout), 1)
    );
    let path = text(&machine.run(&["path"]).stdout);
    assert_eq!(std::fs::read_dir(path.trim()).unwrap().count(), 6);
    // A build provides all six programs, so no release is requested.
    assert_eq!(machine.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn concurrent_installs_build_once() {
    let machine = Machine::with_go();
    let both = [(); 2].map(|()| {
        machine
            .command(&["install"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    });
    let outputs = both.map(|child| child.wait_with_output().unwrap());
    assert!(outputs.iter().all(|output| output.status.success()));
    assert_eq!(outputs[0].stdout, outputs[1].stdout);
    assert_eq!(machine.calls().len(), 1);
}

#[test]
fn killed_build_is_never_used() {
    let machine = Machine::with_go();
    std::fs::write(machine.bin().join("hang"), "").unwrap();
    let mut killed = machine
        .command(&["install"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until(&machine.bin().join("hangs"));
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(
        machine.run(&["path"]).status.code(),
        Some(3),
        "a partial build was taken"
    );

    std::fs::remove_file(machine.bin().join("hang")).unwrap();
    let next = machine.run(&["install"]);
    assert!(next.status.success(), "{}", text(&next.stderr));
    assert_eq!(text(&next.stdout).lines().count(), 6);
    assert_eq!(machine.calls().len(), 2);
}

#[test]
fn offline_makes_no_requests() {
    let machine = Machine::with_go();
    let expected = ["install", "kube-apiserver", "etcd"];
    let offline = machine.run(&[&["--offline"], &expected[..]].concat());
    assert!(offline.status.success(), "{}", text(&offline.stderr));
    assert_eq!(machine.asked.load(Ordering::SeqCst), 0);
    assert_eq!(machine.calls(), ["GOPROXY=off"]);

    let machine = Machine::with_go();
    let online = machine.run(&expected);
    assert!(online.status.success(), "{}", text(&online.stderr));
    assert!(
        text(&online.stderr).contains("building it instead"),
        "{}",
        text(&online.stderr)
    );
    assert!(
        machine.asked.load(Ordering::SeqCst) > 0,
        "the release was not asked for"
    );
    assert_eq!(machine.calls(), ["GOPROXY="]);
}

#[test]
fn missing_go_and_empty_directories_have_a_remedy() {
    let machine = Machine::new();
    let empty = machine.root.path().display().to_string();
    for (args, says) in [
        (&["install"][..], "install Go 1.26 or later"),
        (&["path"], "run kmslab assets install"),
        (&["--assets", &empty, "install"], "--assets is set"),
        (&["--assets", &empty, "path"], "--assets is set"),
    ] {
        let output = machine.run(args);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
    }
}
