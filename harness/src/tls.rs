//! The process's TLS crypto provider.

/// Installs aws-lc unless the embedding program has installed a provider. HTTP clients require one.
pub fn install_provider() {
    // An error means that there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
