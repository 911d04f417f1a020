//! The CiphertextBlob of a symmetric key, in the format and length of the service: 152 bytes longer
//! than the plaintext. It identifies the key material, but neither key nor account.
//!
//! ```text
//! 01 02 02 00 | 78 | key material, 32 bytes | 01 | salt, 16 bytes | length, 4 bytes | CMS EncryptedData
//! ```
//!
//! The frame follows real ciphertexts. The content of their encrypted part is not public; here it
//! is a magic value of 11 bytes and the plaintext, which gives the same length.

use std::collections::{BTreeMap, HashMap};
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::digest::{SHA256, digest};
use kmslab_keycore::{Ciphertext, KeyId, Realm, VersionId};
use zeroize::Zeroizing;

use super::data::KeyCore;

const HEADER: [u8; 5] = [1, 2, 2, 0, 0x78];
const SALT_FOLLOWS: u8 = 1;
pub(crate) const SALT_BYTES: usize = 16;
/// Prefix of every plaintext before it is encrypted.
const MAGIC: &[u8; 11] = b"kmslab blob";

const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 0x04;
/// `[0]` constructed; the next constant is `[0]` primitive.
const CONTENT: u8 = 0xa0;
const CIPHERTEXT: u8 = 0x80;
const VERSION_0: &[u8] = &[0x02, 1, 0];
const TAG_OF_16_BYTES: &[u8] = &[0x02, 1, 16];
/// 1.2.840.113549.1.7.6, EncryptedData of RFC 5652.
const ENCRYPTED_DATA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 6];
/// 1.2.840.113549.1.7.1, data.
const DATA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
/// 2.16.840.1.101.3.4.1.46, AES-256-GCM of RFC 5084.
const AES_256_GCM: &[u8] = &[0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 46];

/// A parsed ciphertext. Its fields are not authentic until it is decrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    /// See [`blob_id`].
    pub(crate) id: [u8; 32],
    pub(crate) salt: [u8; SALT_BYTES],
    pub(crate) nonce: [u8; 12],
    /// Ciphertext ‖ tag.
    pub(crate) body: Vec<u8>,
}

/// The id of a version in its ciphertexts: a hash, so that it cannot be mistaken for the
/// KeyMaterialId.
pub(crate) fn blob_id(version: &VersionId) -> [u8; 32] {
    let named = digest(
        &SHA256,
        &[b"kmslab aws backing key ".as_slice(), version.as_bytes()].concat(),
    );
    let mut id = [0; 32];
    id.copy_from_slice(named.as_ref());
    id
}

/// Encodes a ciphertext of the core.
pub(crate) fn encode(salt: &[u8; SALT_BYTES], sealed: &Ciphertext) -> Vec<u8> {
    let parameters = tlv(SEQUENCE, &[&tlv(OCTETS, &[&sealed.nonce]), TAG_OF_16_BYTES]);
    let algorithm = tlv(SEQUENCE, &[AES_256_GCM, &parameters]);
    let content = tlv(
        SEQUENCE,
        &[DATA, &algorithm, &tlv(CIPHERTEXT, &[&sealed.body])],
    );
    let encrypted = tlv(SEQUENCE, &[VERSION_0, &content]);
    let cms = tlv(SEQUENCE, &[ENCRYPTED_DATA, &tlv(CONTENT, &[&encrypted])]);
    let length = u32::try_from(cms.len()).unwrap_or(u32::MAX).to_be_bytes();
    [
        &HEADER[..],
        &blob_id(&sealed.version),
        &[SALT_FOLLOWS],
        salt,
        &length,
        &cms,
    ]
    .concat()
}

/// Parses a ciphertext. Returns `None` for bytes that [`encode`] does not produce.
pub(crate) fn parse(bytes: &[u8]) -> Option<Blob> {
    let rest = bytes.strip_prefix(&HEADER)?;
    let (id, rest) = rest.split_first_chunk()?;
    let (salt, rest) = rest.strip_prefix(&[SALT_FOLLOWS])?.split_first_chunk()?;
    let (length, cms) = rest.split_first_chunk()?;
    if usize::try_from(u32::from_be_bytes(*length)).ok()? != cms.len() {
        return None;
    }
    let outer = der_single(SEQUENCE, cms)?.strip_prefix(ENCRYPTED_DATA)?;
    let encrypted = der_single(SEQUENCE, der_single(CONTENT, outer)?)?.strip_prefix(VERSION_0)?;
    let (algorithm, ciphertext) = der_next(
        SEQUENCE,
        der_single(SEQUENCE, encrypted)?.strip_prefix(DATA)?,
    )?;
    let (nonce, tag) = der_next(
        OCTETS,
        der_single(SEQUENCE, algorithm.strip_prefix(AES_256_GCM)?)?,
    )?;
    if tag != TAG_OF_16_BYTES {
        return None;
    }
    let body = der_single(CIPHERTEXT, ciphertext)?;
    Some(Blob {
        id: *id,
        salt: *salt,
        nonce: nonce.try_into().ok()?,
        body: body.to_vec(),
    })
}

/// Prepends the magic value to a plaintext.
pub(crate) fn add_magic(plaintext: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([MAGIC, plaintext].concat())
}

/// Returns the plaintext behind the magic value.
pub(crate) fn strip_magic(opened: &[u8]) -> Option<&[u8]> {
    opened.strip_prefix(MAGIC)
}

/// Additional authenticated data: the salt and the encryption context. Lengths come first, so that
/// different contexts never give the same bytes; pairs are sorted, so that their order does not
/// matter.
pub(crate) fn aad(salt: &[u8; SALT_BYTES], context: &BTreeMap<&str, &str>) -> Vec<u8> {
    let mut data = Vec::with_capacity(64);
    data.extend_from_slice(salt);
    data.extend((context.len() as u64).to_be_bytes());
    for text in context.iter().flat_map(|(key, value)| [key, value]) {
        data.extend((text.len() as u64).to_be_bytes());
        data.extend(text.as_bytes());
    }
    data
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 1 + 1 + size_of::<usize>());
    out.push(tag);
    match length {
        short @ 0..=0x7f => out.push(short as u8),
        long => {
            let bytes = long.to_be_bytes();
            let bytes = &bytes[bytes.iter().take_while(|b| **b == 0).count()..];
            out.push(0x80 | bytes.len() as u8);
            out.extend(bytes);
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// Returns the content of the first DER element and the bytes after it. Lengths must be in their
/// shortest form.
fn der_next(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.strip_prefix(&[tag])?.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => {
            let (length, rest) = rest.split_first().filter(|(length, _)| **length >= 0x80)?;
            (usize::from(*length), rest)
        }
        0x82 => {
            let (length, rest) = rest
                .split_first_chunk()
                .filter(|(length, _)| length[0] != 0)?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// Returns the content of the only DER element in `bytes`.
fn der_single(tag: u8, bytes: &[u8]) -> Option<&[u8]> {
    der_next(tag, bytes)
        .filter(|(_, rest)| rest.is_empty())
        .map(|(content, _)| content)
}

/// Finds the version that a ciphertext identifies, for all versions looked up so far.
#[derive(Debug, Default)]
pub(crate) struct CiphertextIndex(RwLock<HashMap<[u8; 32], (Realm, KeyId, VersionId)>>);

impl CiphertextIndex {
    /// Returns the key and version in `realm`; `None` if no key there has that material.
    pub(crate) fn find(
        &self,
        core: &KeyCore,
        realm: &Realm,
        id: &[u8; 32],
    ) -> Option<(KeyId, VersionId)> {
        let known = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned();
        let (at, key, version) = match known {
            Some(known) => known,
            None => self.index_realm(core, realm, id)?,
        };
        (at == *realm).then_some((key, version))
    }

    /// Indexes every version of the realm again and drops those that are gone.
    fn index_realm(
        &self,
        core: &KeyCore,
        realm: &Realm,
        id: &[u8; 32],
    ) -> Option<(Realm, KeyId, VersionId)> {
        let keys = core.keys(realm);
        let named = keys.iter().flat_map(|key| {
            key.versions.iter().map(|version| {
                (
                    blob_id(&version.id),
                    (realm.clone(), key.id.clone(), version.id),
                )
            })
        });
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (at, ..)| at != realm);
        known.extend(named);
        known.get(id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed(body: usize) -> Ciphertext {
        Ciphertext {
            version: VersionId::from_bytes([7; 32]),
            nonce: [8; 12],
            body: vec![9; body],
        }
    }

    #[test]
    fn data_key_ciphertext_has_the_length_and_prefix_of_the_service() {
        let body = add_magic(&[0; 32]).len() + 16;
        let bytes = encode(&[5; SALT_BYTES], &sealed(body));
        assert_eq!(bytes.len(), 184);
        assert_eq!(bytes[54..58], [0, 0, 0, 0x7e]);
        // The algorithm and the first bytes of the ciphertext, as in published ciphertexts.
        assert_eq!(hex::encode(&bytes[58..64]), "307c06092a86");
        assert_eq!(
            hex::encode(&bytes[93..108]),
            "060960864801650304012e3011040c"
        );
        assert_eq!(hex::encode(&bytes[120..125]), "020110803b");
    }

    #[test]
    fn similar_encryption_contexts_give_different_aad() {
        let salt = [0; SALT_BYTES];
        let of =
            |pairs: &[(&'static str, &'static str)]| aad(&salt, &pairs.iter().copied().collect());
        assert_ne!(of(&[("a", "bc")]), of(&[("ab", "c")]));
        assert_ne!(of(&[("a", "")]), of(&[]));
        assert_ne!(of(&[("a", "b")]), of(&[("A", "b")]));
        assert_eq!(of(&[("a", "b"), ("c", "d")]), of(&[("c", "d"), ("a", "b")]));
        assert_ne!(of(&[]), aad(&[1; SALT_BYTES], &BTreeMap::new()));
    }

    proptest! {
        #[test]
        fn ciphertext_round_trips(body in 0usize..5000, salt: [u8; 16]) {
            let bytes = encode(&salt, &sealed(body));
            let blob = parse(&bytes).unwrap();
            prop_assert_eq!((blob.id, blob.salt, blob.nonce), (blob_id(&sealed(0).version), salt, [8; 12]));
            prop_assert_eq!(blob.body.len(), body);
        }

        #[test]
        fn changed_byte_is_rejected_or_changes_the_parsed_value(at in 0usize..184, flip in 1u8..) {
            let mut bytes = encode(&[5; SALT_BYTES], &sealed(59));
            let before = parse(&bytes);
            bytes[at] ^= flip;
            prop_assert_ne!(parse(&bytes), before);
        }

        #[test]
        fn random_bytes_do_not_parse_as_ciphertext(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            cut in 0usize..184,
            tail in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            prop_assert_eq!(parse(&bytes), None);
            // The same for bytes that start like a ciphertext.
            let good = encode(&[5; SALT_BYTES], &sealed(59));
            let started = [&good[..cut], &tail].concat();
            if let Some(blob) = parse(&started) {
                prop_assert_eq!((started.len(), blob.body.len()), (good.len(), 59));
            }
        }
    }
}
