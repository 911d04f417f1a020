//! Access tokens as Entra issues them for a resource (version 1.0, RS256), and their verification.

use std::fmt;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, decode_header};
use kmslab_keycore::Entropy;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::oauth::{SigningKey, jwt};

/// `nbf` is this much before the issue time, as in Entra, because clocks differ.
const NOT_BEFORE_LEEWAY: SignedDuration = SignedDuration::from_mins(5);

/// The subject of a token and how it authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) tenant: String,
    /// Client id.
    pub(crate) client_id: String,
    /// Object id of the service principal; permissions refer to it.
    pub(crate) object_id: String,
    /// `appidacr`: 1 for a secret, 2 for a certificate or assertion.
    pub(crate) by: u8,
}

/// Claims of a valid token.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Claims {
    pub(crate) aud: String,
    pub(crate) iss: String,
    pub(crate) appid: String,
    pub(crate) oid: String,
    pub(crate) tid: String,
    nbf: i64,
    exp: i64,
}

/// Why a token is not valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InvalidToken {
    /// Malformed or not signed by this service. Contains the token's header in base64.
    Signature(String),
    Issuer(String),
    Audience(String),
    Expired,
    NotYetValid,
}

/// Issues and verifies tokens with one key, generated at first use since RSA is slow.
pub(crate) struct Tokens {
    key: OnceLock<Option<SigningKey>>,
    lifetime: SignedDuration,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

/// `iss` of a tenant's tokens.
pub(crate) fn issuer(tenant: &str) -> String {
    format!("https://sts.windows.net/{tenant}/")
}

impl Tokens {
    pub(crate) fn new(lifetime: SignedDuration) -> Self {
        Self {
            key: OnceLock::new(),
            lifetime,
        }
    }

    pub(crate) fn lifetime(&self) -> SignedDuration {
        self.lifetime
    }

    fn signing(&self) -> Option<&SigningKey> {
        self.key.get_or_init(SigningKey::generate).as_ref()
    }

    /// Issues a token for `subject` and `audience`; `None` if no key can be generated.
    pub(crate) fn issue(
        &self,
        subject: &Subject,
        audience: &str,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Option<String> {
        let key = self.signing()?;
        let mut unique = [0; 16];
        entropy.fill(&mut unique);
        let issuer = issuer(&subject.tenant);
        let claims = json!({
            "aud": audience,
            "iss": issuer,
            "iat": (now - NOT_BEFORE_LEEWAY).as_second(),
            "nbf": (now - NOT_BEFORE_LEEWAY).as_second(),
            "exp": (now + self.lifetime).as_second(),
            "appid": subject.client_id,
            "appidacr": subject.by.to_string(),
            "idp": issuer,
            "idtyp": "app",
            "oid": subject.object_id,
            "sub": subject.object_id,
            "tid": subject.tenant,
            "uti": URL_SAFE_NO_PAD.encode(unique),
            "ver": "1.0",
        });
        key.sign(json!({ "x5t": key.id() }), &claims)
    }

    /// Verifies a token: issued here, for one of `audiences`, and not expired.
    pub(crate) fn verify(
        &self,
        token: &str,
        tenant: &str,
        audiences: &[&str],
        now: Timestamp,
    ) -> Result<Claims, InvalidToken> {
        let encoded = || token.split('.').next().unwrap_or_default().to_owned();
        let foreign = || InvalidToken::Signature(encoded());
        let header = decode_header(token).map_err(|_| foreign())?;
        let signing = self.signing().ok_or_else(foreign)?;
        if header.alg != Algorithm::RS256 || header.kid.as_deref() != Some(signing.id()) {
            return Err(foreign());
        }
        let public = signing.public();
        let key = DecodingKey::from_rsa_raw_components(&public.modulus, &public.exponent);
        let claims: Claims =
            jwt::verify_signature(token, Algorithm::RS256, &key).ok_or_else(foreign)?;
        if claims.iss != issuer(tenant) {
            return Err(InvalidToken::Issuer(claims.iss));
        }
        if !audiences.contains(&claims.aud.trim_end_matches('/')) {
            return Err(InvalidToken::Audience(claims.aud));
        }
        if now.as_second() < claims.nbf {
            return Err(InvalidToken::NotYetValid);
        }
        if now.as_second() >= claims.exp {
            return Err(InvalidToken::Expired);
        }
        Ok(claims)
    }

    /// The public key as a JSON Web Key Set.
    pub(crate) fn jwks(&self) -> Value {
        let keys = self.signing().map(|key| {
            let mut jwk = key.public().jwk(key.id());
            jwk["x5t"] = key.id().into();
            jwk
        });
        json!({ "keys": keys.into_iter().collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Validation, decode};
    use kmslab_keycore::SystemEntropy;

    use super::*;

    const TENANT: &str = "4f5a1f3c-0000-4000-8000-000000000001";
    const VAULT: &str = "https://vault.azure.net";

    fn tokens() -> Tokens {
        Tokens::new(SignedDuration::from_hours(1))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn issued(tokens: &Tokens, tenant: &str, audience: &str) -> String {
        let subject = Subject {
            tenant: tenant.to_owned(),
            client_id: "app".into(),
            object_id: "oid".into(),
            by: 1,
        };
        tokens
            .issue(&subject, audience, at(0), &SystemEntropy)
            .unwrap()
    }

    #[test]
    fn token_is_valid_for_its_audience_and_lifetime() {
        let tokens = tokens();
        let token = issued(&tokens, TENANT, VAULT);
        let claims = tokens.verify(&token, TENANT, &[VAULT], at(0)).unwrap();
        assert_eq!(
            (
                claims.oid.as_str(),
                claims.appid.as_str(),
                claims.tid.as_str()
            ),
            ("oid", "app", TENANT)
        );
        assert!(tokens.verify(&token, TENANT, &[VAULT], at(3599)).is_ok());
        assert_eq!(
            tokens.verify(&token, TENANT, &[VAULT], at(3600)),
            Err(InvalidToken::Expired)
        );
        assert_eq!(
            tokens.verify(&token, TENANT, &[VAULT], at(-301)),
            Err(InvalidToken::NotYetValid)
        );
        let arm = issued(&tokens, TENANT, "https://management.azure.com/");
        let audience = InvalidToken::Audience("https://management.azure.com/".into());
        assert_eq!(tokens.verify(&arm, TENANT, &[VAULT], at(0)), Err(audience));
        let other = issued(&tokens, "other", VAULT);
        assert!(matches!(
            tokens.verify(&other, TENANT, &[VAULT], at(0)),
            Err(InvalidToken::Issuer(_))
        ));
    }

    #[test]
    fn changed_or_foreign_tokens_are_invalid() {
        let ours = tokens();
        let token = issued(&ours, TENANT, VAULT);
        let foreign = issued(&tokens(), TENANT, VAULT);
        assert!(matches!(
            ours.verify(&foreign, TENANT, &[VAULT], at(0)),
            Err(InvalidToken::Signature(_))
        ));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let forged = claims.replace(&claims[10..14], "AAAA");
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        for bad in [
            format!("{header}.{forged}.{signature}"),
            format!("{header}.{claims}."),
            format!("{header}.{claims}"),
            format!("{none}.{claims}."),
            String::new(),
            "a.b.c".into(),
        ] {
            assert!(ours.verify(&bad, TENANT, &[VAULT], at(0)).is_err(), "{bad}");
        }
    }

    #[test]
    fn published_key_verifies_issued_tokens() {
        let tokens = tokens();
        let token = issued(&tokens, TENANT, VAULT);
        let jwks: jsonwebtoken::jwk::JwkSet = serde_json::from_value(tokens.jwks()).unwrap();
        let kid = decode_header(&token).unwrap().kid.unwrap();
        let key = DecodingKey::from_jwk(jwks.find(&kid).unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_exp = false;
        validation.set_audience(&[VAULT]);
        assert!(decode::<Value>(&token, &key, &validation).is_ok());
    }
}
