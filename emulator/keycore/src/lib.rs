//! The key core: keys as ordered versions with one primary, their material sealed at rest, their life on an injected clock.
//!
//! Here is no HTTP, no JSON and no cloud's word. A front end names keys and realms as its vendor does, and puts
//! [`KeyError`] into its vendor's words.

mod asymmetric;
mod clock;
mod core;
mod entropy;
mod error;
mod key;
mod material;
mod names;
mod rotation;
mod spec;
mod store;
mod version;

pub use clock::{Clock, ClockError, LabClock, ManualClock, SystemClock};
pub use core::{KeyCore, Sealed, Settled};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use error::KeyError;
pub use key::{Alias, Grant, Key, KeyFields, KeyState, NewKey};
pub use names::{KeyId, ParseVersionIdError, Realm, VersionId};
pub use rotation::Rotation;
pub use spec::{Algorithm, Curve, Hash, Purpose, RsaPadding, SignInput, SignatureAlgorithm};
pub use store::{Change, MemoryStore, Store};
pub use version::{Cause, MOVES, Version, VersionState};
