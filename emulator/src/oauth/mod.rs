//! Shared by the identity services of Azure and Google: RSA token keys and JSON Web Tokens.

pub(crate) mod jwt;
mod signing_key;

pub(crate) use signing_key::{PublicRsaKey, SigningKey};
