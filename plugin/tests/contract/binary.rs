//! The program: exit codes, messages, signals.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use kmslab_kmsv2::socket::StatusRequest;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tonic::Code;

use crate::support::{connect, eventually};

const ARN: &str = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn plugin(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kmslab-plugin"));
    command
        .arg("aws")
        .args(args)
        .env_clear()
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test-secret-value")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn refused(args: &[&str]) -> (i32, String) {
    let output = tokio::time::timeout(Duration::from_secs(30), plugin(args).output())
        .await
        .unwrap()
        .unwrap();
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    (output.status.code().unwrap(), said)
}

/// Starts with an endpoint on which nothing listens.
async fn start(socket: &Path, more: &[&str]) -> Child {
    let listen = format!("--listen={}", socket.display());
    let key = format!("--key={ARN}");
    let mut args = vec![
        key.as_str(),
        listen.as_str(),
        "--endpoint-url=http://127.0.0.1:1",
    ];
    args.extend(more);
    let child = plugin(&args).spawn().unwrap();
    eventually("the socket", || {
        std::os::unix::net::UnixStream::connect(socket).is_ok()
    })
    .await;
    child
}

async fn end(child: Child, signal: Signal) -> Output {
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
    tokio::time::timeout(Duration::from_secs(30), child.wait_with_output())
        .await
        .unwrap()
        .unwrap()
}

/// systemd's side of the protocol: on this message it starts units that wait for the plugin.
#[tokio::test]
async fn binary_notifies_the_service_manager() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, notify) = (dir.path().join("kms.sock"), dir.path().join("notify"));
    let manager = tokio::net::UnixDatagram::bind(&notify).unwrap();
    let heard = async || {
        let mut buffer = [0; 64];
        let receiving = tokio::time::timeout(Duration::from_secs(30), manager.recv(&mut buffer));
        let length = receiving.await.expect("nothing was said").unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let (key, listen) = (
        format!("--key={ARN}"),
        format!("--listen={}", socket.display()),
    );
    let child = plugin(&[&key, &listen, "--endpoint-url=http://127.0.0.1:1"])
        .env("NOTIFY_SOCKET", &notify)
        .spawn()
        .unwrap();
    // At once, although the key's cloud is not reachable.
    assert!(heard().await.starts_with("READY=1"));
    std::os::unix::net::UnixStream::connect(&socket).unwrap();
    assert_eq!(end(child, Signal::TERM).await.status.code(), Some(0));
    assert_eq!(heard().await, "STOPPING=1");
}

#[tokio::test]
async fn usage_errors_exit_with_2_and_name_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    let listen = format!("--listen={}/kms.sock", dir.path().display());
    let key = format!("--key={ARN}");
    let not_pem = dir.path().join("ca.pem");
    std::fs::write(&not_pem, "hello").unwrap();
    let not_pem = format!("--ca-file={}", not_pem.display());
    let cases: [(&[&str], &str); 11] = [
        (
            &["--key=arn:aws:kms:us-east-1", &listen],
            "six parts between colons; give an ARN such as",
        ),
        (&["--key=alias/k", &listen], "no region: give --region"),
        (
            &[&key, "--region=eu-west-1", &listen],
            "--key is in region us-east-1 but --region says eu-west-1",
        ),
        (
            &["--key=alias/k", "--region=US", &listen],
            "--region \"US\" is not a region's name",
        ),
        (
            &[&key, &listen, "--endpoint-url=127.0.0.1:7600"],
            "is not a URL such as",
        ),
        (
            &[&key, &listen, "--ca-file=/no/such.pem"],
            "--ca-file /no/such.pem: No such file",
        ),
        (
            &[&key, &listen, &not_pem],
            "no certificate in it; give a PEM file",
        ),
        (
            &[&key, "--listen=@abstract"],
            "abstract sockets have no permissions",
        ),
        (
            &[&key, &format!("--listen=/tmp/{}", "x".repeat(120))],
            "choose a shorter one",
        ),
        (
            &[&key, &listen, "--probe-interval=1m"],
            "give at least twice the interval",
        ),
        (&[&key, &listen, "--grace=5"], "is not a time such as"),
    ];
    for (args, message) in cases {
        let (code, said) = refused(args).await;
        assert!(
            code == 2 && said.contains(message),
            "{args:?}: exit {code}, {said}"
        );
    }
}

#[tokio::test]
async fn missing_environment_exits_with_3() {
    let dir = tempfile::tempdir().unwrap();
    let key = format!("--key={ARN}");
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let (code, said) = refused(&[&key, &format!("--listen={}", file.display())]).await;
    assert!(
        code == 3 && said.contains("there is a regular file already"),
        "exit {code}, {said}"
    );
    let (code, said) = refused(&[
        &key,
        &format!("--listen={}/no/kms.sock", dir.path().display()),
    ])
    .await;
    assert!(
        code == 3 && said.contains("install -d -m 0700"),
        "exit {code}, {said}"
    );
    let socket = dir.path().join("kms.sock");
    let child = start(&socket, &[]).await;
    let (code, said) = refused(&[&key, &format!("--listen=unix://{}", socket.display())]).await;
    assert!(
        code == 3 && said.contains("another plugin is listening"),
        "exit {code}, {said}"
    );
    drop(child);
}

/// As in a container that contains only the program; debug builds of the SDK itself panic.
#[tokio::test]
async fn missing_root_certificates_are_reported_for_https_only() {
    let dir = tempfile::tempdir().unwrap();
    let (none, socket) = (dir.path().join("none.pem"), dir.path().join("kms.sock"));
    std::fs::write(&none, "").unwrap();
    let (key, listen) = (
        format!("--key={ARN}"),
        format!("--listen={}", socket.display()),
    );
    let output = plugin(&[&key, &listen])
        .env("SSL_CERT_FILE", &none)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("no root certificates to check AWS KMS in us-east-1 against"),
        "{said}"
    );
    assert!(
        said.contains("ca-certificates") && said.contains("--ca-file"),
        "{said}"
    );

    let plain = "--endpoint-url=http://127.0.0.1:1";
    let child = plugin(&[&key, &listen, plain])
        .env("SSL_CERT_FILE", &none)
        .spawn()
        .unwrap();
    eventually("the socket", || {
        std::os::unix::net::UnixStream::connect(&socket).is_ok()
    })
    .await;
    let output = end(child, Signal::TERM).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && !said.contains("panicked"),
        "{said}"
    );
}

#[tokio::test]
async fn binary_serves_without_its_cloud_and_exits_with_0_on_a_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("kms.sock");
        let child = start(&socket, &["--log-format=json"]).await;
        let failed = connect(&socket)
            .await
            .status(StatusRequest {})
            .await
            .unwrap_err();
        assert_eq!(failed.code(), Code::Unavailable);
        for part in [
            "http://127.0.0.1:1 gave no answer",
            "Connection refused",
            "check the network and the endpoint's URL",
        ] {
            assert!(failed.message().contains(part), "{part}: {failed}");
        }
        let output = end(child, signal).await;
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{log}");
        assert!(!socket.exists());
        assert!(output.stdout.is_empty());
        assert!(!log.contains("test-secret-value"), "{log}");
        for line in log.lines() {
            assert!(line.starts_with("{\"timestamp\""), "{line}");
        }
    }
}

#[tokio::test]
async fn status_reports_missing_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("kms.sock");
    let args = [
        &*format!("--key={ARN}"),
        &*format!("--listen={}", socket.display()),
        "--endpoint-url=http://127.0.0.1:1",
    ];
    let mut command = plugin(&args);
    let _child = command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .spawn()
        .unwrap();
    eventually("the socket", || {
        std::os::unix::net::UnixStream::connect(&socket).is_ok()
    })
    .await;
    let failed = connect(&socket)
        .await
        .status(StatusRequest {})
        .await
        .unwrap_err();
    assert_eq!(failed.code(), Code::Unauthenticated, "{failed}");
    assert!(
        failed
            .message()
            .contains("give the plugin valid credentials"),
        "{failed}"
    );
}

#[tokio::test]
async fn help_contains_examples() {
    let output = plugin(&["--help"]).output().await.unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for part in [
        "Examples:",
        "--key=arn:aws:kms:us-east-1:",
        "--endpoint-url=http://127.0.0.1:7600",
        "Exit codes:",
    ] {
        assert!(help.contains(part), "{part}");
    }
}
