//! Encrypt, decrypt, rotate and data keys with the vendor's SDK, and the message of each error.

use aws_sdk_kms::Client;
use aws_sdk_kms::error::ProvideErrorMetadata;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeySpec, EncryptionAlgorithmSpec};
use kmslab_emulator::{Auth, Emulator};
use serde_json::json;

use crate::support::{ACCOUNT, Call, raw, sdk, started};

async fn new_key(client: &Client) -> String {
    client
        .create_key()
        .send()
        .await
        .unwrap()
        .key_metadata
        .unwrap()
        .arn
        .unwrap()
}

#[tokio::test]
async fn key_lifecycle_from_creation_to_disabling() {
    let emulator = started().await;
    let client = sdk(&emulator);
    let key = new_key(&client).await;
    let first = client
        .describe_key()
        .key_id(&key)
        .send()
        .await
        .unwrap()
        .key_metadata
        .unwrap();
    let old = client
        .encrypt()
        .key_id(&key)
        .plaintext(Blob::new("old"))
        .send()
        .await
        .unwrap();
    assert_eq!(old.key_id(), Some(key.as_str()));
    assert_eq!(
        old.encryption_algorithm(),
        Some(&EncryptionAlgorithmSpec::SymmetricDefault)
    );

    let rotated = client
        .rotate_key_on_demand()
        .key_id(&key)
        .send()
        .await
        .unwrap();
    assert_eq!(rotated.key_id(), Some(key.as_str()));
    let second = client
        .describe_key()
        .key_id(&key)
        .send()
        .await
        .unwrap()
        .key_metadata
        .unwrap();
    assert_ne!(
        first.current_key_material_id(),
        second.current_key_material_id()
    );
    let new = client
        .encrypt()
        .key_id(&key)
        .plaintext(Blob::new("new"))
        .send()
        .await
        .unwrap();
    for (blob, plaintext, material) in [
        (&old, "old", first.current_key_material_id()),
        (&new, "new", second.current_key_material_id()),
    ] {
        let decrypted = client
            .decrypt()
            .ciphertext_blob(blob.ciphertext_blob().unwrap().clone())
            .send()
            .await
            .unwrap();
        assert_eq!(
            decrypted.plaintext().unwrap().as_ref(),
            plaintext.as_bytes()
        );
        assert_eq!(
            (decrypted.key_id(), decrypted.key_material_id()),
            (Some(key.as_str()), material)
        );
    }

    client.disable_key().key_id(&key).send().await.unwrap();
    let blob = old.ciphertext_blob().unwrap().clone();
    let rejected = client
        .decrypt()
        .ciphertext_blob(blob.clone())
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(rejected.is_disabled_exception(), "{rejected:?}");
    assert_eq!(
        rejected.message(),
        Some(format!("{key} is disabled.").as_str())
    );
    let rejected = client
        .encrypt()
        .key_id(&key)
        .plaintext(Blob::new("x"))
        .send()
        .await
        .unwrap_err();
    assert!(rejected.into_service_error().is_disabled_exception());
    client.enable_key().key_id(&key).send().await.unwrap();
    assert!(client.decrypt().ciphertext_blob(blob).send().await.is_ok());
}

#[tokio::test]
async fn aws_ciphertext_decrypts_with_its_context_and_key_only() {
    let emulator = started().await;
    let client = sdk(&emulator);
    let (key, other) = (new_key(&client).await, new_key(&client).await);
    let encrypted = client.encrypt().key_id(&key).plaintext(Blob::new("x"));
    let encrypted = encrypted
        .encryption_context("a", "bc")
        .encryption_context("d", "e")
        .send()
        .await
        .unwrap();
    let blob = encrypted.ciphertext_blob().unwrap().clone();
    let decrypted = client.decrypt().ciphertext_blob(blob.clone());
    assert!(
        decrypted
            .encryption_context("d", "e")
            .encryption_context("a", "bc")
            .send()
            .await
            .is_ok()
    );
    for context in [
        vec![("ab", "c"), ("d", "e")],
        vec![("a", "bc")],
        vec![("A", "bc"), ("d", "e")],
        vec![],
    ] {
        let context = context
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        let call = client
            .decrypt()
            .ciphertext_blob(blob.clone())
            .set_encryption_context(Some(context));
        let rejected = call.send().await.unwrap_err().into_service_error();
        assert!(rejected.is_invalid_ciphertext_exception(), "{rejected:?}");
        assert_eq!(rejected.message(), None);
    }
    let pinned = client
        .decrypt()
        .ciphertext_blob(blob.clone())
        .key_id(&other)
        .send()
        .await
        .unwrap_err();
    let pinned = pinned.into_service_error();
    assert!(pinned.is_incorrect_key_exception(), "{pinned:?}");
    let words =
        "The key ID in the request does not identify a CMK that can perform this operation.";
    assert_eq!(pinned.message(), Some(words));
    // Changed in the encrypted part, changed in the id of the key material, and not a ciphertext at
    // all.
    let flipped = |at: usize| {
        let mut bytes = blob.as_ref().to_vec();
        bytes[at] ^= 1;
        Blob::new(bytes)
    };
    let last = blob.as_ref().len() - 1;
    for (bytes, code) in [
        (flipped(last), "InvalidCiphertextException"),
        (flipped(10), "AccessDeniedException"),
        (Blob::new("garbage"), "InvalidCiphertextException"),
    ] {
        let rejected = client
            .decrypt()
            .ciphertext_blob(bytes)
            .send()
            .await
            .unwrap_err()
            .into_service_error();
        assert_eq!(rejected.code(), Some(code));
    }
}

#[tokio::test]
async fn data_keys_have_the_requested_length_and_decrypt() {
    let emulator = started().await;
    let client = sdk(&emulator);
    let key = new_key(&client).await;
    for (spec, bytes, length) in [
        (Some(DataKeySpec::Aes256), None, 32),
        (Some(DataKeySpec::Aes128), None, 16),
        (None, Some(1024), 1024),
    ] {
        let call = client
            .generate_data_key()
            .key_id(&key)
            .set_key_spec(spec)
            .set_number_of_bytes(bytes);
        let created = call.send().await.unwrap();
        let plaintext = created.plaintext().unwrap().as_ref();
        assert_eq!(plaintext.len(), length);
        let ciphertext = created.ciphertext_blob().unwrap();
        // As recorded from the service: 152 bytes longer than the plaintext of 32 bytes.
        assert!(length != 32 || ciphertext.as_ref().len() == 184);
        let decrypted = client
            .decrypt()
            .ciphertext_blob(ciphertext.clone())
            .send()
            .await
            .unwrap();
        assert_eq!(decrypted.plaintext().unwrap().as_ref(), plaintext);
    }
    let hidden = client
        .generate_data_key_without_plaintext()
        .key_id(&key)
        .key_spec(DataKeySpec::Aes256);
    let hidden = hidden.send().await.unwrap();
    let decrypted = client
        .decrypt()
        .ciphertext_blob(hidden.ciphertext_blob().unwrap().clone())
        .send()
        .await
        .unwrap();
    assert_eq!(decrypted.plaintext().unwrap().as_ref().len(), 32);
    let both = client
        .generate_data_key()
        .key_id(&key)
        .key_spec(DataKeySpec::Aes256)
        .number_of_bytes(1);
    for rejected in [
        both.send().await,
        client.generate_data_key().key_id(&key).send().await,
    ] {
        let rejected = rejected.unwrap_err().into_service_error();
        assert_eq!(
            rejected.message(),
            Some("Please specify either number of bytes or key spec.")
        );
    }
    assert_eq!(
        client
            .generate_random()
            .number_of_bytes(7)
            .send()
            .await
            .unwrap()
            .plaintext()
            .unwrap()
            .as_ref()
            .len(),
        7
    );
}

#[tokio::test]
async fn re_encrypt_changes_key_and_context() {
    let emulator = started().await;
    let client = sdk(&emulator);
    let (from, to) = (new_key(&client).await, new_key(&client).await);
    let encrypted = client
        .encrypt()
        .key_id(&from)
        .plaintext(Blob::new("x"))
        .send()
        .await
        .unwrap();
    let moved = client
        .re_encrypt()
        .ciphertext_blob(encrypted.ciphertext_blob().unwrap().clone());
    let moved = moved
        .destination_key_id(&to)
        .destination_encryption_context("a", "b")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (moved.source_key_id(), moved.key_id()),
        (Some(from.as_str()), Some(to.as_str()))
    );
    let decrypted = client
        .decrypt()
        .ciphertext_blob(moved.ciphertext_blob().unwrap().clone());
    let decrypted = decrypted.encryption_context("a", "b").send().await.unwrap();
    assert_eq!(decrypted.key_id(), Some(to.as_str()));
    assert_eq!(
        decrypted.key_material_id(),
        moved.destination_key_material_id()
    );
}

#[tokio::test]
async fn dry_run_reports_the_outcome_without_an_effect() {
    let emulator = started().await;
    let client = sdk(&emulator);
    let key = new_key(&client).await;
    let dry = |client: &Client| {
        client
            .encrypt()
            .key_id(&key)
            .plaintext(Blob::new("x"))
            .dry_run(true)
    };
    let rejected = dry(&client).send().await.unwrap_err().into_service_error();
    assert_eq!(rejected.code(), Some("DryRunOperationException"));
    client.disable_key().key_id(&key).send().await.unwrap();
    assert!(
        dry(&client)
            .send()
            .await
            .unwrap_err()
            .into_service_error()
            .is_disabled_exception()
    );
}

#[tokio::test]
async fn invalid_bodies_get_the_vendors_error() {
    let emulator = started().await;
    let address = emulator.http_addr();
    let key = sdk(&emulator)
        .create_key()
        .send()
        .await
        .unwrap()
        .key_metadata
        .unwrap();
    for body in [
        "[]",
        "[{\"KeyId\":\"x\"}]",
        "{\"KeyId\":",
        "",
        "null",
        "\"x\"",
    ] {
        let answer = Call::new("Encrypt", body).send(address).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "SerializationException"),
            "{body}"
        );
    }
    let encrypt = |body: serde_json::Value| Call::new("Encrypt", body.to_string());
    let missing = encrypt(json!({ "Plaintext": "eA==" })).send(address).await;
    let words = "1 validation error detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null";
    assert_eq!(
        (missing.code(), missing.message()),
        ("ValidationException", words)
    );
    let long = "eHh4".repeat(1366);
    let words = "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length less \
                 than or equal to 4096";
    let too_long = encrypt(json!({ "KeyId": key.key_id(), "Plaintext": long }))
        .send(address)
        .await;
    assert_eq!(
        (too_long.code(), too_long.message()),
        ("ValidationException", words)
    );
    let algorithm = json!({ "KeyId": key.key_id(), "Plaintext": "eA==", "EncryptionAlgorithm": "RSAES_OAEP_SHA_256" });
    let words = "Algorithm RSAES_OAEP_SHA_256 is incompatible with key spec SYMMETRIC_DEFAULT.";
    let rejected = encrypt(algorithm).send(address).await;
    assert_eq!(
        (rejected.code(), rejected.message()),
        ("InvalidKeyUsageException", words)
    );
    let unknown = "0000abcd-12ab-34cd-56ef-1234567890ab";
    for (named, words) in [
        (
            unknown,
            format!("Key 'arn:aws:kms:us-east-1:{ACCOUNT}:key/{unknown}' does not exist"),
        ),
        ("fake-key-id", "Invalid keyId 'fake-key-id'".to_owned()),
        (
            "alias/none",
            format!("Alias arn:aws:kms:us-east-1:{ACCOUNT}:alias/none is not found."),
        ),
        (
            &format!("arn:aws:kms:eu-west-1:{ACCOUNT}:key/{unknown}"),
            "Invalid arn eu-west-1".to_owned(),
        ),
    ] {
        let answer = encrypt(json!({ "KeyId": named, "Plaintext": "eA==" }))
            .send(address)
            .await;
        assert_eq!(
            (answer.code(), answer.message()),
            ("NotFoundException", words.as_str())
        );
    }
}

#[tokio::test]
async fn non_utf8_body_gets_the_vendors_error() {
    let emulator = Emulator::builder().auth(Auth::Off).start().await.unwrap();
    let mut bytes =
        b"POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: TrentService.Encrypt\r\ncontent-length: 14\r\n".to_vec();
    bytes.extend(b"connection: close\r\n\r\n{\"KeyId\":\"\xff\xfe\"}");
    let answer = raw(emulator.http_addr(), &bytes).await;
    assert_eq!(
        (answer.status, answer.code()),
        (400, "SerializationException"),
        "{}",
        answer.text
    );
}
