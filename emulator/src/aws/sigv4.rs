//! Signature Version 4 in the Authorization header: parsing, and computing the expected signature.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
//!
//! Which access keys are known, and the messages of errors, are in `super::auth`.

use std::borrow::Cow;

use aws_lc_rs::{digest, hmac};
use http::HeaderMap;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The only supported algorithm.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Last element of a credential scope.
pub const TERMINATOR: &str = "aws4_request";

/// A parsed `Authorization` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization<'a> {
    /// Access key that signed the request.
    pub access_key_id: &'a str,
    /// What the signing key was derived for.
    pub scope: Scope<'a>,
    /// Header names in signing order, exactly as sent.
    pub signed_headers: Vec<&'a str>,
    /// The signature, 64 lower-case hex digits if genuine; not checked here.
    pub signature: &'a str,
}

/// A credential scope: `date/region/service/aws4_request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope<'a> {
    /// Date as `YYYYMMDD`.
    pub date: &'a str,
    /// Region, for example `us-east-1`.
    pub region: &'a str,
    /// Service, for example `kms`.
    pub service: &'a str,
    /// [`TERMINATOR`] if genuine.
    pub terminator: &'a str,
}

/// Why a header is not a SigV4 authorization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParseError<'a> {
    /// It does not start with `AWS4-`.
    OtherScheme,
    /// It names another algorithm of the AWS4 family.
    Algorithm(&'a str),
    /// A parameter without an equals sign, or a repeated one.
    NotKeyValue(&'a str),
    /// Parameters that are absent, in the service's order.
    Missing(Vec<&'static str>),
    /// A credential that does not have five elements.
    Credential(&'a str),
}

impl<'a> Authorization<'a> {
    /// Parses `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`.
    pub fn parse(header: &'a str) -> Result<Self, ParseError<'a>> {
        if !header.starts_with("AWS4-") {
            return Err(ParseError::OtherScheme);
        }
        let (algorithm, rest) = header.split_once(' ').unwrap_or((header, ""));
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in rest
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (name, value) = part.split_once('=').ok_or(ParseError::NotKeyValue(part))?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(ParseError::NotKeyValue(part));
            }
        }
        let (Some(credential), Some(signed_headers), Some(signature)) =
            (credential, signed_headers, signature)
        else {
            let all = [
                ("Credential", credential),
                ("Signature", signature),
                ("SignedHeaders", signed_headers),
            ];
            return Err(ParseError::Missing(
                all.iter()
                    .filter(|(_, v)| v.is_none())
                    .map(|(name, _)| *name)
                    .collect(),
            ));
        };
        if algorithm != ALGORITHM {
            return Err(ParseError::Algorithm(algorithm));
        }
        let mut elements = credential.split('/');
        let five = [(); 5].map(|()| elements.next());
        let (
            [
                Some(access_key_id),
                Some(date),
                Some(region),
                Some(service),
                Some(terminator),
            ],
            None,
        ) = (five, elements.next())
        else {
            return Err(ParseError::Credential(credential));
        };
        Ok(Self {
            access_key_id,
            scope: Scope {
                date,
                region,
                service,
                terminator,
            },
            signed_headers: signed_headers.split(';').collect(),
            signature,
        })
    }

    /// Reports whether the header `name` (lower case) is signed.
    pub fn signs(&self, name: &str) -> bool {
        self.signed_headers
            .iter()
            .any(|signed| signed.eq_ignore_ascii_case(name))
    }
}

/// The parts of a request that a signature covers.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// HTTP method: `POST` for every KMS request.
    pub method: &'a str,
    /// The path as sent.
    pub path: &'a str,
    /// The query as sent, without the question mark.
    pub query: &'a str,
    /// All headers; only the signed ones are read.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

/// Builds the canonical request. Returns `None` if a signed header was not sent.
pub fn canonical_request(request: SignedRequest<'_>, signed_headers: &[&str]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(request.method.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(canonical_path(request.path).as_bytes());
    out.push(b'\n');
    if !request.query.is_empty() {
        out.extend_from_slice(canonical_query(request.query).as_bytes());
    }
    out.push(b'\n');
    for name in signed_headers {
        let mut values = request.headers.get_all(*name).iter().peekable();
        values.peek()?;
        out.extend_from_slice(name.as_bytes());
        let mut separator = b':';
        for value in values {
            out.push(separator);
            separator = b',';
            push_trimmed(&mut out, value.as_bytes());
        }
        out.push(b'\n');
    }
    out.push(b'\n');
    for (index, name) in signed_headers.iter().enumerate() {
        if index > 0 {
            out.push(b';');
        }
        out.extend_from_slice(name.as_bytes());
    }
    out.push(b'\n');
    out.extend_from_slice(sha256_hex(request.body).as_bytes());
    Some(out)
}

/// Builds the string to sign.
pub fn string_to_sign(time: &str, scope: Scope<'_>, canonical_request: &[u8]) -> String {
    let Scope {
        date,
        region,
        service,
        terminator,
    } = scope;
    let hash = sha256_hex(canonical_request);
    let scope = [date, "/", region, "/", service, "/", terminator];
    let lines = [ALGORITHM, "\n", time, "\n", &scope.concat(), "\n", &hash];
    lines.concat()
}

/// A signing key, derived from a secret for one day, region and service. It is as sensitive as the
/// secret for that day.
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

impl SigningKey {
    /// Derives the key by four nested HMACs, so it is worth caching.
    pub fn derive(secret: &str, scope: Scope<'_>) -> Self {
        let mut first = zeroize::Zeroizing::new(String::with_capacity(4 + secret.len()));
        first.push_str("AWS4");
        first.push_str(secret);
        let mut key = hmac::Key::new(hmac::HMAC_SHA256, first.as_bytes());
        for part in [scope.date, scope.region, scope.service, scope.terminator] {
            let mut next = hmac::sign(&key, part.as_bytes()).as_ref().to_vec();
            key = hmac::Key::new(hmac::HMAC_SHA256, &next);
            zeroize::Zeroize::zeroize(&mut next);
        }
        Self(key)
    }

    /// Returns the signature as lower-case hex.
    pub fn sign(&self, string_to_sign: &str) -> String {
        hex_of(hmac::sign(&self.0, string_to_sign.as_bytes()).as_ref())
    }
}

/// Parses `YYYYMMDDTHHMMSSZ`.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| {
        bytes[range].iter().try_fold(0i16, |n, b| {
            b.is_ascii_digit().then(|| n * 10 + i16::from(b - b'0'))
        })
    };
    let part = |range| digits(range).and_then(|n| i8::try_from(n).ok());
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let (year, month, day) = (digits(0..4)?, part(4..6)?, part(6..8)?);
    let time = DateTime::new(
        year,
        month,
        day,
        part(9..11)?,
        part(11..13)?,
        part(13..15)?,
        0,
    )
    .ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

/// Formats a time as `YYYYMMDDTHHMMSSZ`.
pub fn format_time(time: Timestamp) -> String {
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex_of(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Like [`hex::encode`], which collects character by character and takes several times as long.
fn hex_of(bytes: &[u8]) -> String {
    let mut text = vec![0; bytes.len() * 2];
    // Fails only if the lengths differ.
    let _ = hex::encode_to_slice(bytes, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// Appends a value without outer spaces and with runs of spaces collapsed.
fn push_trimmed(out: &mut Vec<u8>, value: &[u8]) {
    let mut first = true;
    for word in value
        .split(|b| matches!(b, b' ' | b'\t'))
        .filter(|word| !word.is_empty())
    {
        if !std::mem::take(&mut first) {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}

/// Resolves dot segments and empty segments, then percent-encodes each segment once more.
fn canonical_path(path: &str) -> Cow<'_, str> {
    if path == "/" {
        return path.into();
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    let mut out = String::with_capacity(path.len() + 8);
    for segment in &segments {
        out.push('/');
        push_encoded(&mut out, segment.as_bytes());
    }
    if segments.is_empty() || path.ends_with('/') {
        out.push('/');
    }
    out.into()
}

/// Decodes the parameters, encodes them canonically and sorts them.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (reencoded(name), reencoded(value))
        })
        .collect();
    pairs.sort();
    pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("&")
}

fn reencoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match escape.and_then(|digits| hex::decode(digits).ok()) {
            Some(byte) => {
                decoded.extend_from_slice(&byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    let mut out = String::with_capacity(bytes.len() + 8);
    push_encoded(&mut out, &decoded);
    out
}

fn push_encoded(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}
