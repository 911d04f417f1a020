//! The key core: keys as ordered versions with one primary, their material sealed at rest, their
//! life on an injected clock.
//!
//! Here is no HTTP, no JSON and no cloud's word. A front end names keys and realms as its vendor
//! does, and puts [`KeyError`] into its vendor's words.

mod aes;
mod asymmetric;
mod clock;
mod core;
mod entropy;
mod error;
mod imported;
mod kem;
mod key;
mod material;
mod names;
mod raw_rsa;
mod rotation;
mod spec;
mod store;
mod version;

pub use clock::{Clock, ClockError, LabClock, ManualClock, SystemClock};
pub use core::{KeyCore, Named, Sealed, Settled};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use error::KeyError;
pub use imported::{Material, RsaParts};
pub use key::{Alias, Grant, Key, KeyFields, KeyState, NewKey};
pub use names::{KeyId, ParseVersionIdError, Realm, VersionId};
pub use rotation::{Period, Rotation, Trigger};
pub use spec::{
    AesMode, Algorithm, Curve, Hash, Kem, PublicKey, Purpose, RsaPadding, SignInput,
    SignatureAlgorithm,
};
pub use store::{Change, MemoryStore, Store};
pub use version::{Cause, NewVersion, Version, VersionFields, VersionState};
