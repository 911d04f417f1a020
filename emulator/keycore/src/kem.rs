//! Key encapsulation on unwrapped key material: ML-KEM (FIPS 203) by `aws-lc-rs`, X-Wing by
//! RustCrypto's `x-wing`.

use aws_lc_rs::kem::{
    Algorithm as AwsAlgorithm, AlgorithmId, Ciphertext, DecapsulationKey, ML_KEM_768, ML_KEM_1024,
};
use x_wing::kem::{Decapsulate as _, Decapsulator as _, KeyExport as _};
use zeroize::Zeroizing;

use crate::{Entropy, Kem, KeyError};

const UNREADABLE_MATERIAL: KeyError = KeyError::Internal {
    what: "the private key does not parse",
};
const GENERATE_FAILED: KeyError = KeyError::Internal {
    what: "the key could not be generated",
};

fn ml_kem(kem: Kem) -> Option<&'static AwsAlgorithm<AlgorithmId>> {
    match kem {
        Kem::MlKem768 => Some(&ML_KEM_768),
        Kem::MlKem1024 => Some(&ML_KEM_1024),
        Kem::XWing => None,
    }
}

fn x_wing_key(private: &[u8]) -> Result<x_wing::DecapsulationKey, KeyError> {
    Ok(x_wing::DecapsulationKey::from(
        <[u8; 32]>::try_from(private).map_err(|_| UNREADABLE_MATERIAL)?,
    ))
}

/// Generates a private key: the decapsulation key of FIPS 203 for ML-KEM, the seed for X-Wing.
pub(crate) fn generate(kem: Kem, entropy: &dyn Entropy) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    match ml_kem(kem) {
        Some(algorithm) => {
            let key = DecapsulationKey::generate(algorithm).map_err(|_| GENERATE_FAILED)?;
            Ok(Zeroizing::new(
                key.key_bytes()
                    .map_err(|_| GENERATE_FAILED)?
                    .as_ref()
                    .to_vec(),
            ))
        }
        None => {
            let mut seed = Zeroizing::new(vec![0; x_wing::DECAPSULATION_KEY_SIZE]);
            entropy.fill(&mut seed);
            Ok(seed)
        }
    }
}

/// Fails if the bytes are not a private key.
pub(crate) fn validate(kem: Kem, private: &[u8]) -> Result<(), KeyError> {
    let valid = match ml_kem(kem) {
        Some(algorithm) => DecapsulationKey::new(algorithm, private).is_ok(),
        None => x_wing_key(private).is_ok(),
    };
    if valid {
        Ok(())
    } else {
        Err(KeyError::BadMaterial)
    }
}

/// The encapsulation key in the encoding of its standard.
pub(crate) fn public_key(kem: Kem, private: &[u8]) -> Result<Vec<u8>, KeyError> {
    // FIPS 203, algorithm 16: the private key of K-PKE (384 k bytes), then the encapsulation key
    // (384 k + 32 bytes). aws-lc-rs cannot extract it from a stored decapsulation key.
    let k = match kem {
        Kem::MlKem768 => 3,
        Kem::MlKem1024 => 4,
        Kem::XWing => return Ok(x_wing_key(private)?.encapsulation_key().to_bytes().to_vec()),
    };
    Ok(private
        .get(384 * k..768 * k + 32)
        .ok_or(UNREADABLE_MATERIAL)?
        .to_vec())
}

/// Returns the shared secret of 32 bytes. A ciphertext of the right length always yields one; a
/// forged ciphertext yields another secret.
pub(crate) fn decapsulate(
    kem: Kem,
    private: &[u8],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let (length, expected) = match kem {
        Kem::MlKem768 => (1088, "1088"),
        Kem::MlKem1024 => (1568, "1568"),
        Kem::XWing => (x_wing::CIPHERTEXT_SIZE, "1120"),
    };
    if ciphertext.len() != length {
        return Err(KeyError::BadLength {
            what: "ciphertext",
            expected,
        });
    }
    let secret = match ml_kem(kem) {
        Some(algorithm) => {
            let key = DecapsulationKey::new(algorithm, private).map_err(|_| UNREADABLE_MATERIAL)?;
            key.decapsulate(Ciphertext::from(ciphertext))
                .map_err(|_| KeyError::DecryptionFailed)?
                .as_ref()
                .to_vec()
        }
        None => {
            let ciphertext =
                x_wing::Ciphertext::try_from(ciphertext).map_err(|_| KeyError::DecryptionFailed)?;
            x_wing_key(private)?.decapsulate(&ciphertext).to_vec()
        }
    };
    Ok(Zeroizing::new(secret))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::kem::EncapsulationKey;

    use super::*;
    use crate::SystemEntropy;

    #[test]
    fn decapsulate_returns_the_encapsulated_secret() {
        for kem in [Kem::MlKem768, Kem::MlKem1024] {
            let private = generate(kem, &SystemEntropy).unwrap();
            let public =
                EncapsulationKey::new(ml_kem(kem).unwrap(), &public_key(kem, &private).unwrap())
                    .unwrap();
            let (ciphertext, secret) = public.encapsulate().unwrap();
            assert_eq!(
                &*decapsulate(kem, &private, ciphertext.as_ref()).unwrap(),
                secret.as_ref(),
                "{kem:?}"
            );
            assert!(decapsulate(kem, &private, &ciphertext.as_ref()[1..]).is_err());
        }
    }

    /// The origin of the vectors is in fixtures/kem/README.md.
    #[test]
    fn x_wing_matches_the_draft_vectors() {
        let text = include_str!("../../../fixtures/kem/x-wing.json");
        let of = |name: &str| {
            let (_, rest) = text.split_once(&format!("\"{name}\": \"")).unwrap();
            hex::decode(rest.split_once('"').unwrap().0).unwrap()
        };
        assert_eq!(public_key(Kem::XWing, &of("seed")).unwrap(), of("pk"));
        assert_eq!(
            *decapsulate(Kem::XWing, &of("seed"), &of("ct")).unwrap(),
            of("ss")
        );
    }
}
