//! Which of the environment's Google credentials the program uses.

use std::process::Stdio;
use std::time::Duration;

use kmslab_emulator::Emulator;
use tokio::process::Command;

use crate::support::connect;

const KEY: &str = "projects/kmslab/locations/us-east1/keyRings/r/cryptoKeys/k";

/// A login by `gcloud auth application-default login`, as on a developer's laptop.
const LOGIN: &str = r#"{"type":"authorized_user","client_id":"made-up","client_secret":"made-up","refresh_token":"made-up"}"#;

struct Machine {
    home: tempfile::TempDir,
    emulator: kmslab_emulator::Emulator,
}

impl Machine {
    async fn with_a_login() -> Self {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join(".config/gcloud");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("application_default_credentials.json"), LOGIN).unwrap();
        Self {
            home,
            emulator: Emulator::builder().start().await.unwrap(),
        }
    }

    /// The message of Status: the emulator's own once the caller is authenticated, since the key
    /// does not exist.
    async fn status(&self, flags: &[&str], variables: &[(&str, &str)]) -> String {
        let socket = self.home.path().join("kms.sock");
        let endpoint = format!("http://{}", self.emulator.http_addr());
        let mut child = Command::new(env!("CARGO_BIN_EXE_kmslab-plugin"))
            .args([
                "gcp",
                &format!("--key-uri={KEY}"),
                &format!("--endpoint={endpoint}"),
            ])
            .arg(format!("--listen={}", socket.display()))
            .args(flags)
            .env_clear()
            .env("HOME", self.home.path())
            // Nothing outside of this machine may be called.
            .env("HTTPS_PROXY", "http://127.0.0.1:1")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert_eq!(child.try_wait().unwrap(), None, "it does not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut client = connect(socket).await;
        let status = client
            .status(kmslab_kmsv2::socket::StatusRequest {})
            .await
            .unwrap_err();
        child.kill().await.unwrap();
        status.message().to_owned()
    }
}

#[tokio::test]
async fn metadata_server_of_the_environment_precedes_a_gcloud_login() {
    let machine = Machine::with_a_login().await;
    let host = machine.emulator.http_addr().to_string();
    let server = ("GCE_METADATA_HOST", host.as_str());
    // The control: a login alone is used, and its token endpoint is not this emulator's.
    let by_login = machine.status(&[], &[]).await;
    assert!(!by_login.contains("was not found"), "{by_login}");
    for (flags, variables) in [
        (&[][..], &[server][..]),
        (
            &["--auth=metadata-server"],
            &[server, ("GOOGLE_APPLICATION_CREDENTIALS", "/none")],
        ),
    ] {
        let status = machine.status(flags, variables).await;
        assert!(status.contains("was not found"), "{flags:?}: {status}");
    }
}

#[tokio::test]
async fn credentials_file_precedes_the_environment() {
    let machine = Machine::with_a_login().await;
    let file = machine.home.path().join("key.json");
    let key = machine.emulator.gcp_owner();
    std::fs::write(
        &file,
        key.json(&format!("http://{}/token", machine.emulator.http_addr()))
            .as_bytes(),
    )
    .unwrap();
    let flag = format!("--credentials-file={}", file.display());
    let status = machine
        .status(&[&flag], &[("GOOGLE_APPLICATION_CREDENTIALS", "/none")])
        .await;
    assert!(status.contains("was not found"), "{status}");
}

#[tokio::test]
async fn unusable_credentials_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key.json");
    for (content, says) in [
        (
            LOGIN,
            "its type is \"authorized_user\"; use a file of the type service_account",
        ),
        ("hunter2", "not JSON"),
        (r#"{"type":"service_account"}"#, "missing field"),
    ] {
        std::fs::write(&file, content).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_kmslab-plugin"))
            .args([
                "gcp",
                &format!("--key-uri={KEY}"),
                "--endpoint=http://127.0.0.1:1",
                "--listen=/tmp/x.sock",
            ])
            .arg(format!("--credentials-file={}", file.display()))
            .output()
            .await
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(
            error.contains(says) && error.contains("key.json") && !error.contains("hunter2"),
            "{error}"
        );
    }
}
