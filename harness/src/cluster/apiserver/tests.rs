//! Tests without the programs; those with them are in tests/apiserver/.

use super::*;
use crate::process::ProcessError;
use crate::runtime_dir::Roots;

fn config(temp: &Path) -> Config {
    let roots = Roots {
        runtime: vec![temp.join("run")],
        state: temp.join("state"),
    };
    let dir = Arc::new(RuntimeDir::create_in(&roots, "x").unwrap());
    let tools = Programs {
        kube_apiserver: temp.join("kube-apiserver"),
        etcd: temp.join("etcd"),
    };
    Config::new(tools, dir, Encryption::identity(vec!["secrets".into()]))
}

#[tokio::test]
async fn missing_programs_are_named_and_leave_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let config = config(temp.path());
    let dir = config.dir.path().to_owned();
    let error = ApiServerCluster::start(config).await.unwrap_err();
    let StartError::Process { source, .. } = &error else {
        panic!("{error}")
    };
    let ProcessError::NotExecutable { name, .. } = &**source else {
        panic!("{error}")
    };
    assert_eq!(name, "etcd");
    assert!(!dir.exists());
}

#[tokio::test]
async fn zero_api_servers_are_rejected() {
    let temp = tempfile::tempdir().unwrap();
    let error = ApiServerCluster::start(Config {
        api_servers: 0,
        ..config(temp.path())
    })
    .await
    .unwrap_err();
    assert!(matches!(error, StartError::NoServers), "{error}");
}

#[tokio::test]
async fn attaching_to_a_stopped_lab_names_it() {
    let temp = tempfile::tempdir().unwrap();
    let description = Description {
        lab: "x".into(),
        kubernetes: "v1.36.3".into(),
        servers: vec!["https://127.0.0.1:1".into()],
        kubeconfig: temp.path().join("kubeconfig"),
        etcd_tls: None,
        kind: None,
        etcd: "unix:///nowhere/etcd.sock".into(),
        dir: temp.path().into(),
        logs: temp.path().join("logs"),
    };
    let text = serde_json::to_string(&description).unwrap();
    assert_eq!(
        serde_json::from_str::<Description>(&text).unwrap(),
        description
    );
    let control = Control::attached(&description);
    let error = control.kill(0).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the lab x is gone: `kmslab up` starts one"),
        "{error:#}"
    );
}
