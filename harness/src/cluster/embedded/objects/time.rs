//! `meta.v1.Time`: whole seconds, RFC 3339 in JSON, a message in protobuf that is empty for the
//! zero time.

use jiff::Timestamp;
use prost::Message;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::state::rfc3339;

/// A timestamp, or Go's zero time.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Time {
    #[prost(int64, optional, tag = "1")]
    seconds: Option<i64>,
    /// Written as 0 and ignored when read, as upstream does.
    #[prost(int32, optional, tag = "2")]
    nanos: Option<i32>,
}

impl Time {
    pub(crate) fn is_zero(&self) -> bool {
        self.seconds.is_none()
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.seconds.map(Timestamp::from_second) {
            None => serializer.serialize_none(),
            Some(Ok(at)) => serializer.serialize_str(&rfc3339(at)),
            Some(Err(err)) => Err(serde::ser::Error::custom(err)),
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let at: Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        Ok(Self {
            seconds: Some(at.as_second()),
            nanos: Some(0),
        })
    }
}
