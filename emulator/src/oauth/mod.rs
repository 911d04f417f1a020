//! What the identity services of Azure and Google share: RSA keys that sign tokens, and JSON Web
//! Tokens.

pub(crate) mod jwt;
mod signing_key;

pub(crate) use signing_key::{PublicRsaKey, SigningKey};
