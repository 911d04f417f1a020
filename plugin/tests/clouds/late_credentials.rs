//! Credentials that become available or are corrected while the program runs.

use kmslab_emulator::well_known::{AZURE_CLIENT_ID, AZURE_CLIENT_SECRET};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use kmslab_emulator::{Emulator, KeyFile};
use kmslab_kmsv2::socket::StatusRequest;
use tokio::process::{Child, Command};
use tonic::Code;

use crate::support::connect;

struct Machine {
    home: tempfile::TempDir,
    emulator: Emulator,
}

impl Machine {
    async fn new() -> Self {
        let emulator = Emulator::builder()
            .proxy_listen(Some("127.0.0.1:0".parse().unwrap()))
            .start()
            .await
            .unwrap();
        Self {
            home: tempfile::tempdir().unwrap(),
            emulator,
        }
    }

    fn start(&self, flags: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_kmslab-plugin"))
            .args(flags)
            .arg(format!("--listen={}/kms.sock", self.home.path().display()))
            .args(["--probe-interval=100ms", "--call-timeout=1s"])
            .env_clear()
            .env("HOME", self.home.path())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Whether Status fails with this code while `file` is `before`, and recovers once it is
    /// `after`.
    async fn recovers_with(
        &self,
        flags: &[&str],
        file: &Path,
        before: Option<&str>,
        after: &str,
        recovered: Code,
    ) {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        if let Some(before) = before {
            std::fs::write(file, before).unwrap();
        }
        let mut child = self.start(flags);
        let socket = self.home.path().join("kms.sock");
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert_eq!(child.try_wait().unwrap(), None, "it does not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut client = connect(socket.clone()).await;
        let rejected = client.status(StatusRequest {}).await.unwrap_err();
        assert_eq!(rejected.code(), Code::Unauthenticated, "{rejected}");
        std::fs::write(file, after).unwrap();
        let mut last = rejected;
        for _ in 0..600 {
            last = client.status(StatusRequest {}).await.unwrap_err();
            if last.code() == recovered {
                child.kill().await.unwrap();
                std::fs::remove_file(socket).unwrap();
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{flags:?}: {last}");
    }
}

/// The key does not exist; that the cloud says so shows that the credentials are accepted.
const RECOVERED: Code = Code::FailedPrecondition;

#[tokio::test]
async fn corrected_aws_profile_is_picked_up() {
    let machine = Machine::new().await;
    let endpoint = format!("--endpoint-url=http://{}", machine.emulator.http_addr());
    let flags = ["aws", "--key=alias/k", "--region=us-east-1", &endpoint];
    let file = machine.home.path().join(".aws/credentials");
    let profile = |secret: &str| {
        format!("[default]\naws_access_key_id=test\naws_secret_access_key={secret}\n")
    };
    machine
        .recovers_with(
            &flags,
            &file,
            Some(&profile("wrong")),
            &profile("test"),
            RECOVERED,
        )
        .await;
    std::fs::remove_file(&file).unwrap();
    machine
        .recovers_with(&flags, &file, None, &profile("test"), RECOVERED)
        .await;
}

#[tokio::test]
async fn corrected_azure_client_secret_is_picked_up() {
    let machine = Machine::new().await;
    let (ca, proxy) = (
        machine.emulator.ca_path().unwrap(),
        machine.emulator.proxy_addr().unwrap(),
    );
    let file = machine.home.path().join("azure.json");
    let [ca, proxy, config] = [
        format!("--ca-file={}", ca.display()),
        format!("--proxy=http://{proxy}"),
        format!("--config-file={}", file.display()),
    ];
    let flags = [
        "azure",
        "--keyvault-name=kmslab",
        "--key-name=k",
        &ca,
        &proxy,
        &config,
    ];
    let tenant = machine.emulator.azure_tenant();
    let json = |secret: &str| {
        format!(
            r#"{{"tenantId":"{tenant}","aadClientId":"{AZURE_CLIENT_ID}","aadClientSecret":"{secret}"}}"#
        )
    };
    machine
        .recovers_with(
            &flags,
            &file,
            Some(&json("wrong")),
            &json(AZURE_CLIENT_SECRET),
            RECOVERED,
        )
        .await;
}

#[tokio::test]
async fn replaced_google_key_file_is_picked_up() {
    let machine = Machine::new().await;
    let file = machine.home.path().join("key.json");
    let endpoint = format!("--endpoint=http://{}", machine.emulator.http_addr());
    let credentials = format!("--credentials-file={}", file.display());
    let key = "--key-uri=projects/kmslab/locations/us-east1/keyRings/r/cryptoKeys/k";
    let flags = ["gcp", key, &endpoint, &credentials];
    let owner = machine.emulator.gcp_owner();
    let right = owner
        .json(&format!("http://{}/token", machine.emulator.http_addr()))
        .to_string();
    // A key of the same account that the emulator has never seen.
    let unknown_caller = KeyFile::generate(&owner.email).unwrap();
    let wrong = unknown_caller
        .json(&format!("http://{}/token", machine.emulator.http_addr()))
        .to_string();
    machine
        .recovers_with(&flags, &file, Some(&wrong), &right, RECOVERED)
        .await;
}
