//! kmslab as a process of its own, whose memory can be measured and whose panics are visible.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use kmslab_e2e::{binaries, without_clouds};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// A running program.
pub(crate) struct Program {
    child: Child,
    errors: tempfile::NamedTempFile,
}

impl Program {
    /// Starts `kmslab` with these arguments; returns its output as well.
    pub(crate) fn start(args: &[&str]) -> (Self, BufReader<tokio::process::ChildStdout>) {
        let errors = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new(binaries().join("kmslab"));
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        command.stderr(errors.reopen().unwrap());
        without_clouds(command.as_std_mut());
        command
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test");
        let mut child = command.spawn().unwrap();
        let printed = BufReader::new(child.stdout.take().unwrap());
        (Self { child, errors }, printed)
    }

    /// Resident memory in MiB.
    pub(crate) fn memory(&self) -> u64 {
        let pid = self
            .child
            .id()
            .unwrap_or_else(|| panic!("it has ended: {}", self.said()));
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            / 1024
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.errors.path()).unwrap()
    }

    /// Stops it, and checks that it exits soon, without an error and without having panicked.
    pub(crate) async fn stop(mut self) {
        let pid =
            rustix::process::Pid::from_raw(self.child.id().expect("it runs").try_into().unwrap())
                .unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = tokio::time::timeout(Duration::from_secs(60), self.child.wait())
            .await
            .expect("it does not end");
        let said = self.said();
        assert_eq!(status.unwrap().code(), Some(0), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

/// An emulator and its addresses.
pub(crate) struct Emulator {
    pub(crate) program: Program,
    pub(crate) http: SocketAddr,
    admin: SocketAddr,
    pub(crate) client: reqwest::Client,
}

impl Emulator {
    pub(crate) async fn start(more: &[&str]) -> Self {
        let free = "127.0.0.1:0";
        let mut args = vec![
            "emulator",
            "--no-tls",
            "--format=json",
            "--listen",
            free,
            "--admin-listen",
            free,
        ];
        args.extend(more);
        let (program, printed) = Program::start(&args);
        let line = printed
            .lines()
            .next_line()
            .await
            .unwrap()
            .unwrap_or_else(|| panic!("{}", program.said()));
        let addresses: Value = serde_json::from_str(&line).unwrap();
        let address = |name: &str| {
            addresses[name]
                .as_str()
                .unwrap()
                .trim_start_matches("http://")
                .trim_end_matches('/')
                .parse()
                .unwrap()
        };
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            http: address("http"),
            admin: address("admin"),
            program,
            client,
        }
    }

    /// A response of the admin port, which must be immediate under any load.
    pub(crate) async fn admin(&self, method: &str, path: &str) -> String {
        let request = self.client.request(
            method.parse().unwrap(),
            format!("http://{}{path}", self.admin),
        );
        let answer = tokio::time::timeout(Duration::from_secs(30), request.send())
            .await
            .expect("no answer")
            .unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.text().await.unwrap()
    }

    /// An access token of the well-known service account, from Google's metadata server.
    pub(crate) async fn google_token(&self) -> String {
        let url = format!(
            "http://{}/computeMetadata/v1/instance/service-accounts/default/token",
            self.http
        );
        let answer = self
            .client
            .get(url)
            .header("metadata-flavor", "Google")
            .send()
            .await
            .unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }
}

/// Path of a socket below `dir`, once something listens on it.
pub(crate) async fn listens(socket: &Path, program: &Program) {
    for _ in 0..600 {
        if std::os::unix::net::UnixStream::connect(socket).is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!(
        "nothing listens at {}: {}",
        socket.display(),
        program.said()
    );
}
