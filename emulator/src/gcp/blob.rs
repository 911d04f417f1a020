//! Ciphertexts of symmetric keys, with two fields as in real ones: the first identifies the
//! version, the second holds the encrypted data.
//!
//! ```text
//! 0a 24 | 00 | id of the version, 32 bytes | 3 zero bytes | 12 | length | nonce, 12 bytes | ciphertext ‖ tag
//! ```
//!
//! The content of real ciphertexts is not public; they begin with `0a 24 00` as well, `CiQA` in
//! base64.

use aws_lc_rs::digest::{SHA256, digest};
use kmslab_keycore::{Ciphertext, VersionId};
use prost::Message;

const VERSION_FIELD: u8 = 0;
const ID_LEN: usize = 32;
const PADDING: [u8; 3] = [0; 3];
const NONCE_LEN: usize = 12;

#[derive(Clone, PartialEq, Message)]
struct Frame {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    sealed: Vec<u8>,
}

/// A parsed ciphertext. Its fields are not authentic until it is decrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) id: [u8; ID_LEN],
    pub(crate) nonce: [u8; NONCE_LEN],
    pub(crate) body: Vec<u8>,
}

/// The id of a version in its ciphertexts: a hash, so that it reveals nothing else.
pub(crate) fn blob_id(version: &VersionId) -> [u8; ID_LEN] {
    let named = digest(
        &SHA256,
        &[b"kmslab gcp version ".as_slice(), version.as_bytes()].concat(),
    );
    let mut id = [0; ID_LEN];
    id.copy_from_slice(named.as_ref());
    id
}

pub(crate) fn encode(sealed: &Ciphertext) -> Vec<u8> {
    let id = [
        &[VERSION_FIELD],
        blob_id(&sealed.version).as_slice(),
        &PADDING,
    ]
    .concat();
    Frame {
        id,
        sealed: [sealed.nonce.as_slice(), &sealed.body].concat(),
    }
    .encode_to_vec()
}

/// Parses a ciphertext. Returns `None` for bytes that [`encode`] does not produce.
pub(crate) fn parse(bytes: &[u8]) -> Option<Blob> {
    let frame = Frame::decode(bytes).ok()?;
    if frame.encode_to_vec() != bytes {
        return None;
    }
    let (id, padding) = frame
        .id
        .strip_prefix(&[VERSION_FIELD])?
        .split_first_chunk()?;
    let (nonce, body) = frame.sealed.split_first_chunk()?;
    (padding == PADDING).then(|| Blob {
        id: *id,
        nonce: *nonce,
        body: body.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed(body: Vec<u8>) -> Ciphertext {
        Ciphertext {
            version: VersionId::from_bytes([7; 32]),
            nonce: [9; NONCE_LEN],
            body,
        }
    }

    #[test]
    fn ciphertext_prefix_matches_the_service() {
        let bytes = encode(&sealed(vec![1; 48]));
        assert_eq!(bytes[..3], [0x0a, 0x24, 0x00]);
        assert_eq!(
            parse(&bytes).unwrap().id,
            blob_id(&VersionId::from_bytes([7; 32]))
        );
    }

    proptest! {
        #[test]
        fn only_encoded_ciphertexts_parse(body in proptest::collection::vec(any::<u8>(), 0..80), cut in 0_usize..200, noise: Vec<u8>) {
            let bytes = encode(&sealed(body.clone()));
            prop_assert_eq!(parse(&bytes).unwrap().body, body);
            if cut < 50.min(bytes.len()) {
                prop_assert_eq!(parse(&bytes[..cut]), None);
            }
            prop_assert_eq!(parse(&[bytes.as_slice(), &[0x18, 1]].concat()), None);
            let _ = parse(&noise);
        }
    }
}
