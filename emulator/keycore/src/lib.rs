//! The key core: keys as ordered versions with one primary, key material that is encrypted at rest,
//! and lifecycles on an injected clock.
//!
//! The core knows no protocol. Front ends choose the ids of keys and realms, and translate
//! [`KeyError`] into their vendor's errors.

mod aes;
mod asymmetric;
mod clock;
mod core;
mod derived;
mod entropy;
mod error;
mod front;
mod imported;
mod kem;
mod key;
mod material;
mod names;
mod raw_rsa;
mod rotation;
mod spec;
mod store;
mod uses;
mod version;

pub use clock::{Clock, ClockError, LabClock, ManualClock, SystemClock};
pub use core::{
    Ciphertext, DueChanges, ImportError, KeyCore, KeyRef, PlainKey, PlainVersion, RotationPolicy,
    VersionRef,
};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use error::KeyError;
pub use front::{Front, FrontData};
pub use imported::{ImportedMaterial, RsaParts};
pub use key::{Alias, Key, KeyState, NewKey};
pub use names::{KeyId, ParseVersionIdError, Realm, VersionId};
pub use rotation::{Period, Rotation, Trigger};
pub use spec::{
    AesMode, Algorithm, Curve, Hash, Kem, PublicKey, Purpose, RsaPadding, SignInput,
    SignatureAlgorithm,
};
pub use store::{MemoryStore, RecordStore, Revision, Store, Stored, Tables};
pub use uses::{VersionUse, record_uses};
pub use version::{Cause, NewVersion, Version, VersionFields, VersionState};
