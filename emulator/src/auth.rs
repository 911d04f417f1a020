//! Whether callers are authenticated and authorized, in all clouds.

/// Whether callers are authenticated and authorized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Auth {
    /// Signatures, tokens, policies and roles are checked as each cloud does.
    #[default]
    On,
    /// Every request is allowed. Valid credentials still identify the caller; any other request is
    /// made by the well-known caller. Token endpoints issue a token for every request.
    Off,
}

impl Auth {
    /// Whether every request is allowed.
    pub(crate) fn is_off(self) -> bool {
        self == Self::Off
    }
}
