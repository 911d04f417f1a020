//! Authentication: the known access keys, and the check of a request's signature.
//!
//! The order of the checks and their messages are those of a JSON 1.1 service of AWS: scheme,
//! parameters, date, signed headers, algorithm and credential, scope, access key, signature,
//! session token. All of them answer HTTP 400.

use crate::well_known::{AWS_ACCESS_KEY, AWS_ACCOUNT, AWS_REGION};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use http::header::{AUTHORIZATION, DATE};
use http::request::Parts;
use jiff::{SignedDuration, Timestamp};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::sigv4::{self, Authorization, ParseError, Scope, SignedRequest, SigningKey, TERMINATOR};
use super::{AwsError, Caller};
use crate::Auth;

/// Maximum difference between a request's date and the wall clock, in either direction.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);
/// Derived signing keys that are cached: one per access key, day and region in use.
const MAX_CACHED_SIGNING_KEYS: usize = 256;

const TOKEN_INVALID: &str = "The security token included in the request is invalid.";
const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                        Access Key and signing method. Consult the service documentation for details.";

/// An access key.
#[derive(Clone)]
pub struct Credential {
    /// Secret access key.
    pub secret: Zeroizing<String>,
    /// Account id, 12 digits.
    pub account: String,
    /// Session token, required with each request that uses temporary credentials.
    pub session_token: Option<Zeroizing<String>>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// A credential that cannot be used. Messages repeat only parts that cannot be a misplaced secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CredentialError {
    /// The text does not have the form `ID:SECRET[:ACCOUNT]`.
    #[error("a --credential is not ID:SECRET:ACCOUNT, for example AKIAEXAMPLE:secret:111122223333")]
    Form,
    /// The access key id is empty or has a character that a credential scope cannot contain.
    #[error(
        "an access key id must be 1 to 128 letters, digits, '_', '-', '.' or '+'; one of those given is not"
    )]
    AccessKeyId,
    /// The account id is not 12 digits.
    #[error("the account of access key {0} must be 12 digits, for example {AWS_ACCOUNT}")]
    Account(String),
    /// The secret is empty.
    #[error("the secret of access key {0} is empty")]
    EmptySecret(String),
}

/// The known access keys, by access key id.
#[derive(Debug, Clone, Default)]
pub struct Credentials(BTreeMap<String, Credential>);

impl Credentials {
    /// The access key `test` with the secret `test` of account 123456789012.
    pub fn well_known() -> Self {
        let secret = Zeroizing::new(AWS_ACCESS_KEY.to_owned());
        let credential = Credential {
            secret,
            account: AWS_ACCOUNT.to_owned(),
            session_token: None,
        };
        Self(BTreeMap::from([(AWS_ACCESS_KEY.to_owned(), credential)]))
    }

    /// Adds an access key or replaces the one with the same id.
    pub fn insert(&mut self, id: &str, credential: Credential) -> Result<(), CredentialError> {
        if !is_access_key_id(id) {
            return Err(CredentialError::AccessKeyId);
        }
        if credential.account.len() != 12 || !credential.account.bytes().all(|b| b.is_ascii_digit())
        {
            return Err(CredentialError::Account(id.to_owned()));
        }
        if credential.secret.is_empty() {
            return Err(CredentialError::EmptySecret(id.to_owned()));
        }
        self.0.insert(id.to_owned(), credential);
        Ok(())
    }

    /// All access keys, by their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Credential)> {
        self.0
            .iter()
            .map(|(id, credential)| (id.as_str(), credential))
    }
}

fn is_access_key_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.+".contains(&b))
}

/// The access key id that an unverified request states, for the request counts.
pub(crate) fn claimed_access_key(parts: &Parts) -> Option<&str> {
    let header = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    // The header is parsed and checked later, with the body.
    let (_, credential) = header.split_once("Credential=")?;
    let (id, _) = credential.split_once('/')?;
    is_access_key_id(id).then_some(id)
}

/// Verifies requests.
#[derive(Debug)]
pub struct Authenticator {
    mode: Auth,
    pub(crate) credentials: Credentials,
    signing_keys: RwLock<HashMap<String, Arc<SigningKey>>>,
}

impl Authenticator {
    /// With [`Auth::Off`] the credentials only map access keys to accounts.
    pub fn new(mode: Auth, credentials: Credentials) -> Self {
        Self {
            mode,
            credentials,
            signing_keys: RwLock::default(),
        }
    }

    /// Returns the caller of a request, or the error of the service. `wall_now` is the wall clock,
    /// never the lab clock.
    pub fn authenticate(
        &self,
        parts: &Parts,
        body: &[u8],
        wall_now: Timestamp,
    ) -> Result<Caller, AwsError> {
        match self.mode {
            Auth::On => self.verify(parts, body, wall_now),
            Auth::Off => Ok(self.caller_without_verification(parts)),
        }
    }

    fn caller_without_verification(&self, parts: &Parts) -> Caller {
        let header = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let parsed = header.and_then(|header| Authorization::parse(header).ok());
        let id = parsed
            .as_ref()
            .map(|a| a.access_key_id)
            .filter(|id| is_access_key_id(id))
            .unwrap_or(AWS_ACCESS_KEY);
        let region = parsed
            .as_ref()
            .map(|a| a.scope.region)
            .filter(|r| is_region(r))
            .unwrap_or(AWS_REGION);
        let account = self
            .credentials
            .0
            .get(id)
            .map_or(AWS_ACCOUNT, |credential| &credential.account);
        Caller {
            account: account.to_owned(),
            region: region.to_owned(),
            access_key_id: id.to_owned(),
        }
    }

    fn verify(&self, parts: &Parts, body: &[u8], wall_now: Timestamp) -> Result<Caller, AwsError> {
        let header = match parts.headers.get(AUTHORIZATION) {
            Some(value) => value.to_str().unwrap_or_default(),
            None => "",
        };
        let parsed = Authorization::parse(header);
        let time = request_time(parts);
        let authorization = match (parsed, &time) {
            (Err(ParseError::OtherScheme), _) => {
                return Err(refused(
                    "MissingAuthenticationTokenException",
                    "Missing Authentication Token",
                ));
            }
            (Err(ParseError::Missing(names)), time) => {
                return Err(incomplete(&names, time.is_some(), header));
            }
            (_, None) => return Err(incomplete(&[], false, header)),
            (Err(error), Some(_)) => return Err(malformed(&error, header)),
            (Ok(authorization), Some(_)) => authorization,
        };
        let time = time.unwrap_or_default();
        check_time(&time, wall_now)?;
        if !authorization.signs("host") {
            return Err(invalid_signature(
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
            ));
        }
        check_scope(authorization.scope, &time)?;
        let id = authorization.access_key_id;
        let credential = self.credentials.0.get(id).ok_or_else(unrecognised)?;
        self.check_signature(parts, body, &authorization, &time, credential)?;
        check_token(parts, credential)?;
        Ok(Caller {
            account: credential.account.clone(),
            region: authorization.scope.region.to_owned(),
            access_key_id: id.to_owned(),
        })
    }

    fn check_signature(
        &self,
        parts: &Parts,
        body: &[u8],
        authorization: &Authorization<'_>,
        time: &str,
        credential: &Credential,
    ) -> Result<(), AwsError> {
        // The target names the operation. If it were not signed, one signature would be good for
        // all of them.
        if !authorization.signs("x-amz-target") {
            return Err(invalid_signature(MISMATCH));
        }
        let signed = SignedRequest {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            headers: &parts.headers,
            body,
        };
        let canonical = sigv4::canonical_request(signed, &authorization.signed_headers);
        let canonical = canonical.ok_or_else(|| invalid_signature(MISMATCH))?;
        let text = sigv4::string_to_sign(time, authorization.scope, &canonical);
        let scope = authorization.scope;
        let name = [
            authorization.access_key_id,
            "/",
            scope.date,
            "/",
            scope.region,
        ]
        .concat();
        let kept = self
            .signing_keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&name)
            .cloned();
        let key = kept
            .clone()
            .unwrap_or_else(|| Arc::new(SigningKey::derive(&credential.secret, scope)));
        if !bool::from(
            key.sign(&text)
                .as_bytes()
                .ct_eq(authorization.signature.as_bytes()),
        ) {
            return Err(invalid_signature(MISMATCH));
        }
        // Cached only after it verified a signature, so that unauthenticated requests cannot fill
        // the cache.
        if kept.is_none() {
            let mut keys = self
                .signing_keys
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            if keys.len() >= MAX_CACHED_SIGNING_KEYS {
                keys.clear();
            }
            keys.insert(name, key);
        }
        Ok(())
    }
}

/// Returns `X-Amz-Date`, else `Date`, in the form used in the string to sign. A value in an unknown
/// form is returned unchanged.
fn request_time(parts: &Parts) -> Option<Cow<'_, str>> {
    if let Some(value) = parts.headers.get("x-amz-date") {
        return Some(String::from_utf8_lossy(value.as_bytes()));
    }
    let text = parts.headers.get(DATE)?.to_str().ok()?;
    match jiff::fmt::rfc2822::parse(text) {
        Ok(zoned) => Some(sigv4::format_time(zoned.timestamp()).into()),
        Err(_) => Some(text.into()),
    }
}

fn check_time(text: &str, now: Timestamp) -> Result<(), AwsError> {
    let Some(time) = sigv4::parse_time(text) else {
        let message = format!(
            "Date must be in ISO-8601 'basic format'. Got '{text}'. See http://en.wikipedia.org/wiki/ISO_8601"
        );
        return Err(refused("IncompleteSignatureException", &message));
    };
    let format = sigv4::format_time;
    let earliest = now.saturating_sub(MAX_CLOCK_SKEW).unwrap_or(Timestamp::MIN);
    let latest = now.saturating_add(MAX_CLOCK_SKEW).unwrap_or(Timestamp::MAX);
    if time < earliest {
        let (earliest, now) = (format(earliest), format(now));
        return Err(invalid_signature(&format!(
            "Signature expired: {text} is now earlier than {earliest} ({now} - 5 min.)"
        )));
    }
    if time > latest {
        let (latest, now) = (format(latest), format(now));
        return Err(invalid_signature(&format!(
            "Signature not yet current: {text} is still later than {latest} ({now} + 5 min.)"
        )));
    }
    Ok(())
}

fn check_scope(scope: Scope<'_>, time: &str) -> Result<(), AwsError> {
    let mut wrong = String::new();
    if !is_region(scope.region) {
        wrong += &format!(
            "Credential should be scoped to a valid region, not '{}'. ",
            scope.region
        );
    }
    if scope.service != "kms" {
        wrong += "Credential should be scoped to correct service: 'kms'. ";
    }
    if scope.terminator != TERMINATOR {
        let got = scope.terminator;
        wrong += &format!(
            "Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{got}'. "
        );
    }
    if scope.date != &time[..8] {
        wrong += &format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{}', from \
             '{time}'. ",
            scope.date,
            &time[..8]
        );
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(invalid_signature(&wrong))
    }
}

/// Checks the form of a region name, such as `us-east-1` or `us-gov-west-1`. Every name of that
/// form is accepted.
fn is_region(name: &str) -> bool {
    let word =
        |part: &str| (1..=12).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_lowercase());
    let Some((words, number)) = name.rsplit_once('-') else {
        return false;
    };
    (2..=4).contains(&words.split('-').count())
        && words.split('-').all(word)
        && (1..=2).contains(&number.len())
        && number.bytes().all(|b| b.is_ascii_digit())
}

fn check_token(parts: &Parts, credential: &Credential) -> Result<(), AwsError> {
    let sent = parts
        .headers
        .get("x-amz-security-token")
        .map(|value| value.as_bytes());
    let held = credential
        .session_token
        .as_ref()
        .map(|token| token.as_bytes());
    let equal = match (sent, held) {
        (None, None) => true,
        (Some(sent), Some(held)) => bool::from(sent.ct_eq(held)),
        _ => false,
    };
    if equal { Ok(()) } else { Err(unrecognised()) }
}

fn incomplete(missing: &[&str], dated: bool, header: &str) -> AwsError {
    let mut message = String::new();
    for name in missing {
        message += &format!("Authorization header requires '{name}' parameter. ");
    }
    if !dated {
        message +=
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ";
    }
    refused(
        "IncompleteSignatureException",
        &format!("{message}Authorization={header}"),
    )
}

fn malformed(error: &ParseError<'_>, header: &str) -> AwsError {
    let message = match error {
        ParseError::Algorithm(got) => {
            format!(
                "Unsupported AWS 'algorithm': '{got}' (only {} for now). ",
                sigv4::ALGORITHM
            )
        }
        ParseError::Credential(got) => format!(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{got}'"
        ),
        ParseError::NotKeyValue(got) => {
            format!(
                "'{got}' not a valid key=value pair (missing equal-sign) in Authorization header: '{header}'."
            )
        }
        ParseError::OtherScheme | ParseError::Missing(_) => format!("Authorization={header}"),
    };
    refused("IncompleteSignatureException", &message)
}

fn unrecognised() -> AwsError {
    refused("UnrecognizedClientException", TOKEN_INVALID)
}

fn invalid_signature(message: &str) -> AwsError {
    refused("InvalidSignatureException", message)
}

fn refused(kind: &str, message: &str) -> AwsError {
    AwsError {
        kind: kind.to_owned(),
        message: Some(message.to_owned()),
        status: 400,
    }
}
