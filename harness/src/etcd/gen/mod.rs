//! etcd's v3 API, generated from `proto/etcd/` (see its README); only what the client and the file reader use.

#![allow(clippy::all, missing_docs, unreachable_pub, dead_code, reason = "generated code")]

pub(crate) mod etcdserverpb;
pub(crate) mod mvccpb;
