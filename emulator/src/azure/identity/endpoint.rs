//! The endpoints of the identity platform by method and path.

use http::Method;

/// An endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint<'a> {
    /// Tokens of applications.
    Token {
        tenant: &'a str,
        /// 1 or 2.
        version: u8,
    },
    /// Tokens of managed identities, of the instance metadata service.
    ManagedIdentity,
    /// OpenID Connect discovery.
    Configuration { tenant: &'a str, version: u8 },
    /// Discovery of the hosts that form one authority.
    Instance,
    /// The keys that sign tokens.
    Keys,
}

impl<'a> Endpoint<'a> {
    /// Operations in the request counts.
    pub(super) const OPERATIONS: &'static [&'static str] = &[
        "IdentityConfiguration",
        "IdentityInstance",
        "IdentityKeys",
        "IdentityToken",
        "ManagedIdentityToken",
    ];

    /// The endpoint of a path, whatever the method.
    pub(super) fn of_path(path: &'a str) -> Option<Self> {
        let segments: Vec<&str> = path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .collect();
        Some(match segments[..] {
            // Before the token endpoint, whose path has a tenant in its place.
            ["metadata", "identity", "oauth2", "token"] => Self::ManagedIdentity,
            [tenant, "oauth2", "token"] => Self::Token { tenant, version: 1 },
            [tenant, "oauth2", "v2.0", "token"] => Self::Token { tenant, version: 2 },
            [tenant, ".well-known", "openid-configuration"] => {
                Self::Configuration { tenant, version: 1 }
            }
            [tenant, "v2.0", ".well-known", "openid-configuration"] => {
                Self::Configuration { tenant, version: 2 }
            }
            [_, "discovery", "instance"] => Self::Instance,
            [_, "discovery", "keys"] | [_, "discovery", "v2.0", "keys"] => Self::Keys,
            _ => return None,
        })
    }

    /// The endpoint of a request.
    pub(super) fn of(method: &Method, path: &'a str) -> Option<Self> {
        let endpoint = Self::of_path(path)?;
        let expected = match endpoint {
            Self::Token { .. } => Method::POST,
            _ => Method::GET,
        };
        (*method == expected).then_some(endpoint)
    }

    /// Name in the request counts.
    pub(super) fn operation(self) -> &'static str {
        match self {
            Self::Token { .. } => "IdentityToken",
            Self::ManagedIdentity => "ManagedIdentityToken",
            Self::Configuration { .. } => "IdentityConfiguration",
            Self::Instance => "IdentityInstance",
            Self::Keys => "IdentityKeys",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_found_by_method_and_path() {
        for (method, path, operation) in [
            (Method::POST, "/t/oauth2/token", Some("IdentityToken")),
            (Method::POST, "/t/oauth2/v2.0/token", Some("IdentityToken")),
            (Method::GET, "/t/oauth2/v2.0/token", None),
            (
                Method::GET,
                "/metadata/identity/oauth2/token",
                Some("ManagedIdentityToken"),
            ),
            (
                Method::GET,
                "/t/v2.0/.well-known/openid-configuration",
                Some("IdentityConfiguration"),
            ),
            (
                Method::GET,
                "/common/discovery/instance",
                Some("IdentityInstance"),
            ),
            (Method::GET, "/t/discovery/v2.0/keys", Some("IdentityKeys")),
            (Method::GET, "/t/other", None),
        ] {
            let found = Endpoint::of(&method, path).map(Endpoint::operation);
            assert_eq!(found, operation, "{method} {path}");
            if let Some(operation) = found {
                assert!(Endpoint::OPERATIONS.contains(&operation), "{operation}");
            }
        }
    }
}
