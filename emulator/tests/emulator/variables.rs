//! Variables of each program, as `kmslab env` prints them.

use clap::ValueEnum;
use kmslab_emulator::Emulator;
use kmslab_emulator::api::{AdminClient, Cloud, Endpoints};
use kmslab_emulator::variables::Program;

const ALL: &[Cloud] = &[Cloud::Aws, Cloud::Azure, Cloud::Gcp];

fn endpoints() -> Endpoints {
    Endpoints {
        http: "http://127.0.0.1:7600".to_owned(),
        https: Some("https://localhost:7643".to_owned()),
        proxy: Some("http://127.0.0.1:7680".to_owned()),
        admin: Some("http://127.0.0.1:7690".to_owned()),
        ca: Some("/run/my labs/ca.pem".into()),
        azure_tenant: "0f7c5d0a-6a1b-4c6e-9d55-6b6d736c6162".to_owned(),
        gcp_key_file: Some("/run/my labs/gcp-key-7600.json".into()),
    }
}

fn name(program: Program) -> String {
    let value = program.to_possible_value();
    value.map(|value| value.get_name().to_owned()).unwrap()
}

#[test]
fn each_program_has_its_variables() {
    for program in Program::value_variants() {
        let variables = program.variables(ALL, &endpoints(), "us-east-1").unwrap();
        insta::assert_snapshot!(format!("variables_{}", name(*program)), variables);
    }
}

#[test]
fn a_cloud_by_itself_has_only_its_own_variables() {
    let of = |cloud| {
        let variables = Program::Python.variables(&[cloud], &endpoints(), "us-east-1");
        variables.unwrap().to_string()
    };
    let (aws, azure, google) = (of(Cloud::Aws), of(Cloud::Azure), of(Cloud::Gcp));
    assert!(
        aws.contains("AWS_") && !aws.contains("HTTPS_PROXY"),
        "{aws}"
    );
    assert!(
        !azure.contains("AWS_") && !azure.contains("GOOGLE_"),
        "{azure}"
    );
    assert!(
        google.contains("HTTPS_PROXY") && !google.contains("AZURE_"),
        "{google}"
    );
}

#[test]
fn a_missing_proxy_is_an_error_only_where_it_is_needed() {
    let endpoints = Endpoints {
        https: None,
        proxy: None,
        ca: None,
        ..endpoints()
    };
    for program in Program::value_variants() {
        let variables = program.variables(ALL, &endpoints, "us-east-1");
        let needs_none = matches!(program, Program::Awscli | Program::Gcloud);
        assert_eq!(variables.is_ok(), needs_none, "{program:?}");
        if let Err(error) = variables {
            insta::allow_duplicates! {
                insta::assert_snapshot!(error.to_string().replace("no CA", "no proxy"), @"the emulator has no proxy, which the vendors' own host names need: start it without --no-tls and --no-proxy");
            }
        }
        for cloud in program
            .clouds()
            .iter()
            .filter(|cloud| **cloud == Cloud::Aws)
        {
            assert!(
                program
                    .variables(&[*cloud], &endpoints, "us-east-1")
                    .is_ok()
            );
        }
    }
}

#[tokio::test]
async fn the_admin_port_has_all_addresses() {
    let emulator = Emulator::builder()
        .admin_listen(Some("127.0.0.1:0".parse().unwrap()))
        .start()
        .await
        .unwrap();
    let admin = format!("http://{}", emulator.admin_addr().unwrap());
    let client = AdminClient::new(admin).unwrap();
    let endpoints = client.endpoints().await.unwrap();
    assert_eq!(endpoints, emulator.endpoints());
    assert_eq!(endpoints.http, emulator.endpoint_url());
    emulator.stop().await;
}
