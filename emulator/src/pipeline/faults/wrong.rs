//! How values of a response are made wrong, the same for every cloud.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// Flips the last bit. Returns whether there was one. The last byte of a ciphertext is part of its
/// tag, so that the ciphertext still names its key and fails when it is decrypted.
pub(crate) fn flip_last_bit(bytes: &mut [u8]) -> bool {
    match bytes.last_mut() {
        Some(last) => {
            *last ^= 1;
            true
        }
        None => false,
    }
}

/// Flips the last bit of a token's last part, which authenticates it. Returns whether there was one.
pub(crate) fn flip_token(token: &mut Value) -> bool {
    let changed = token.as_str().and_then(|text| {
        let (rest, last) = text.rsplit_once('.')?;
        let mut bytes = URL_SAFE_NO_PAD.decode(last).ok()?;
        flip_last_bit(&mut bytes).then(|| format!("{rest}.{}", URL_SAFE_NO_PAD.encode(bytes)))
    });
    match changed {
        Some(changed) => {
            *token = changed.into();
            true
        }
        None => false,
    }
}

/// An id that differs in its last hexadecimal digit; `None` if it does not end in one.
pub(crate) fn other_id(id: &str) -> Option<String> {
    let mut other = id.to_owned();
    let digit = other.pop()?.to_digit(16)? ^ 1;
    other.push(char::from_digit(digit, 16)?);
    Some(other)
}
