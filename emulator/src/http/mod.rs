//! HTTP requests, independent of any cloud: connections, host names, bodies and bearer tokens.

pub(crate) mod bearer;
pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod drain;
pub(crate) mod host;
