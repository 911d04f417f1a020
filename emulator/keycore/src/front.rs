//! What a front end stores with keys and versions.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A front end of the core, as the type of its data. Keys of different front ends are in different
/// cores.
pub trait Front: Debug + Clone + PartialEq + Send + Sync + 'static {
    /// Data of a key.
    type KeyData: FrontData;
    /// Data of a version. A version that a rotation makes has that of the newest one.
    type VersionData: FrontData + Default;
}

/// Data that the core stores, and writes into backups, without interpreting it.
pub trait FrontData:
    Debug + Clone + PartialEq + Send + Sync + Serialize + DeserializeOwned + 'static
{
}

impl<T> FrontData for T where
    T: Debug + Clone + PartialEq + Send + Sync + Serialize + DeserializeOwned + 'static
{
}
