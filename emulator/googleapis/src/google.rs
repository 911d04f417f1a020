//! The packages as nested modules.
#![allow(missing_docs, unreachable_pub, reason = "made from Google's protos")]
#![allow(clippy::all)]

pub mod cloud {
    pub mod kms {
        pub mod v1 {
            include!("gen/google.cloud.kms.v1.rs");
        }
    }
    pub mod location {
        include!("gen/google.cloud.location.rs");
    }
}
pub mod iam {
    pub mod v1 {
        include!("gen/google.iam.v1.rs");
    }
}
pub mod longrunning {
    include!("gen/google.longrunning.rs");
}
pub mod rpc {
    include!("gen/google.rpc.rs");
}
pub mod r#type {
    include!("gen/google.r#type.rs");
}
