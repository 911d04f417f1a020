//! The guides' steps as a person types them, with the vendors' unmodified commands.

use kmslab::assets::Tool;
use kmslab_e2e::{Shell, root};

/// Runs a bash script with its own labs and returns its output.
fn run(script: &str) -> String {
    // Stops what a failing script leaves running: its labs by name, the rest by process group.
    let script =
        format!("trap 'kmslab down --all; kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}");
    Shell::new(&[Tool::Kubectl, Tool::Etcdctl]).run(&script)
}

#[ignore = "tier guide: needs kube-apiserver, etcd and the AWS CLI, which tests/run gets"]
#[test]
fn aws_guide_works_as_typed() {
    let script = std::fs::read_to_string(root().join("tests/guide/aws.sh")).unwrap();
    assert!(run(&script).ends_with("all steps held\n"));
}

#[ignore = "tier guide: needs the Azure CLI, which tests/run gets"]
#[test]
fn azure_guide_works_as_typed() {
    let script = std::fs::read_to_string(root().join("tests/guide/azure.sh")).unwrap();
    assert!(run(&script).ends_with("all steps held\n"));
}

#[ignore = "tier guide: needs Microsoft's SDK for Python, which tests/run gets"]
#[test]
fn azure_python_sdk_works_with_the_emulator() {
    let program = root().join("tests/guide/azure_keys.py");
    let command = format!(
        "VAULT_URL=https://kmslab.vault.azure.net \"$KMSLAB_AZURE_SDK/python\" {}",
        program.display()
    );
    assert!(with_an_emulator("python", &command).ends_with("all held\n"));
}

#[ignore = "tier guide: needs Microsoft's tests of its SDK for Go, which tests/run builds"]
#[test]
fn azure_go_sdk_tests_pass() {
    // Excluded: a test that requests a token from an attestation service for releasing a key, which
    // the emulator does not support.
    let command = r#"export AZURE_RECORD_MODE=live AZURE_KEYVAULT_URL=https://kmslab.vault.azure.net
        export AZURE_MANAGEDHSM_URL=https://kmslab.managedhsm.azure.net
        "$KMSLAB_AZURE_GO" -test.v -test.skip TestReleaseKey"#;
    let printed = with_an_emulator("go", command);
    assert!(printed.ends_with("PASS\n"), "{printed}");
    let passed = printed
        .lines()
        .filter(|line| line.trim_start().starts_with("--- PASS"))
        .count();
    assert!(
        passed >= 40 && !printed.contains("AZURE_MANAGEDHSM_URL"),
        "{passed} passed: {printed}"
    );
}

#[ignore = "tier guide: needs Microsoft's SDK for JavaScript, which tests/run gets"]
#[test]
fn azure_javascript_sdk_works_with_the_emulator() {
    assert_eq!(
        with_an_emulator("node", "node \"$KMSLAB_AZURE_NODE/client.js\""),
        "all held\n"
    );
}

#[ignore = "tier guide: needs Microsoft's SDK for Java, which tests/run gets"]
#[test]
fn azure_java_sdk_works_with_the_emulator() {
    let run = root().join("tests/guide/java/run").display().to_string();
    assert_eq!(
        with_an_emulator("java", &format!("{run} AzureKeys")),
        "all held\n"
    );
}

#[ignore = "tier guide: needs curl and openssl, which tests/run looks for"]
#[test]
fn google_guide_works_request_by_request() {
    let script = std::fs::read_to_string(root().join("tests/guide/gcp.sh")).unwrap();
    assert!(run(&script).ends_with("all steps held\n"));
}

#[ignore = "tier guide: needs Google's SDK for Python, which tests/run gets"]
#[test]
fn google_python_sdk_works_over_grpc_and_rest() {
    let command = format!(
        "\"$KMSLAB_GOOGLE_SDK/python\" {}",
        root().join("tests/guide/google_kms.py").display()
    );
    assert_eq!(
        with_an_emulator("python", &command),
        "grpc held\nrest held\nall held\n"
    );
}

#[ignore = "tier guide: needs a client made with Google's SDK for Go, which tests/run builds"]
#[test]
fn google_go_client_works_with_the_emulator() {
    assert_eq!(
        with_an_emulator("go", "\"$KMSLAB_GOOGLE_GO\""),
        "all held\n"
    );
}

#[ignore = "tier guide: needs Google's SDK for Node.js, which tests/run gets"]
#[test]
fn google_node_client_works_with_the_metadata_server() {
    assert_eq!(
        with_an_emulator(
            "node",
            "node \"$KMSLAB_GOOGLE_NODE/client.js\" 2>&1 | tail -n 1"
        ),
        "all held\n"
    );
}

#[ignore = "tier guide: needs Google's SDK for Java, which tests/run gets"]
#[test]
fn google_java_client_works_with_the_metadata_server() {
    let run = root().join("tests/guide/java/run").display().to_string();
    assert_eq!(
        with_an_emulator("java", &format!("{run} GoogleKms")),
        "all held\n"
    );
}

#[ignore = "tier guide: needs curl with HTTP/2, which tests/run looks for"]
#[test]
fn curl_reads_early_errors_over_http_2() {
    // Rejected by its path, for a missing token, as an unknown service and by its host, each before
    // the body is read; which side is faster varies.
    let script = r#"url=$(sed -n 's/.* and \(https:[^,]*\),.*/\1/p' emulator.env)
        for size in 10 1000 100000; do
          head -c $size /dev/zero >body
          for try in 1 2 3 4 5 6; do
            for path in v1/projects/p/locations/l/nothing kmslab/keys x; do
              curl --http2 --silent --show-error --output answer --write-out '%{http_version} %{http_code}\n' --noproxy '*' \
                --cacert "$SSL_CERT_FILE" --data-binary @body "$url/$path"
            done
            curl --http2 --silent --show-error --output answer --write-out '%{http_version} %{http_code}\n' --noproxy '*' \
              --cacert "$SSL_CERT_FILE" --data-binary @body --header 'Host: evil.example' "$url/"
          done
        done | sort | uniq -c | tr -s ' '"#;
    assert_eq!(
        with_an_emulator("curl", script),
        " 18 2 401\n 18 2 403\n 36 2 404\n"
    );
}

/// A shell with logins and settings of other kinds, which would defeat the emulator.
const OTHER_LOGINS: &str = "
    export AWS_PROFILE=own AWS_SESSION_TOKEN=own AWS_ENDPOINT_URL=http://127.0.0.1:1
    export AZURE_AUTHORITY_HOST=https://login.example AZURE_TOKEN_CREDENTIALS=dev
    export GOOGLE_APPLICATION_CREDENTIALS=/nonexistent GOOGLE_CLOUD_UNIVERSE_DOMAIN=own.example
    export HTTPS_PROXY=http://127.0.0.1:1 https_proxy=http://127.0.0.1:1 http_proxy=http://127.0.0.1:1
    export no_proxy=own.example SSL_CERT_FILE=/nonexistent REQUESTS_CA_BUNDLE=/nonexistent
";

/// Runs a command with the variables of a tool, in a shell that has other logins.
fn with_an_emulator(tool: &str, command: &str) -> String {
    run(&format!(
        r#"free=127.0.0.1:0
        kmslab emulator --listen $free --tls-listen $free --proxy-listen $free --admin-listen $free >emulator.env &
        until grep -q AZURE_CLIENT_SECRET emulator.env; do sleep 0.1; done
        {OTHER_LOGINS}
        eval "$(kmslab env --for {tool} --emulator-admin "$(sed -n 's/^export KMSLAB_ADMIN=//p' emulator.env)")"
        {command}"#
    ))
}

/// Differences between a reader of the README and this test: cargo has built kmslab already,
/// `tests/run` runs this test, and there is one terminal, so foreground commands run in the
/// background.
const READER: &str = r#"
cargo() { test "$1 $2" = "run --"; shift 2; kmslab "$@"; }
kmslab() {
  case $1 in
    up) command kmslab "$@" --detach ;;
    emulator) command kmslab "$@" >emulator.env & until test -s emulator.env; do sleep 0.1; done ;;
    plugin) command kmslab "$@" 2>plugin.log & until test -S "${!##--listen=}"; do sleep 0.1; done ;;
    *) command kmslab "$@" ;;
  esac
}
"#;

#[ignore = "tier guide: needs kube-apiserver, etcd and the AWS CLI, which tests/run gets"]
#[test]
fn readme_commands_work_line_by_line() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks: Vec<&str> = readme
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split_once("```").unwrap().0)
        .collect();
    let own = root().join("tests/run").display().to_string();
    let (with_lab, with_emulator): (Vec<&str>, Vec<&str>) = blocks
        .iter()
        .partition(|block| !block.contains("alias/k8s-secrets"));
    assert_eq!((with_lab.len(), with_emulator.len()), (3, 1));
    let script = format!(
        "{READER}\n{}\nkmslab down\nkmslab emulator\n{}",
        with_lab.join("\n"),
        with_emulator.join("\n")
    );
    assert_eq!(script.matches("\ntests/run ").count(), 1);
    let printed = run(&script.replace("\ntests/run ", &format!("\ntest -x {own} ")));
    // Four scenarios with three clouds, on the model and on the stock server.
    assert_eq!(printed.matches(" passed ").count(), 24, "{printed}");
    assert!(!printed.contains("FAILED"), "{printed}");
    assert!(
        printed.contains("k8s:enc:kms:v2:kmslab:") && printed.contains("kms-v2"),
        "{printed}"
    );
    assert!(printed.contains(", 0 with problems"), "{printed}");
}
