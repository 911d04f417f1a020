//! The emulator as clients see it: over real sockets, with the vendors' signers and SDKs.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod admin;
mod audit;
mod audit_export;
mod auth_off;
mod aws_surface;
mod azure_hsm;
mod azure_login;
mod azure_management;
mod azure_owners;
mod azure_refusals;
mod azure_sdk;
mod bodies;
mod command;
mod contract;
mod crypto;
mod faults;
mod few_descriptors;
mod gcp_attestation;
mod gcp_deletion;
mod gcp_iam;
mod gcp_kem;
mod gcp_metadata;
mod gcp_rest;
mod gcp_sdk;
mod gcp_tokens;
mod keys;
mod lifecycle;
mod owners;
mod refusals;
mod rotation_load;
mod sdk;
mod seed;
mod seed_aws;
mod seed_azure;
mod seed_file;
mod seed_gcp;
mod signing;
mod sigv4_vectors;
mod support;
mod variables;
mod web_pages;
