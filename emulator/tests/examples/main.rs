//! A test of a KMS client with each vendor's SDK, to copy from.

mod aws;
mod azure;
mod gcp;
