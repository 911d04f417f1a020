//! Azure Key Vault with `azure_security_keyvault_keys`. The SDK wants HTTPS and the vendor's host
//! names: the emulator's proxy serves them with a certificate of its own CA.

use std::sync::Arc;

use azure_core::credentials::Secret;
use azure_core::http::{ClientOptions, Transport};
use azure_identity::{ClientSecretCredential, ClientSecretCredentialOptions};
use azure_security_keyvault_keys::models::{
    CreateKeyParameters, EncryptionAlgorithm, KeyOperationParameters, KeyType,
};
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions};
use kmslab_emulator::Emulator;
use kmslab_emulator::well_known::{AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_TENANT};

fn client_options(emulator: &Emulator) -> Result<ClientOptions, Box<dyn std::error::Error>> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let ca = emulator.ca_pem().ok_or("the emulator serves no HTTPS")?;
    let proxy = emulator.endpoints().proxy.ok_or("there is no proxy")?;
    let http = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(ca.as_bytes())?])
        .proxy(reqwest::Proxy::all(proxy)?)
        .build()?;
    Ok(ClientOptions {
        transport: Some(Transport::new(Arc::new(http))),
        ..ClientOptions::default()
    })
}

#[tokio::test]
async fn wrapped_data_key_unwraps() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = Emulator::builder()
        .proxy_listen(Some(([127, 0, 0, 1], 0).into()))
        .start()
        .await?;
    let login = ClientSecretCredential::new(
        AZURE_TENANT,
        AZURE_CLIENT_ID.to_owned(),
        Secret::new(AZURE_CLIENT_SECRET.to_owned()),
        Some(ClientSecretCredentialOptions {
            client_options: client_options(&emulator)?,
        }),
    )?;
    let options = KeyClientOptions {
        client_options: client_options(&emulator)?,
        ..KeyClientOptions::default()
    };
    let keys = KeyClient::new("https://kmslab.vault.azure.net", login, Some(options))?;

    let key = CreateKeyParameters {
        kty: Some(KeyType::Rsa),
        ..CreateKeyParameters::default()
    };
    keys.create_key("example", key.try_into()?, None).await?;
    let mut parameters = KeyOperationParameters {
        algorithm: Some(EncryptionAlgorithm::RsaOaep256),
        value: Some(b"a data encryption key".to_vec()),
        ..KeyOperationParameters::default()
    };
    let wrapped = keys
        .wrap_key("example", parameters.clone().try_into()?, None)
        .await?
        .into_model()?;
    parameters.value = wrapped.result;
    let version = emulator.keys().await.rows[0].versions[0].id.clone();
    let unwrapped = keys
        .unwrap_key("example", &version, parameters.try_into()?, None)
        .await?
        .into_model()?;
    assert_eq!(
        unwrapped.result.as_deref(),
        Some(&b"a data encryption key"[..])
    );
    emulator.stop().await;
    Ok(())
}
