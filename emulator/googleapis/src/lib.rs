//! Google's messages and services as protobuf has them: Cloud KMS, its IAM mixin, locations,
//! long-running operations, error details.
//!
//! [`google`] has the types and, per service, a `…_server` module for tonic. [`descriptors`] has
//! the same at run time: which REST path each call has, and what the JSON of each message is.

mod debug;
pub mod google;

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

pub use google::cloud::kms::v1 as kms;

/// Descriptors of everything in [`google`], with the options that say how calls look in REST.
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
    fn every_call_of_cloud_kms_is_described_with_its_path() {
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
