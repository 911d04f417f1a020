//! Whether callers are checked, in every cloud alike.

/// Whether an emulator checks who calls and what they may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Auth {
    /// Signatures, tokens, policies and roles are checked as each cloud does it.
    #[default]
    On,
    /// Every request is allowed. What it carries still says who calls, where it holds; else the
    /// well-known caller does. Token endpoints give a token to everybody who asks.
    Off,
}

impl Auth {
    /// Whether every request is allowed.
    pub(crate) fn is_off(self) -> bool {
        self == Self::Off
    }
}
