//! Which requests are hit, and how faults are added, listed and removed.

use kmslab_emulator::Emulator;
use kmslab_emulator::api::{AdminClient, Cloud, Effect, Fault, FaultFile};
use serde_json::json;

use super::{aws_encrypt, aws_key, fault, file};
use crate::support::{Call, admin, free_port, started};

#[tokio::test]
async fn faults_select_by_key_version_and_caller() {
    let emulator = started().await;
    let (chosen, other) = (aws_key(&emulator).await, aws_key(&emulator).await);
    let alias = json!({ "AliasName": "alias/chosen", "TargetKeyId": chosen }).to_string();
    Call::new("CreateAlias", alias)
        .send(emulator.http_addr())
        .await;
    let sealed = aws_encrypt(&chosen).send(emulator.http_addr()).await;
    let decrypt = json!({ "CiphertextBlob": sealed.json["CiphertextBlob"] }).to_string();
    let opened = Call::new("Decrypt", decrypt.clone())
        .send(emulator.http_addr())
        .await;
    let version = opened.json["KeyMaterialId"].as_str().unwrap().to_owned();
    for (select, chosen_hit) in [
        (
            &(|fault: &mut Fault| fault.key = Some("alias/chosen".to_owned()))
                as &dyn Fn(&mut Fault),
            true,
        ),
        (
            &|fault| fault.key = chosen.rsplit('/').next().map(str::to_owned),
            true,
        ),
        (&|fault| fault.version = Some(version.clone()), true),
        (&|fault| fault.caller = Some("somebody".to_owned()), false),
        (&|fault| fault.operations = vec!["Sign".to_owned()], false),
        (&|fault| fault.cloud = Some(Cloud::Gcp), false),
    ] {
        let mut selecting = fault("throttle");
        select(&mut selecting);
        emulator.add_fault(selecting).unwrap();
        let hit = async |call: Call| {
            call.send(emulator.http_addr()).await.code() == "ThrottlingException"
        };
        // By ARN, and by nothing but the ciphertext.
        assert_eq!(hit(aws_encrypt(&chosen)).await, chosen_hit);
        assert_eq!(hit(Call::new("Decrypt", decrypt.clone())).await, chosen_hit);
        assert!(!hit(aws_encrypt(&other)).await);
        emulator.clear_faults();
    }
}

#[tokio::test]
async fn same_seed_hits_the_same_requests() {
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let mut half = fault("throttle");
        half.share = Some(0.5);
        half.operations = vec!["ListKeys".to_owned()];
        let builder = Emulator::builder().faults(FaultFile {
            seed: Some(seed),
            faults: vec![half],
        });
        let emulator = builder.admin_listen(free_port()).start().await.unwrap();
        let mut hit = Vec::new();
        for _ in 0..2 {
            for _ in 0..16 {
                hit.push(
                    Call::new("ListKeys", "{}")
                        .send(emulator.http_addr())
                        .await
                        .status,
                );
            }
            emulator.reset().await.unwrap();
        }
        assert_eq!(hit[..16], hit[16..], "a reset starts again");
        assert_eq!(emulator.faults().seed, seed);
        runs.push(hit);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test]
async fn faults_that_cannot_be_used_are_refused_with_the_reason() {
    let emulator = started().await;
    let mut named = fault("hang");
    named.name = Some("mine".to_owned());
    emulator.add_fault(named.clone()).unwrap();
    assert_eq!(emulator.add_fault(fault("throttle")).unwrap(), "throttle-1");
    let mut of_azure = fault("error=UNAVAILABLE");
    of_azure.cloud = Some(Cloud::Azure);
    let mut checksum = fault("wrong=checksum");
    checksum.cloud = Some(Cloud::Aws);
    let mut share = fault("throttle");
    share.share = Some(1.5);
    let unknown = Fault::new(Effect::Error {
        code: "Nothing".to_owned(),
    });
    for (refused, reason) in [
        (named, "there is a fault mine already"),
        (
            of_azure,
            "'UNAVAILABLE' is not an error code of azure; there are BadParameter",
        ),
        (checksum, "wrong=checksum does not exist for aws"),
        (share, "share: is not above 0 and at most 1"),
        (unknown, "is not an error code of any cloud"),
    ] {
        let error = emulator.add_fault(refused).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert_eq!(emulator.faults().faults.len(), 2);
    while emulator.add_fault(fault("throttle")).is_ok() {}
    assert_eq!(emulator.faults().faults.len(), 256, "the number is bounded");
}

#[tokio::test]
async fn admin_port_lists_adds_and_removes_faults() {
    let emulator = started().await;
    let url = format!("http://{}", emulator.admin_addr().unwrap());
    let client = AdminClient::new(url).unwrap();
    let mut named = fault("throttle");
    named.name = Some("a b/ä".to_owned());
    named.count = Some(1);
    let names = client
        .add_faults(&file(vec![named.clone(), fault("hang")]))
        .await
        .unwrap();
    assert_eq!(names, ["a b/ä", "hang-1"]);
    client.remove_fault("hang-1").await.unwrap();
    Call::new("ListKeys", "{}").send(emulator.http_addr()).await;
    let table = client.faults().await.unwrap();
    assert_eq!(table, emulator.faults());
    assert_eq!((table.faults[0].hits, table.never_hit().count()), (1, 0));

    // All or none.
    let error = client
        .add_faults(&file(vec![fault("reset"), named]))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("409"), "{error}");
    assert_eq!(client.faults().await.unwrap().faults.len(), 1);
    client.remove_fault("a b/ä").await.unwrap();
    let error = client.remove_fault("a b/ä").await.unwrap_err().to_string();
    assert!(
        error.contains("404") && error.contains("there is no fault"),
        "{error}"
    );
    client
        .add_faults(&file(vec![fault("reset")]))
        .await
        .unwrap();
    assert_eq!(client.clear_faults().await.unwrap(), 1);

    for (body, part) in [
        ("", "not a fault"),
        ("[]", "not a fault"),
        (
            r#"{"effect":"slow"}"#,
            "there is no 'slow'; there are latency",
        ),
        (r#"{"effect":"hang","shares":1}"#, "unknown field `shares`"),
        (
            r#"{"faults":[{"effect":"hang"},{"effect":"error=NOPE"}]}"#,
            "'NOPE' is not an error code",
        ),
    ] {
        let answer = admin(&emulator, "/faults", Some(body)).await;
        assert_eq!(answer.status, 400, "{body}");
        let message = answer.json["error"].as_str().unwrap();
        assert!(message.contains(part), "{body}: {message}");
    }
    assert!(
        emulator.faults().faults.is_empty(),
        "nothing is applied by halves"
    );
}
