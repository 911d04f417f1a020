//! The process's one provider of cryptography for TLS.

/// Makes aws-lc the provider, where the embedding program has not chosen one already. HTTP clients
/// cannot be built without.
pub fn install_provider() {
    // An error says that there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
