//! Key encapsulation on unsealed material: ML-KEM (FIPS 203) by `aws-lc-rs`, X-Wing by RustCrypto's
//! `x-wing`.

use aws_lc_rs::kem::{
    Algorithm as AwsAlgorithm, AlgorithmId, Ciphertext, DecapsulationKey, ML_KEM_768, ML_KEM_1024,
};
use x_wing::kem::{Decapsulate as _, Decapsulator as _, KeyExport as _};
use zeroize::Zeroizing;

use crate::{Entropy, Kem, KeyError};

const BROKEN: KeyError = KeyError::Internal {
    what: "the private key does not parse",
};
const MAKE: KeyError = KeyError::Internal {
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
        <[u8; 32]>::try_from(private).map_err(|_| BROKEN)?,
    ))
}

/// A private key: of ML-KEM the decapsulation key as FIPS 203 has it, of X-Wing its seed.
pub(crate) fn generate(kem: Kem, entropy: &dyn Entropy) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    match ml_kem(kem) {
        Some(algorithm) => {
            let key = DecapsulationKey::generate(algorithm).map_err(|_| MAKE)?;
            Ok(Zeroizing::new(
                key.key_bytes().map_err(|_| MAKE)?.as_ref().to_vec(),
            ))
        }
        None => {
            let mut seed = Zeroizing::new(vec![0; x_wing::DECAPSULATION_KEY_SIZE]);
            entropy.fill(&mut seed);
            Ok(seed)
        }
    }
}

/// The encapsulation key as its standard writes it.
pub(crate) fn public_key(kem: Kem, private: &[u8]) -> Result<Vec<u8>, KeyError> {
    // FIPS 203, algorithm 16: K-PKE's private key of 384 k bytes, then the encapsulation key of 384
    // k + 32. aws-lc-rs does not read it out of a key that was stored.
    let k = match kem {
        Kem::MlKem768 => 3,
        Kem::MlKem1024 => 4,
        Kem::XWing => return Ok(x_wing_key(private)?.encapsulation_key().to_bytes().to_vec()),
    };
    Ok(private.get(384 * k..768 * k + 32).ok_or(BROKEN)?.to_vec())
}

/// The shared secret, 32 bytes. A ciphertext of the right length always gives one: a forged one
/// gives another secret.
pub(crate) fn decapsulate(
    kem: Kem,
    private: &[u8],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let (length, wanted) = match kem {
        Kem::MlKem768 => (1088, "1088"),
        Kem::MlKem1024 => (1568, "1568"),
        Kem::XWing => (x_wing::CIPHERTEXT_SIZE, "1120"),
    };
    if ciphertext.len() != length {
        return Err(KeyError::BadLength {
            what: "ciphertext",
            wanted,
        });
    }
    let secret = match ml_kem(kem) {
        Some(algorithm) => {
            let key = DecapsulationKey::new(algorithm, private).map_err(|_| BROKEN)?;
            key.decapsulate(Ciphertext::from(ciphertext))
                .map_err(|_| KeyError::DoesNotOpen)?
                .as_ref()
                .to_vec()
        }
        None => {
            let ciphertext =
                x_wing::Ciphertext::try_from(ciphertext).map_err(|_| KeyError::DoesNotOpen)?;
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
    fn what_is_encapsulated_to_the_public_key_is_the_private_keys_secret() {
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

    /// fixtures/kem/README.md says where it is from.
    #[test]
    fn x_wing_is_the_drafts() {
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
