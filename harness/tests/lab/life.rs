//! A lab in the foreground and in the background: its output, and that it leaves nothing.

use std::path::Path;
use std::process::Command;

use kmslab::platform::is_running;
use kmslab::runtime_dir::LabState;
use serde_json::Value;

use super::support::{Kmslab, text};

fn nothing_is_left_of(state: &LabState, dir: &Path) {
    for (name, process) in &state.processes {
        assert!(
            !is_running(process.pid, &process.started),
            "{name} still runs"
        );
    }
    assert!(!dir.exists(), "{} is left over", dir.display());
}

const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

#[test]
fn missing_lab_is_named_with_a_remedy() {
    let kmslab = Kmslab::new();
    for (args, code, says) in [
        (&["status", "ci"][..], 3, "`kmslab up ci` starts one"),
        (
            &["status", "--variables"],
            3,
            "`kmslab up default` starts one",
        ),
        (
            &["run", "rewrite", "--lab", "ci"],
            3,
            "`kmslab up ci` starts one",
        ),
        (
            &["run", "--lab", "ci", "--cluster", "apiserver"],
            2,
            "cannot be used with",
        ),
        (&["up", "No Name"], 2, "use 1 to 32 of a-z"),
        (&["up", "No Name", "--detach"], 2, "use 1 to 32 of a-z"),
        (&["down", "../x"], 2, "use 1 to 32 of a-z"),
        (&["up", "--key", "alias/x"], 2, "the key's own ARN"),
        (
            &["up", "--key", "alias/x", "--detach"],
            2,
            "the key's own ARN",
        ),
        (
            &["up", "--key", "arn:aws:s3:::x"],
            2,
            "third part must be kms",
        ),
        (
            &["up", "--node-image", "x"],
            2,
            "--node-image is for --cluster kind, and this is on apiserver",
        ),
        (
            &["run", "--plugin-form", "static-pod"],
            2,
            "--plugin-form static-pod is for --cluster kind",
        ),
        (
            &["run", "--lab", "ci", "--node-image", "x"],
            2,
            "cannot be used with",
        ),
        (
            &["up", "--control-planes", "3"],
            2,
            "--control-planes is for --cluster kind",
        ),
        (
            &["up", "--control-planes", "9", "--cluster", "kind"],
            2,
            "use a number from 1 to 5",
        ),
        (
            &["up", "--cluster", "kind", "--key", KEY],
            2,
            "which a kind node cannot reach",
        ),
        (
            &["up", "--cluster", "kind"],
            3,
            "there is no container engine: install Docker",
        ),
        (
            &["up", "--cluster", "kind"],
            3,
            "`sudo apt-get install docker.io debootstrap zstd`, Go 1.26 or later",
        ),
        (&["up", "--endpoint-url", "http://127.0.0.1:1"], 2, "--key"),
        (
            &["inspect"],
            2,
            "set ETCDCTL_ENDPOINTS, or start a lab with `kmslab up`",
        ),
        (&["inspect", "--lab", "ci"], 3, "`kmslab up ci` starts one"),
        (
            &["inspect", "--lab", "ci", "--etcd", "http://127.0.0.1:1"],
            2,
            "cannot be used with",
        ),
    ] {
        // With an empty cache and without Go: the error must come before anything is installed.
        let output = kmslab
            .command(args)
            .env("XDG_CACHE_HOME", "/nonexistent")
            .env("PATH", "")
            .output()
            .unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let inspect = kmslab
        .command(&["inspect"])
        .env("ETCDCTL_ENDPOINTS", format!("http://{closed}"))
        .output()
        .unwrap();
    assert_eq!(inspect.status.code(), Some(3));
    assert!(
        text(&inspect.stderr).contains(&closed),
        "{}",
        text(&inspect.stderr)
    );
    assert!(kmslab.ok(&["status"]).contains("no lab is up"));
    let down = kmslab.run(&["down", "ci"]);
    assert_eq!(
        (down.status.code(), text(&down.stderr).trim()),
        (Some(0), "no lab ci is up")
    );
}

#[test]
fn key_of_a_stopped_emulator_is_reported_with_a_remedy() {
    let kmslab = Kmslab::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let up = kmslab.run(&[
        "up",
        "--key",
        KEY,
        "--admin-url",
        &format!("http://{closed}"),
    ]);
    let error = text(&up.stderr);
    assert_eq!(up.status.code(), Some(3), "{error}");
    assert!(
        error.contains("kmslab emulator") && error.contains("--admin-url"),
        "{error}"
    );
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[test]
fn lab_is_usable_by_others_and_down_removes_everything() {
    let kmslab = Kmslab::new();
    let lab = kmslab.up(&["ci"]);
    let dir = lab.cluster.dir.clone();
    let state = LabState::read(&dir).unwrap();
    assert_eq!(
        state.processes.len(),
        4,
        "emulator, plugin, etcd, kube-apiserver"
    );
    let variables =
        std::fs::read_to_string(kmslab.ok(&["status", "ci", "--variables"]).trim()).unwrap();
    assert!(
        variables.contains(&format!("KMSLAB_KEY={}", lab.kms.key)),
        "{variables}"
    );

    let again = kmslab.run(&["up", "ci"]);
    assert_eq!(again.status.code(), Some(3));
    assert!(
        text(&again.stderr).contains("`kmslab down ci` ends it"),
        "{}",
        text(&again.stderr)
    );

    let status: Value =
        serde_json::from_str(&kmslab.ok(&["status", "ci", "--format", "json"])).unwrap();
    assert_eq!(status["labs"][0]["healthy"], true, "{status}");

    // A part that hangs exists, but does not respond.
    for name in ["emulator", "etcd"] {
        let signal = |signal: &str| {
            let pid = state.processes[name].pid.to_string();
            assert!(
                std::process::Command::new("kill")
                    .args([signal, &pid])
                    .status()
                    .unwrap()
                    .success()
            );
        };
        signal("-STOP");
        let status = kmslab.run(&["status", "ci", "--format", "json"]);
        signal("-CONT");
        assert_eq!(status.status.code(), Some(1), "{name}");
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        let parts = status["labs"][0]["parts"].as_array().unwrap();
        let part = parts.iter().find(|part| part["name"] == name).unwrap();
        assert!(
            part["healthy"] == false && part["says"].as_str().unwrap().contains("no answer"),
            "{part}"
        );
    }

    let report: Value =
        serde_json::from_str(&kmslab.ok(&["run", "encrypt", "--lab", "ci", "--format", "json"]))
            .unwrap();
    assert_eq!(report["results"][0]["passed"], true);
    let summary = kmslab.ok(&["inspect", "--etcd", &lab.cluster.etcd, "--format", "json"]);
    let left = summary.matches("kmslab-encrypt").count();
    assert_eq!(
        left, 0,
        "the scenario has left objects or namespaces in the lab"
    );

    // The same etcd by its lab's name, and as the only one.
    for args in [
        &["inspect", "--lab", "ci", "--format", "json"][..],
        &["inspect", "--format", "json"],
    ] {
        let kinds =
            |report: &str| serde_json::from_str::<Value>(report).unwrap()["summary"].clone();
        assert_eq!(kinds(&kmslab.ok(args)), kinds(&summary), "{args:?}");
    }

    kmslab.ok(&["down", "ci"]);
    nothing_is_left_of(&state, &dir);
    assert_eq!(std::fs::read_dir(kmslab.labs()).unwrap().count(), 0);
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[test]
fn killed_lab_is_removed_by_down() {
    let kmslab = Kmslab::new();
    let lab = kmslab.up(&[]);
    let state = LabState::read(&lab.cluster.dir).unwrap();
    let killed = Command::new("kill")
        .args(["-9", &state.owner.pid.to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let down = kmslab.run(&["down"]);
    assert!(down.status.success());
    nothing_is_left_of(&state, &lab.cluster.dir);
    assert_eq!(kmslab.run(&["status", "default"]).status.code(), Some(3));
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[test]
fn azure_lab_has_its_variables_and_runs_a_scenario() {
    let kmslab = Kmslab::new();
    let lab = kmslab.up(&["ci", "--cloud", "azure"]);
    assert_eq!(lab.kms.key, "https://kmslab.vault.azure.net/keys/kmslab");
    let variables = kmslab.ok(&["status", "ci", "--variables"]);
    // The vendor's own host names through the lab's proxy: a token, and the key that the plugin
    // uses.
    let script = format!(
        r#". {}; set -e
        kubectl create secret generic by-hand --from-literal=password=s3cret
        etcdctl get /registry/secrets/default/by-hand | head -c 70
        token=$(curl --silent --show-error --cacert "$SSL_CERT_FILE" "https://login.microsoftonline.com/$AZURE_TENANT_ID/oauth2/v2.0/token" \
          --data "client_id=$AZURE_CLIENT_ID&client_secret=$AZURE_CLIENT_SECRET&grant_type=client_credentials&scope=https://vault.azure.net/.default" \
          | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
        curl --silent --show-error --cacert "$SSL_CERT_FILE" --header "Authorization: Bearer $token" "$KMSLAB_KEY?api-version=7.6"
        curl --silent --cacert "$SSL_CERT_FILE" https://example.com && exit 9 || true"#,
        variables.trim()
    );
    let typed = Command::new("bash").args(["-c", &script]).output().unwrap();
    let message = format!(
        "{}{}",
        String::from_utf8_lossy(&typed.stdout),
        String::from_utf8_lossy(&typed.stderr)
    );
    assert!(
        typed.status.success() && message.contains("k8s:enc:kms:v2:kmslab:"),
        "{message}"
    );
    assert!(
        message.contains(r#""kid":"https://kmslab.vault.azure.net/keys/kmslab/"#),
        "{message}"
    );

    let report: Value =
        serde_json::from_str(&kmslab.ok(&["run", "rotate", "--lab", "ci", "--format", "json"]))
            .unwrap();
    let result = &report["results"][0];
    assert_eq!(
        (&result["passed"], &result["cloud"]),
        (&true.into(), &"azure".into()),
        "{report}"
    );
    let dir = lab.cluster.dir.clone();
    let state = LabState::read(&dir).unwrap();
    kmslab.ok(&["down", "ci"]);
    nothing_is_left_of(&state, &dir);
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[test]
fn google_lab_has_its_variables_and_rejects_a_migration() {
    let kmslab = Kmslab::new();
    let lab = kmslab.up(&["ci", "--cloud", "gcp"]);
    assert_eq!(
        lab.kms.key,
        "projects/kmslab/locations/us-east1/keyRings/kmslab/cryptoKeys/kmslab"
    );
    let variables = kmslab.ok(&["status", "ci", "--variables"]);
    // A token of the lab's metadata server, and the key that the plugin uses.
    let script = format!(
        r#". {}; set -e
        grep --quiet "\"token_uri\": \"http://$GCE_METADATA_HOST/token\"" "$GOOGLE_APPLICATION_CREDENTIALS"
        kubectl create secret generic by-hand --from-literal=password=s3cret
        etcdctl get /registry/secrets/default/by-hand | head -c 70
        token=$(curl --silent --show-error --header "Metadata-Flavor: Google" \
          "http://$GCE_METADATA_HOST/computeMetadata/v1/instance/service-accounts/default/token" \
          | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
        curl --silent --show-error --header "Authorization: Bearer $token" "${{CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS}}v1/$KMSLAB_KEY""#,
        variables.trim()
    );
    let typed = Command::new("bash").args(["-c", &script]).output().unwrap();
    let message = format!(
        "{}{}",
        String::from_utf8_lossy(&typed.stdout),
        String::from_utf8_lossy(&typed.stderr)
    );
    assert!(
        typed.status.success() && message.contains("k8s:enc:kms:v2:kmslab:"),
        "{message}"
    );
    assert!(
        message.contains("/cryptoKeys/kmslab/cryptoKeyVersions/1") && message.contains("ENABLED"),
        "{message}"
    );

    let report: Value = serde_json::from_str(&kmslab.ok(&[
        "run",
        "snapshot-theft",
        "--lab",
        "ci",
        "--format",
        "json",
    ]))
    .unwrap();
    let result = &report["results"][0];
    assert_eq!(
        (&result["passed"], &result["cloud"]),
        (&true.into(), &"gcp".into()),
        "{report}"
    );
    // A lab has the key of one cloud only.
    let rejected = kmslab.run(&["run", "migrate", "--lab", "ci"]);
    assert_eq!(rejected.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&rejected.stderr)
            .contains("a lab has one cloud's key, and migrate needs two")
    );
    let dir = lab.cluster.dir.clone();
    let state = LabState::read(&dir).unwrap();
    kmslab.ok(&["down", "ci"]);
    nothing_is_left_of(&state, &dir);
}
