//! The key of a lab: disabled during a rewrite, and a user's own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use kmslab::cloud::{
    AdminClient, AwsCloud, Credentials, EmulatorAccess, KeyEvidence as _, KeyOperator as _,
};
use kmslab::cluster::apiserver::ApiServerCluster;
use kmslab::cluster::{Cluster as _, ObjectRef};
use kmslab::environment::Environment;
use kmslab::lab::Description;
use kmslab::runtime_dir::{LabState, Process};
use kmslab::scenario::objects::content;
use serde_json::Value;

use super::support::{Kmslab, text};

fn operator(lab: &Description) -> AwsCloud {
    let access =
        EmulatorAccess::of_lab(&lab.kms.endpoint, AdminClient::new(&lab.kms.admin).unwrap());
    AwsCloud::with_key(access, &lab.kms.key)
}

fn server(lab: &Description) -> Process {
    LabState::read(&lab.cluster.dir).unwrap().processes["kube-apiserver"].clone()
}

/// Every object of the encrypted resources with its content.
async fn objects(cluster: &ApiServerCluster) -> BTreeMap<ObjectRef, String> {
    let api = cluster.api();
    let mut all = BTreeMap::new();
    for resource in Environment::resources() {
        for object in api.list(&resource, None).await.unwrap() {
            all.insert(
                ObjectRef::from_object(&resource, &object).unwrap(),
                content(&object),
            );
        }
    }
    all
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    for _ in 0..1200 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited a minute for {what}");
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn key_disabled_during_rewrite_fails_it_and_loses_nothing() {
    let kmslab = Kmslab::new();
    let lab = kmslab.up(&[]);
    let cluster = ApiServerCluster::attach(lab.cluster.clone()).await.unwrap();
    let go_on = lab.cluster.dir.join("go-on");
    let mut run = kmslab
        .command(&[
            "run",
            "rewrite",
            "--lab",
            "default",
            "--pause-at",
            "second-half",
            "--pause-file",
        ])
        .arg(&go_on)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut message = BufReader::new(run.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert!(
        message.any(|line| line.starts_with("paused before rewrite / second-half")),
        "it ended before its pause"
    );
    let before = objects(&cluster).await;

    let operator = operator(&lab);
    operator.disable().await.unwrap();
    let old = server(&lab);
    assert!(
        Command::new("kill")
            .args(["-9", &old.pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
    until("another API server", async || {
        server(&lab) != old
            && cluster
                .health("/livez/ping")
                .await
                .is_ok_and(|health| health.ok())
    })
    .await;
    std::fs::write(&go_on, "").unwrap();
    let failed = run.wait_with_output().unwrap();
    let out = text(&failed.stdout);
    assert_eq!(failed.status.code(), Some(1), "{out}");
    assert!(out.contains("step `second-half` failed"), "{out}");
    assert!(
        out.contains(&format!(
            "cause:    the plugin's Status: the key {} is disabled",
            lab.kms.key
        )),
        "{out}"
    );
    let status = kmslab.run(&["status", "default"]);
    assert_eq!(status.status.code(), Some(1), "{}", text(&status.stdout));

    operator.enable().await.unwrap();
    let report: Value = serde_json::from_str(
        &kmslab.ok(&["run", "rewrite", "--lab", "default", "--format", "json"]),
    )
    .unwrap();
    assert_eq!(report["results"][0]["stale_after"], 0, "{report}");
    let after = objects(&cluster).await;
    for (at, content) in &before {
        assert!(after.get(at) == Some(content), "{at} is lost or changed");
    }
    let inspected: Value = serde_json::from_str(&kmslab.ok(&[
        "inspect",
        "--etcd",
        &lab.cluster.etcd,
        "--format",
        "json",
    ]))
    .unwrap();
    assert_eq!(inspected["summary"]["stale"], 0, "{}", inspected["summary"]);
    // The lab's emulator tells which version of the key made a ciphertext.
    let snapshot = ["inspect", "--lab", "default", "--format", "snapshot"];
    let text = kmslab.ok(&[&snapshot[..], &["--prefix", "/registry/secrets/"]].concat());
    let mut values = text.lines().skip(1).step_by(2);
    assert!(
        values.all(|line| line.trim().starts_with("kms-v2 kmslab key#1/v")),
        "{text}"
    );
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn lab_uses_a_users_key_in_a_running_emulator() {
    // Another access key, account and region than a lab's own.
    let (id, secret, region) = ("AKIAPERSON", "persons-secret", "eu-central-1");
    let kmslab = Kmslab::new()
        .env("AWS_ACCESS_KEY_ID", id)
        .env("AWS_SECRET_ACCESS_KEY", secret);
    let any = Some(([127, 0, 0, 1], 0).into());
    let emulator = kmslab_emulator::Emulator::builder()
        .admin_listen(any)
        .credential(id, secret, "111122223333");
    let emulator = emulator.start().await.unwrap();
    let endpoint = format!("http://{}", emulator.http_addr());
    let admin = format!("http://{}", emulator.admin_addr().unwrap());
    let person = Credentials {
        id: id.into(),
        secret: secret.into(),
    };
    let access = EmulatorAccess {
        region: region.into(),
        operator: person,
        ..EmulatorAccess::of_lab(&endpoint, AdminClient::new(&admin).unwrap())
    };
    let cloud = AwsCloud::with_own_key(access).await.unwrap();

    let other = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let rejected = kmslab.run(&[
        "up",
        "--key",
        other,
        "--endpoint-url",
        &endpoint,
        "--admin-url",
        &admin,
    ]);
    assert_eq!(rejected.status.code(), Some(2));
    assert!(
        text(&rejected.stderr).contains("has no such key"),
        "{}",
        text(&rejected.stderr)
    );

    let lab = kmslab.up(&[
        "--key",
        cloud.key(),
        "--endpoint-url",
        &endpoint,
        "--admin-url",
        &admin,
    ]);
    assert_eq!(
        (lab.kms.key.as_str(), lab.kms.region.as_str(), lab.kms.own),
        (cloud.key(), region, false)
    );
    let report: Value = serde_json::from_str(&kmslab.ok(&[
        "run", "encrypt", "rotate", "--lab", "default", "--format", "json",
    ]))
    .unwrap();
    assert_eq!(report["passed"], true, "{report}");
    kmslab.ok(&["down"]);
    // It outlives the lab, with the rotation made by the scenario.
    let table = cloud.key_table().await.unwrap();
    assert_eq!((table.rows.len(), table.rows[0].versions.len()), (1, 2));
    emulator.stop().await;
}
