//! The command: output, exit codes, signals.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::support::{Call, raw};

pub(crate) fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kmslab-emulator"));
    let free = "127.0.0.1:0";
    command
        .args(["--listen", free, "--admin-listen", free])
        .args(flags);
    if !flags.contains(&"--no-tls") && !flags.contains(&"--proxy-listen") {
        command.args(["--proxy-listen", free]);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn ended(flags: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command(flags).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// Kills the process if a test fails.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub(crate) fn first_line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        line
    }

    #[cfg(unix)]
    pub(crate) fn signalled(mut self, signal: &str) -> Option<i32> {
        let sent = Command::new("kill")
            .args([signal, &self.0.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        self.0.wait().unwrap().code()
    }
}

#[cfg(unix)]
#[tokio::test]
async fn json_output_lists_the_addresses_and_signals_stop_the_command() {
    for signal in ["-TERM", "-INT"] {
        let mut running = Running(
            command(&["--tls-listen", "127.0.0.1:0", "--format", "json"])
                .spawn()
                .unwrap(),
        );
        let ready: Value = serde_json::from_str(&running.first_line()).unwrap();
        let address = |name: &str| {
            ready[name]
                .as_str()
                .unwrap()
                .strip_prefix("http://")
                .unwrap()
                .parse()
                .unwrap()
        };
        assert_eq!(
            Call::new("ListKeys", "{}")
                .send(address("http"))
                .await
                .status,
            200
        );
        let health = raw(
            address("admin"),
            b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        )
        .await;
        assert_eq!(health.status, 200);
        assert!(
            ready["https"]
                .as_str()
                .unwrap()
                .starts_with("https://localhost:")
        );
        let ca = Path::new(ready["ca"].as_str().unwrap()).to_owned();
        assert!(ca.exists());
        let key_file = Path::new(ready["gcpKeyFile"].as_str().unwrap()).to_owned();
        let key: Value = serde_json::from_slice(&std::fs::read(&key_file).unwrap()).unwrap();
        assert_eq!(
            key["token_uri"],
            format!("{}/token", ready["http"].as_str().unwrap())
        );
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&key_file).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(running.signalled(signal), Some(0));
        for file in [ca, key_file] {
            assert!(
                !file.exists() && !file.parent().unwrap().exists(),
                "{} is left",
                file.display()
            );
        }
    }
}

#[cfg(unix)]
#[test]
fn single_dash_long_flag_is_rejected() {
    let (code, message) = ended(&["-host=localhost"]);
    assert!(
        code == Some(2) && message.contains("flags have two: --host"),
        "{code:?} {message}"
    );
}

#[test]
fn human_output_is_valid_shell() {
    let mut child = command(&["--no-tls", "--credential", "AKIAX:a:b:c:111122223333"])
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let running = Running(child);
    let mut lines = Vec::new();
    while !lines.last().is_some_and(|line: &String| {
        line.starts_with("export CLOUDSDK_API_ENDPOINT_OVERRIDES_IAM=")
    }) {
        let mut line = String::new();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "{lines:?}");
        lines.push(line);
    }
    let forms = ["# ", "export ", "unset "];
    assert!(
        lines
            .iter()
            .all(|line| forms.iter().any(|form| line.starts_with(form))),
        "{lines:?}"
    );
    // Variables of another login take precedence.
    for variable in [
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "GOOGLE_CLOUD_UNIVERSE_DOMAIN",
    ] {
        let unset = lines.iter().any(|line| {
            line.starts_with("unset ") && line.split_whitespace().any(|word| word == variable)
        });
        assert!(unset, "{variable}: {lines:?}");
    }
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("export AWS_ENDPOINT_URL_KMS=http://127.0.0.1:")),
        "{lines:?}"
    );
    // The SDKs read the first, the AWS CLI the second.
    for variable in [
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ACCESS_KEY_ID",
        "GCE_METADATA_HOST",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ] {
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with(&format!("export {variable}="))),
            "{variable}: {lines:?}"
        );
    }
    assert!(!lines.concat().contains("a:b:c"), "{lines:?}");
    assert_eq!(running.signalled("-TERM"), Some(0));
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

/// A container with a read-only file system, as in kind-config/emulator.yaml.
#[cfg(unix)]
#[test]
fn missing_temporary_directory_only_omits_the_key_file() {
    let mut child = command(&["--no-tls", "--format", "json"]);
    let mut running = Running(child.env("TMPDIR", "/dev/null").spawn().unwrap());
    let ready: Value = serde_json::from_str(&running.first_line()).unwrap();
    assert_eq!(ready["gcpKeyFile"], Value::Null);
    assert!(ready["http"].is_string());
    let mut stderr = running.0.stderr.take().unwrap();
    assert_eq!(running.signalled("-TERM"), Some(0));
    let mut message = String::new();
    stderr.read_to_string(&mut message).unwrap();
    assert!(
        message.contains("/dev/null") && message.contains("TMPDIR"),
        "{message}"
    );
}

#[cfg(unix)]
#[test]
fn auth_off_is_said_at_start() {
    for (flags, said) in [(&["--auth", "off"][..], true), (&[], false)] {
        let mut running = Running(command(flags).spawn().unwrap());
        running.first_line();
        let mut stderr = running.0.stderr.take().unwrap();
        assert_eq!(running.signalled("-TERM"), Some(0));
        let mut message = String::new();
        stderr.read_to_string(&mut message).unwrap();
        assert_eq!(
            message.contains("all clouds allow every request"),
            said,
            "{message}"
        );
    }
}

#[test]
fn environment_errors_exit_with_3() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, text) = ended(&["--tls-listen", &address]);
    assert_eq!(code, Some(3), "{text}");
    assert!(
        text.contains(&address) && text.contains("--tls-listen"),
        "{text}"
    );
    let (code, text) = ended(&["--tls-listen", "127.0.0.1:0", "--tls-dir", "/dev/null/tls"]);
    assert_eq!(code, Some(3), "{text}");
    assert!(
        text.contains("/dev/null/tls") && text.contains("--tls-dir"),
        "{text}"
    );
}

#[test]
fn usage_errors_exit_with_2_and_repeat_no_secret() {
    for (flags, expected) in [
        (["--credential", "AKIAX:hunter2"], "ID:SECRET:ACCOUNT"),
        (
            ["--credential", "hunter2/x:AKIAX:111122223333"],
            "access key id",
        ),
        (["--credential", "AKIAX:hunter2:12"], "12 digits"),
        (["--clock", "yesterday"], "--clock"),
        (["--seed", "/no/such/seed.yaml"], "/no/such/seed.yaml"),
        (["--auth", "maybe"], "--auth"),
    ] {
        let (code, text) = ended(&[flags[0], flags[1], "--no-tls"]);
        assert_eq!(code, Some(2), "{flags:?}: {text}");
        assert!(text.contains(expected), "{flags:?}: {text}");
        assert!(!text.contains("hunter2"), "{flags:?}: {text}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn faults_of_a_file_are_applied_and_unused_ones_named_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("faults.yaml");
    let text = "faults:\n- {effect: throttle, operations: [ListKeys]}\n- {name: idle, effect: hang, cloud: gcp, share: 0.5}\n";
    std::fs::write(&file, text).unwrap();
    let flags = [
        "--no-tls",
        "--format",
        "json",
        "--faults",
        file.to_str().unwrap(),
    ];
    let mut running = Running(command(&flags).spawn().unwrap());
    let ready: Value = serde_json::from_str(&running.first_line()).unwrap();
    let address = ready["http"].as_str().unwrap();
    let address = address.trim_start_matches("http://").parse().unwrap();
    let answer = Call::new("ListKeys", "{}").send(address).await;
    assert_eq!(answer.code(), "ThrottlingException");
    let mut stderr = running.0.stderr.take().unwrap();
    assert_eq!(running.signalled("-TERM"), Some(0));
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert!(said.contains("faults: --fault-seed "), "{said}");
    assert!(
        said.contains("warning: the fault idle selected no request: hang --cloud gcp --share 0.5"),
        "{said}"
    );
    assert!(!said.contains("throttle"), "{said}");
}

#[test]
fn unusable_fault_files_are_usage_errors_that_name_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("faults.yaml");
    for (text, part) in [
        ("faults:\n- {effect: slow}\n", "line 2"),
        ("faults:\n- {effect: hang, shares: 1}\n", "shares"),
        (
            "faults:\n- {effect: hang}\n- {effect: error=NOPE}\n",
            "fault 2: effect: 'NOPE' is not an error code",
        ),
        ("keys: []\n", "faults"),
    ] {
        std::fs::write(&file, text).unwrap();
        let (code, said) = ended(&["--no-tls", "--faults", file.to_str().unwrap()]);
        assert_eq!(code, Some(2), "{said}");
        assert!(
            said.contains(part) && said.contains("faults.yaml"),
            "{text}: {said}"
        );
    }
    let (code, said) = ended(&["--no-tls", "--faults", "/none/faults.yaml"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("cannot read the fault file /none/faults.yaml"),
        "{said}"
    );
}
