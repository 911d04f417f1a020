//! Protobuf messages and services of Google Cloud KMS, with its IAM mixin, locations, long-running
//! operations and error details.
//!
//! [`google`] contains the types and a `…_server` module for tonic per service. [`descriptors`]
//! describes them at run time: the HTTP rule of each call and the JSON form of each message.

mod debug;
pub mod google;

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

pub use google::cloud::kms::v1 as kms;

/// Descriptors of everything in [`google`], with the HTTP rules.
pub fn descriptors() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        let encoded = include_bytes!("gen/descriptors.bin");
        DescriptorPool::decode(encoded.as_slice()).expect("checked in, and decoded by a test")
    });
    &POOL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_contain_the_http_rule_of_every_call() {
        let pool = descriptors();
        let service = pool
            .get_service_by_name("google.cloud.kms.v1.KeyManagementService")
            .unwrap();
        let http = pool.get_extension_by_name("google.api.http").unwrap();
        assert!(service.methods().len() > 30);
        assert!(
            service
                .methods()
                .all(|method| method.options().has_extension(&http))
        );
    }
}
