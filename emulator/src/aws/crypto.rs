//! Cryptographic operations: Encrypt, Decrypt, ReEncrypt and data keys.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kmslab_keycore::{KeyError, Purpose, VersionId};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::blob::{self, SALT_BYTES};
use super::names::{ENCRYPTION_ALGORITHMS, SYMMETRIC_DEFAULT};
use super::wire::Input;
use super::{Accept, Aws, AwsError, Caller, ResolvedKey, names};

/// Maximum length of a plaintext in bytes, from the API model.
const MAX_PLAINTEXT_LEN: usize = 4096;
const MAX_CIPHERTEXT_LEN: usize = 6144;

type Context<'a> = BTreeMap<&'a str, &'a str>;

/// A decrypted ciphertext.
struct Decrypted {
    plaintext: Zeroizing<Vec<u8>>,
    arn: String,
    version: VersionId,
}

pub(super) fn encrypt(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    let plaintext = input.required_blob("Plaintext", 1..=MAX_PLAINTEXT_LEN)?;
    let context = input.string_map("EncryptionContext")?;
    let dry_run = input.dry_run()?;
    let resolved = aws.resolve_member(caller, input, "KeyId", Accept::Aliases)?;
    ensure_symmetric_algorithm(input, "EncryptionAlgorithm")?;
    let (_, ciphertext) = encrypt_blob(aws, &resolved, &plaintext, &context)?;
    respect_dry_run(dry_run, || {
        json!({
            "CiphertextBlob": STANDARD.encode(&ciphertext),
            "KeyId": resolved.arn,
            "EncryptionAlgorithm": SYMMETRIC_DEFAULT,
        })
    })
}

pub(super) fn decrypt(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    if input.has("Recipient") {
        return Err(AwsError::unsupported());
    }
    let dry_run = input.dry_run()?;
    if input.ignores_ciphertext()? {
        let resolved = aws.resolve_member(caller, input, "KeyId", Accept::Aliases)?;
        ensure_usable(&resolved)?;
        return respect_dry_run(true, || Value::Null);
    }
    let opened = decrypt_input(
        aws,
        caller,
        input,
        ["KeyId", "EncryptionContext", "EncryptionAlgorithm"],
    )?;
    respect_dry_run(dry_run, || {
        json!({
            "KeyId": opened.arn,
            "KeyMaterialId": opened.version.to_string(),
            "Plaintext": STANDARD.encode(&*opened.plaintext),
            "EncryptionAlgorithm": SYMMETRIC_DEFAULT,
        })
    })
}

pub(super) fn re_encrypt(aws: &Aws, caller: &Caller, input: &Input) -> Result<Value, AwsError> {
    let dry_run = input.dry_run()?;
    let context = input.string_map("DestinationEncryptionContext")?;
    let source = [
        "SourceKeyId",
        "SourceEncryptionContext",
        "SourceEncryptionAlgorithm",
    ];
    let destination = aws.resolve_key(
        caller,
        "kms:ReEncryptTo",
        input.required_string("DestinationKeyId", 1..=2048)?,
        Accept::Aliases,
    )?;
    ensure_symmetric_algorithm(input, "DestinationEncryptionAlgorithm")?;
    if input.ignores_ciphertext()? {
        ensure_usable(&aws.resolve_member(caller, input, "SourceKeyId", Accept::Aliases)?)?;
        ensure_usable(&destination)?;
        return respect_dry_run(true, || Value::Null);
    }
    let opened = decrypt_input(aws, caller, input, source)?;
    let (version, ciphertext) = encrypt_blob(aws, &destination, &opened.plaintext, &context)?;
    respect_dry_run(dry_run, || {
        json!({
            "CiphertextBlob": STANDARD.encode(&ciphertext),
            "SourceKeyId": opened.arn,
            "SourceKeyMaterialId": opened.version.to_string(),
            "SourceEncryptionAlgorithm": SYMMETRIC_DEFAULT,
            "KeyId": destination.arn,
            "DestinationKeyMaterialId": version.to_string(),
            "DestinationEncryptionAlgorithm": SYMMETRIC_DEFAULT,
        })
    })
}

pub(super) fn generate_data_key(
    aws: &Aws,
    caller: &Caller,
    input: &Input,
) -> Result<Value, AwsError> {
    if input.has("Recipient") {
        return Err(AwsError::unsupported());
    }
    let (plaintext, mut answer) = data_key(aws, caller, input)?;
    answer["Plaintext"] = STANDARD.encode(&*plaintext).into();
    Ok(answer)
}

pub(super) fn generate_data_key_without_plaintext(
    aws: &Aws,
    caller: &Caller,
    input: &Input,
) -> Result<Value, AwsError> {
    data_key(aws, caller, input).map(|(_, answer)| answer)
}

pub(super) fn generate_random(
    aws: &Aws,
    _caller: &Caller,
    input: &Input,
) -> Result<Value, AwsError> {
    if input.has("Recipient") || input.has("CustomKeyStoreId") {
        return Err(AwsError::unsupported());
    }
    let bytes = input.integer("NumberOfBytes", 1..=1024)?;
    let bytes = bytes.ok_or_else(|| AwsError::validation("NumberOfBytes is required."))?;
    let random = aws
        .core
        .random(usize::try_from(bytes).map_err(AwsError::internal)?);
    Ok(json!({ "Plaintext": STANDARD.encode(&*random) }))
}

/// Generates a data key. Returns it with the response, which does not contain it.
fn data_key(
    aws: &Aws,
    caller: &Caller,
    input: &Input,
) -> Result<(Zeroizing<Vec<u8>>, Value), AwsError> {
    let spec = input.one_of("KeySpec", &["AES_256", "AES_128"])?;
    let bytes = input.integer("NumberOfBytes", 1..=1024)?;
    let context = input.string_map("EncryptionContext")?;
    let dry_run = input.dry_run()?;
    let length = match (spec, bytes) {
        (Some("AES_128"), None) => 16,
        (Some(_), None) => 32,
        (None, Some(bytes)) => usize::try_from(bytes).map_err(AwsError::internal)?,
        _ => {
            return Err(AwsError::validation(
                "Please specify either number of bytes or key spec.",
            ));
        }
    };
    let resolved = aws.resolve_member(caller, input, "KeyId", Accept::Aliases)?;
    let plaintext = aws.core.random(length);
    let (version, ciphertext) = encrypt_blob(aws, &resolved, &plaintext, &context)?;
    let answer = respect_dry_run(dry_run, || {
        json!({
            "CiphertextBlob": STANDARD.encode(&ciphertext),
            "KeyId": resolved.arn,
            "KeyMaterialId": version.to_string(),
        })
    })?;
    Ok((plaintext, answer))
}

fn respect_dry_run(dry_run: bool, answer: impl FnOnce() -> Value) -> Result<Value, AwsError> {
    if dry_run {
        Err(AwsError::dry_run())
    } else {
        Ok(answer())
    }
}

/// Rejects algorithms that symmetric keys do not support.
fn ensure_symmetric_algorithm(input: &Input, member: &str) -> Result<(), AwsError> {
    match input.one_of(member, ENCRYPTION_ALGORITHMS)? {
        None | Some(SYMMETRIC_DEFAULT) => Ok(()),
        Some(other) => Err(AwsError::incompatible_algorithm(other, SYMMETRIC_DEFAULT)),
    }
}

/// Fails if the key cannot be used now.
fn ensure_usable(resolved: &ResolvedKey<'_>) -> Result<(), AwsError> {
    resolved
        .key
        .ensure_usable_for(Purpose::EncryptDecrypt)
        .map_err(|error| resolved.key_error(error))
}

fn encrypt_blob(
    aws: &Aws,
    resolved: &ResolvedKey<'_>,
    plaintext: &[u8],
    context: &Context<'_>,
) -> Result<(VersionId, Vec<u8>), AwsError> {
    let mut salt = [0; SALT_BYTES];
    salt.copy_from_slice(&aws.core.random(SALT_BYTES));
    let bound = blob::aad(&salt, context);
    let encrypted = resolved.key.encrypt(&blob::add_magic(plaintext), &bound);
    let encrypted = encrypted.map_err(|error| resolved.key_error(error))?;
    Ok((encrypted.version, blob::encode(&salt, &encrypted)))
}

/// Decrypts `CiphertextBlob`. `members` are the names of the key id, the encryption context and the
/// algorithm.
fn decrypt_input(
    aws: &Aws,
    caller: &Caller,
    input: &Input,
    [key, context, algorithm]: [&str; 3],
) -> Result<Decrypted, AwsError> {
    let ciphertext = input.required_blob("CiphertextBlob", 1..=MAX_CIPHERTEXT_LEN)?;
    let context = input.string_map(context)?;
    let pinned = match input.has(key) {
        true => Some(aws.resolve_member(caller, input, key, Accept::Aliases)?),
        false => None,
    };
    ensure_symmetric_algorithm(input, algorithm)?;
    pinned.as_ref().map_or(Ok(()), ensure_usable)?;
    let blob = blob::parse(&ciphertext).ok_or_else(AwsError::invalid_ciphertext)?;
    let realm = names::realm(&caller.account, &caller.region);
    let named = aws.ciphertexts.find(&aws.core, &realm, &blob.id);
    let (key, version) = match (pinned, named) {
        (Some(pinned), Some((id, version))) if pinned.key.id == id => (pinned.key, version),
        (Some(_), _) => return Err(AwsError::incorrect_key()),
        (None, Some((id, version))) => {
            let key = aws.core.key(&realm, &id);
            (
                key.map_err(|_| AwsError::unknown_ciphertext_key())?,
                version,
            )
        }
        (None, None) => return Err(AwsError::unknown_ciphertext_key()),
    };
    let arn = names::key_arn(&caller.account, &caller.region, key.id.as_str());
    let bound = blob::aad(&blob.salt, &context);
    let opened = key
        .version(&version)
        .and_then(|version| version.decrypt(&blob.nonce, &blob.body, &bound));
    let opened = opened.map_err(|error| match error {
        KeyError::DecryptionFailed => AwsError::invalid_ciphertext(),
        other => AwsError::from_key_error(&arn, other),
    })?;
    let plaintext = blob::strip_magic(&opened).ok_or_else(AwsError::invalid_ciphertext)?;
    Ok(Decrypted {
        plaintext: Zeroizing::new(plaintext.to_vec()),
        arn,
        version,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kmslab_keycore::SystemEntropy;

    use super::*;
    use crate::aws::Operation;
    use crate::counting_store::CountingStore;
    use crate::pipeline::audit::Audit;

    #[test]
    fn encrypt_and_decrypt_look_a_key_up_once() {
        let (store, core) = CountingStore::with_core();
        let clock = || Arc::new(kmslab_keycore::SystemClock);
        let audit = Arc::new(Audit::new(0, None, clock(), clock()));
        let aws = Aws::new(core, Arc::new(SystemEntropy), audit);
        let caller = Caller {
            account: "111122223333".to_owned(),
            region: "eu-central-1".to_owned(),
            access_key_id: "AKIAEXAMPLE".to_owned(),
        };
        let call = |operation: &str, body: Value| {
            let operation = Operation::find(operation).unwrap();
            let (answer, lookups) = store.count(|| {
                let input = Input::parse(operation, body.to_string().as_bytes())?;
                operation.run(&aws, &caller, &input)
            });
            (answer.unwrap(), lookups)
        };
        let (created, _) = call("CreateKey", json!({}));
        let arn = created["KeyMetadata"]["Arn"].clone();
        call(
            "CreateAlias",
            json!({ "AliasName": "alias/a", "TargetKeyId": arn }),
        );
        for (key, expected) in [
            (arn, 1),
            (created["KeyMetadata"]["KeyId"].clone(), 1),
            // The alias, and the key that it names.
            (json!("alias/a"), 2),
        ] {
            let body = json!({ "KeyId": key, "Plaintext": STANDARD.encode("text") });
            let (encrypted, lookups) = call("Encrypt", body);
            assert_eq!(lookups, expected, "{key}");
            let body = json!({ "CiphertextBlob": encrypted["CiphertextBlob"] });
            // The first Decrypt under a version indexes it.
            call("Decrypt", body.clone());
            let (_, lookups) = call("Decrypt", body);
            assert_eq!(lookups, 1, "the ciphertext identifies the key");
        }
    }
}
