//! etcd's v3 API, generated from `proto/etcd/` (see its README); only what the client and the file reader use.

#![allow(
    clippy::all,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "generated code"
)]

// Included, not modules of their own, so that rustfmt leaves them as the generator has made them.
pub(crate) mod etcdserverpb {
    include!("etcdserverpb.rs");
}
pub(crate) mod mvccpb {
    include!("mvccpb.rs");
}
