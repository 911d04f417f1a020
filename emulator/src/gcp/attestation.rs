//! HSM attestations of key versions in Marvell's format, version 2, compressed.
//!
//! All numbers are big-endian. A header is followed by one object (a secret key) or two (public and
//! private key), each a list of attributes with their PKCS #11 numbers, and by an RSA signature
//! over all of it. The layout follows Marvell's attestation parser. The signing card is emulated:
//! its certificate chains end in roots of our own.

use std::io::Write as _;
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use kmslab_googleapis::kms::KeyOperationAttestation;
use kmslab_googleapis::kms::key_operation_attestation::{AttestationFormat, CertificateChains};
use kmslab_keycore::{Algorithm, PublicKey, Purpose};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_RSA_SHA256,
    RsaKeySize, SigningKey as _,
};

use super::GcpError;
use super::data::{self, Version};
use super::names::VersionName;

const RESPONSE_HEADER: usize = 16;
const INFO_HEADER: usize = 8;
const SIGNATURE_LEN: usize = 256;
/// Headers and attributes are present.
const FLAGS: u16 = 3;

const CLASS: u32 = 0x0000;
const TOKEN: u32 = 0x0001;
const PRIVATE: u32 = 0x0002;
const KEY_TYPE: u32 = 0x0100;
const ID: u32 = 0x0102;
const SENSITIVE: u32 = 0x0103;
const ENCRYPT: u32 = 0x0104;
const DECRYPT: u32 = 0x0105;
const SIGN: u32 = 0x0108;
const VERIFY: u32 = 0x010a;
const MODULUS: u32 = 0x0120;
const PUBLIC_EXPONENT: u32 = 0x0122;
const VALUE_LEN: u32 = 0x0161;
const EXTRACTABLE: u32 = 0x0162;
const LOCAL: u32 = 0x0163;
const NEVER_EXTRACTABLE: u32 = 0x0164;
const ALWAYS_SENSITIVE: u32 = 0x0165;
const EC_POINT: u32 = 0x0181;

/// CKO_PUBLIC_KEY.
const PUBLIC_KEY: u8 = 2;
/// CKO_PRIVATE_KEY.
const PRIVATE_KEY: u8 = 3;
/// CKO_SECRET_KEY.
const SECRET_KEY: u8 = 4;

/// The HSM's signing card, generated at first use.
#[derive(Debug, Default)]
pub(crate) struct Hsm(OnceLock<Result<Card, rcgen::Error>>);

#[derive(Debug)]
struct Card {
    key: KeyPair,
    chains: CertificateChains,
}

impl Hsm {
    /// The attestation of a version.
    pub(crate) fn attest(
        &self,
        name: &VersionName,
        version: &Version,
        purpose: Purpose,
        public: Option<&PublicKey>,
    ) -> Result<KeyOperationAttestation, GcpError> {
        let card = self
            .0
            .get_or_init(Card::new)
            .as_ref()
            .map_err(GcpError::internal)?;
        let mut signed = unsigned(name, version, purpose, public)?;
        let signature = card.key.sign(&signed).map_err(GcpError::internal)?;
        signed.extend(signature);
        let mut content = GzEncoder::new(Vec::new(), Compression::default());
        content.write_all(&signed).map_err(GcpError::internal)?;
        Ok(KeyOperationAttestation {
            format: AttestationFormat::CaviumV2Compressed.into(),
            content: content.finish().map_err(GcpError::internal)?,
            cert_chains: Some(card.chains.clone()),
        })
    }
}

impl Card {
    fn new() -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        let params = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let root = |name: &str| {
            let mut params = params(name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            CertifiedIssuer::self_signed(params, KeyPair::generate()?)
        };
        let (maker, owner) = (root("kmslab HSM manufacturer")?, root("kmslab HSM owner")?);
        let chain = |name: &str, issuer: &CertifiedIssuer<'_, KeyPair>| {
            Ok(vec![
                params(name).signed_by(&key, issuer)?.pem(),
                issuer.pem(),
            ])
        };
        let chains = CertificateChains {
            cavium_certs: chain("kmslab HSM partition", &maker)?,
            google_card_certs: chain("kmslab HSM card", &owner)?,
            google_partition_certs: chain("kmslab HSM partition", &owner)?,
        };
        Ok(Self { key, chains })
    }
}

/// The attestation without its signature.
fn unsigned(
    name: &VersionName,
    version: &Version,
    purpose: Purpose,
    public: Option<&PublicKey>,
) -> Result<Vec<u8>, GcpError> {
    let mut objects = Vec::new();
    if let Some(public) = public {
        objects.push(object(
            1,
            &attributes(name, version, purpose, PUBLIC_KEY, Some(public)),
        )?);
        objects.push(object(
            2,
            &attributes(name, version, purpose, PRIVATE_KEY, Some(public)),
        )?);
    } else {
        objects.push(object(
            1,
            &attributes(name, version, purpose, SECRET_KEY, None),
        )?);
    }
    let buffer = INFO_HEADER + objects.iter().map(Vec::len).sum::<usize>();
    let second = if objects.len() > 1 {
        INFO_HEADER + objects[0].len()
    } else {
        0
    };
    let mut bytes = Vec::new();
    for word in [
        0,
        FLAGS.into(),
        number(RESPONSE_HEADER + buffer + SIGNATURE_LEN)?,
        number(buffer)?,
    ] {
        bytes.extend(u32::to_be_bytes(word));
    }
    let offsets = [INFO_HEADER, second].map(u16::try_from);
    for half in [Ok(2), Ok(FLAGS), offsets[0], offsets[1]] {
        bytes.extend(half.map_err(GcpError::internal)?.to_be_bytes());
    }
    bytes.extend(objects.concat());
    Ok(bytes)
}

fn number(length: usize) -> Result<u32, GcpError> {
    u32::try_from(length).map_err(GcpError::internal)
}

/// An object: its handle, the number of its attributes, their total length; then type, length and
/// value of each.
fn object(handle: u32, attributes: &[(u32, Vec<u8>)]) -> Result<Vec<u8>, GcpError> {
    let mut body = Vec::new();
    for (kind, value) in attributes {
        body.extend(kind.to_be_bytes());
        body.extend(number(value.len())?.to_be_bytes());
        body.extend(value);
    }
    let head = [handle, number(attributes.len())?, number(body.len())?].map(u32::to_be_bytes);
    Ok([head.concat(), body].concat())
}

fn attributes(
    name: &VersionName,
    version: &Version,
    purpose: Purpose,
    class: u8,
    public: Option<&PublicKey>,
) -> Vec<(u32, Vec<u8>)> {
    let flag = |value: bool| vec![u8::from(value)];
    let (is_public, is_secret) = (class == PUBLIC_KEY, class == SECRET_KEY);
    let local = data::import(version).is_none();
    let (key_type, length) = match version.algorithm {
        Algorithm::Rsa { bits } => (0x00, bits / 8),
        Algorithm::Ec(curve) => (
            0x03,
            u16::try_from(curve.coordinate_bytes()).unwrap_or_default(),
        ),
        Algorithm::Aes { bits } => (0x1f, bits / 8),
        Algorithm::Hmac { bits } => (0x10, bits / 8),
        // CKK_ML_KEM of PKCS #11 3.2; X-Wing has no key type there.
        Algorithm::Kem(_) => (0x49, 0),
    };
    let encrypts = purpose == Purpose::EncryptDecrypt;
    let signs = matches!(purpose, Purpose::SignVerify | Purpose::Mac);
    let mut all = vec![
        (CLASS, vec![class]),
        (TOKEN, flag(true)),
        (PRIVATE, flag(!is_public)),
        (KEY_TYPE, vec![key_type]),
        (ID, name.to_string().into_bytes()),
        (SENSITIVE, flag(!is_public)),
        (ENCRYPT, flag(encrypts && (is_public || is_secret))),
        (DECRYPT, flag(encrypts && !is_public)),
        (SIGN, flag(signs && !is_public)),
        (VERIFY, flag(signs && (is_public || is_secret))),
        (VALUE_LEN, u32::from(length).to_be_bytes().to_vec()),
        (EXTRACTABLE, flag(is_public)),
        (LOCAL, flag(local)),
        (NEVER_EXTRACTABLE, flag(!is_public && local)),
        (ALWAYS_SENSITIVE, flag(!is_public && local)),
    ];
    match public {
        Some(PublicKey::Rsa { n, e, .. }) => {
            all.extend([(MODULUS, n.clone()), (PUBLIC_EXPONENT, e.clone())])
        }
        // PKCS #11 has an OCTET STRING of `04 ‖ x ‖ y`; the point alone is enough for comparisons.
        Some(PublicKey::Ec { x, y, .. }) => all.push((EC_POINT, [&[4], x.as_slice(), y].concat())),
        Some(PublicKey::Kem(_)) | None => {}
    }
    all
}
