//! Token endpoints on a bad day.

use kmslab_emulator::Emulator;
use kmslab_emulator::well_known::{AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_TENANT};

use super::{KEY_PATH, VAULT_HOST, fault, hits};
use crate::support::{Answer, ask, send, started};

async fn entra_token(emulator: &Emulator) -> Answer {
    let form = format!(
        "grant_type=client_credentials&client_id={AZURE_CLIENT_ID}&client_secret={AZURE_CLIENT_SECRET}\
         &scope=https%3A%2F%2Fvault.azure.net%2F.default"
    );
    let request = http::Request::post(format!("/{AZURE_TENANT}/oauth2/v2.0/token"))
        .header("host", "login.microsoftonline.com")
        .header("content-type", "application/x-www-form-urlencoded");
    send(emulator.http_addr(), &request.body(form).unwrap()).await
}

async fn managed_identity_token(emulator: &Emulator) -> Answer {
    let query = "api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net";
    let request = http::Request::get(format!("/metadata/identity/oauth2/token?{query}"))
        .header("host", "169.254.169.254")
        .header("metadata", "true");
    send(emulator.http_addr(), &request.body(String::new()).unwrap()).await
}

#[tokio::test]
async fn entra_throttles_and_fails_with_its_own_errors() {
    let emulator = started().await;
    let mut throttle = fault("throttle");
    throttle.caller = Some(AZURE_CLIENT_ID.to_owned());
    emulator.add_fault(throttle).unwrap();
    let answer = entra_token(&emulator).await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (429, "Too Many Requests")
    );
    assert!(answer.head.contains("retry-after: 60"), "{}", answer.head);
    assert_eq!(hits(&emulator), [1]);
    assert_eq!(emulator.requests().outcome("IdentityToken", "429"), 1);
    emulator.clear_faults();

    for (code, status, error) in [
        ("AADSTS90033", 503, "temporarily_unavailable"),
        ("AADSTS90036", 500, "server_error"),
        ("AADSTS7000222", 401, "invalid_client"),
    ] {
        emulator.add_fault(fault(&format!("error={code}"))).unwrap();
        let answer = entra_token(&emulator).await;
        assert_eq!(answer.status, status, "{code}");
        assert_eq!(answer.json["error"], error, "{code}");
        let description = answer.json["error_description"].as_str().unwrap();
        assert!(description.starts_with(code), "{description}");
        emulator.clear_faults();
    }
    assert_eq!(entra_token(&emulator).await.status, 200);
}

#[tokio::test]
async fn token_with_a_wrong_bit_is_rejected_by_the_vault() {
    let emulator = started().await;
    let call = async |answer: Answer| {
        let token = answer.json["access_token"].as_str().unwrap().to_owned();
        let path = ("GET", KEY_PATH);
        let none = serde_json::Value::Null;
        ask(emulator.http_addr(), VAULT_HOST, Some(&token), path, &none).await
    };
    // There is no such key, which only a valid token learns.
    assert_eq!(call(entra_token(&emulator).await).await.status, 404);
    emulator.add_fault(fault("wrong=bit")).unwrap();
    let token = entra_token(&emulator).await;
    emulator.clear_faults();
    assert_eq!(call(token).await.status, 401);
}

#[tokio::test]
async fn metadata_servers_throttle_with_their_own_errors() {
    let emulator = started().await;
    let google = async || {
        let request =
            http::Request::get("/computeMetadata/v1/instance/service-accounts/default/token")
                .header("host", "metadata.google.internal")
                .header("metadata-flavor", "Google");
        send(emulator.http_addr(), &request.body(String::new()).unwrap()).await
    };
    assert_eq!(google().await.status, 200);
    let mut throttle = fault("throttle");
    throttle.operations = vec!["ManagedIdentityToken".to_owned(), "Metadata".to_owned()];
    emulator.add_fault(throttle).unwrap();
    let azure = managed_identity_token(&emulator).await;
    let description = &azure.json["error_description"];
    assert_eq!(
        (azure.status, description.as_str()),
        (429, Some("Temporarily throttled, too many requests"))
    );
    let answer = google().await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (429, "Too Many Requests\n")
    );
    assert_eq!(hits(&emulator), [2]);
    emulator.clear_faults();

    // Published keys are an operation of their own.
    let mut slow = fault("latency=1ms");
    slow.operations = vec!["Certificates".to_owned()];
    emulator.add_fault(slow).unwrap();
    let certificates = http::Request::get("/oauth2/v1/certs").header("host", "www.googleapis.com");
    let certificates = certificates.body(String::new()).unwrap();
    assert_eq!(send(emulator.http_addr(), &certificates).await.status, 200);
    assert_eq!(hits(&emulator), [1]);
    google().await;
    assert_eq!(hits(&emulator), [1]);
    emulator.clear_faults();

    emulator.add_fault(fault("error=UNAVAILABLE")).unwrap();
    let answer = google().await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (503, "Service Unavailable\n")
    );
}
