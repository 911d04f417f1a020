//! Client assertions: JWTs signed with an application's certificate or by a trusted issuer.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Header, decode_header};
use serde::Deserialize;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::directory::{Application, Directory};
use super::error::LoginError;
use crate::oauth::jwt;

/// The only assertion type.
pub(super) const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    #[serde(default)]
    nbf: Option<i64>,
    exp: i64,
}

/// RFC 7519 allows both forms.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn has(&self, requested: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::One(one) => requested(one),
            Self::Many(many) => many.iter().any(|one| requested(one)),
        }
    }

    fn join(&self) -> String {
        match self {
            Self::One(one) => one.clone(),
            Self::Many(many) => many.join(", "),
        }
    }
}

/// Fails if `assertion` is not valid for `application`.
pub(super) fn check(
    directory: &Directory,
    application: &Arc<Application>,
    assertion: &str,
    token_endpoints: impl Fn(&str) -> bool,
    now: Timestamp,
) -> Result<(), LoginError> {
    let header = decode_header(assertion).map_err(|_| LoginError::malformed_assertion())?;
    let unverified: Claims =
        jwt::claims_without_verification(assertion).ok_or_else(LoginError::malformed_assertion)?;
    if unverified.iss.eq_ignore_ascii_case(&application.client_id) {
        let key = certificate_key(application, &header)?;
        let claims = verify_signature(assertion, &header, &key)?;
        if !claims.aud.has(token_endpoints) {
            return Err(LoginError::assertion_audience(&claims.aud.join()));
        }
        if !claims.sub.eq_ignore_ascii_case(&application.client_id) {
            return Err(LoginError::malformed_assertion());
        }
        return check_dates(&claims, now);
    }
    let known = |requested: &dyn Fn(&super::directory::Federated) -> bool| {
        application.federated.iter().any(requested)
    };
    if !known(&|there| there.issuer == unverified.iss) {
        return Err(LoginError::no_federated("issuer", &unverified.iss, 700_211));
    }
    let issuer = directory.issuer(&unverified.iss);
    let issuer =
        issuer.ok_or_else(|| LoginError::no_federated("issuer", &unverified.iss, 700_211))?;
    let kid = header.kid.clone().unwrap_or_default();
    let jwk = issuer
        .keys
        .find(&kid)
        .ok_or_else(|| LoginError::unknown_signing_key(&kid))?;
    let key = DecodingKey::from_jwk(jwk).map_err(|_| LoginError::unknown_signing_key(&kid))?;
    let claims = verify_signature(assertion, &header, &key)?;
    if !known(&|there| there.issuer == claims.iss && there.subject == claims.sub) {
        return Err(LoginError::no_federated("subject", &claims.sub, 700_213));
    }
    let complete = known(&|there| {
        there.issuer == claims.iss
            && there.subject == claims.sub
            && claims.aud.has(|audience| audience == there.audience)
    });
    if !complete {
        return Err(LoginError::no_federated(
            "audience",
            &claims.aud.join(),
            700_212,
        ));
    }
    check_dates(&claims, now)
}

fn verify_signature(
    assertion: &str,
    header: &Header,
    key: &DecodingKey,
) -> Result<Claims, LoginError> {
    if !matches!(
        header.alg,
        Algorithm::RS256 | Algorithm::PS256 | Algorithm::ES256
    ) {
        return Err(LoginError::malformed_assertion());
    }
    jwt::verify_signature(assertion, header.alg, key).ok_or_else(LoginError::assertion_signature)
}

fn check_dates(claims: &Claims, now: Timestamp) -> Result<(), LoginError> {
    let from = claims.nbf.unwrap_or(i64::MIN);
    // Clocks may differ by five minutes.
    if now.as_second() + 300 < from || now.as_second() - 300 >= claims.exp {
        return Err(LoginError::assertion_time(now, claims.nbf, claims.exp));
    }
    Ok(())
}

/// The key of the certificate whose thumbprint the header names.
fn certificate_key(application: &Application, header: &Header) -> Result<DecodingKey, LoginError> {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
    let thumbprint = |algorithm, der: &[u8]| URL_SAFE_NO_PAD.encode(digest(algorithm, der));
    let named = application.certificates.iter().find(|der| {
        let by_sha1 = header.x5t.as_deref().is_some_and(|x5t| {
            x5t.trim_end_matches('=') == thumbprint(&SHA1_FOR_LEGACY_USE_ONLY, der)
        });
        by_sha1
            || header
                .x5t_s256
                .as_deref()
                .is_some_and(|x5t| x5t.trim_end_matches('=') == thumbprint(&SHA256, der))
    });
    let der = named.ok_or_else(LoginError::unknown_certificate)?;
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|_| LoginError::unknown_certificate())?;
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            let minimal = |bytes: &'_ [u8]| {
                bytes
                    .iter()
                    .copied()
                    .skip_while(|byte| *byte == 0)
                    .collect::<Vec<_>>()
            };
            Ok(DecodingKey::from_rsa_raw_components(
                &minimal(rsa.modulus),
                &minimal(rsa.exponent),
            ))
        }
        _ => Err(LoginError::unknown_certificate()),
    }
}
