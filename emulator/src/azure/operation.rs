//! Vault operations, with their names in the audit log, in access policies, and as data actions of
//! roles.

use http::Method;

use super::AzureError;
use super::names::KeyName;

macro_rules! operations {
    ($($name:ident: $log:literal, $permission:expr, $action:literal;)*) => {
        /// A vault operation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Operation { $($name),* }

        impl Operation {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// Name in the service's audit log.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$name => $log),* }
            }

            /// Permission that an access policy must contain. `None`: every authenticated caller
            /// may.
            pub(crate) fn permission(self) -> Option<&'static str> {
                match self { $(Self::$name => $permission),* }
            }

            /// Data action that a role must contain.
            pub(crate) fn action(self) -> &'static str {
                match self { $(Self::$name => concat!("Microsoft.KeyVault/vaults/", $action)),* }
            }
        }
    };
}

operations! {
    Create: "KeyCreate", Some("create"), "keys/create/action";
    Import: "KeyImport", Some("import"), "keys/import/action";
    Get: "KeyGet", Some("get"), "keys/read";
    List: "KeyList", Some("list"), "keys/read";
    ListVersions: "KeyListVersions", Some("list"), "keys/read";
    Update: "KeyUpdate", Some("update"), "keys/update/action";
    Delete: "KeyDelete", Some("delete"), "keys/delete";
    Backup: "KeyBackup", Some("backup"), "keys/backup/action";
    Restore: "KeyRestore", Some("restore"), "keys/restore/action";
    GetDeleted: "KeyGetDeleted", Some("get"), "keys/read";
    ListDeleted: "KeyListDeleted", Some("list"), "keys/read";
    Recover: "KeyRecover", Some("recover"), "keys/recover/action";
    Purge: "KeyPurge", Some("purge"), "keys/purge/action";
    Encrypt: "KeyEncrypt", Some("encrypt"), "keys/encrypt/action";
    Decrypt: "KeyDecrypt", Some("decrypt"), "keys/decrypt/action";
    WrapKey: "KeyWrap", Some("wrapKey"), "keys/wrap/action";
    Release: "KeyRelease", Some("release"), "keys/release/action";
    UnwrapKey: "KeyUnwrap", Some("unwrapKey"), "keys/unwrap/action";
    Sign: "KeySign", Some("sign"), "keys/sign/action";
    Verify: "KeyVerify", Some("verify"), "keys/verify/action";
    Rotate: "KeyRotate", Some("rotate"), "keys/rotate/action";
    GetRotationPolicy: "KeyGetRotationPolicy", Some("getrotationpolicy"), "keyrotationpolicies/read";
    SetRotationPolicy: "KeySetRotationPolicy", Some("setrotationpolicy"), "keyrotationpolicies/write";
    RandomBytes: "RandomBytesGet", Some("get"), "keys/read";
}

impl Operation {
    /// Whether requests have a body.
    pub(super) fn has_body(self) -> bool {
        match self {
            Self::Get | Self::List | Self::ListVersions | Self::GetDeleted | Self::ListDeleted => {
                false
            }
            Self::Delete
            | Self::Purge
            | Self::Recover
            | Self::Backup
            | Self::Rotate
            | Self::GetRotationPolicy => false,
            Self::Create
            | Self::Import
            | Self::Update
            | Self::Restore
            | Self::SetRotationPolicy => true,
            Self::Encrypt
            | Self::Decrypt
            | Self::WrapKey
            | Self::UnwrapKey
            | Self::Sign
            | Self::Verify => true,
            Self::RandomBytes | Self::Release => true,
        }
    }
}

/// A vault request as given by its method and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) operation: Operation,
    pub(crate) key: Option<KeyName>,
    /// The version as written; `None` means the newest.
    pub(crate) version: Option<String>,
}

impl Call {
    /// Reports whether a path is one of a vault.
    pub(crate) fn is_vault_path(path: &str) -> bool {
        let first = path
            .split('/')
            .find(|segment| !segment.is_empty())
            .unwrap_or_default();
        ["keys", "deletedkeys", "rng"]
            .iter()
            .any(|known| first.eq_ignore_ascii_case(known))
    }

    /// Parses a path inside a vault. It may start with two slashes, and the slash before an absent
    /// version may be missing.
    pub(crate) fn parse(method: &Method, path: &str) -> Result<Self, AzureError> {
        use Operation::*;
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let lower: Vec<String> = segments
            .iter()
            .map(|segment| segment.to_ascii_lowercase())
            .collect();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        let (get, post, put) = (
            method == Method::GET,
            method == Method::POST,
            method == Method::PUT,
        );
        let (patch, delete) = (method == Method::PATCH, method == Method::DELETE);
        let newest = None::<String>;
        let named = |version: &str| (!version.is_empty()).then(|| version.to_owned());
        // The longer forms first: a key may be called `restore`, a version is never called
        // `create`.
        let (operation, key, version) = match lower[..] {
            ["keys"] | ["keys", ""] if get => (List, None, newest),
            ["keys", "restore"] if post => (Restore, None, newest),
            ["deletedkeys"] | ["deletedkeys", ""] if get => (ListDeleted, None, newest),
            ["rng"] if post => (RandomBytes, None, newest),
            ["deletedkeys", _] if get => (GetDeleted, Some(1), newest),
            ["deletedkeys", _] if delete => (Purge, Some(1), newest),
            ["deletedkeys", _, "recover"] if post => (Recover, Some(1), newest),
            ["keys", _] if get => (Get, Some(1), newest),
            ["keys", _] if put => (Import, Some(1), newest),
            ["keys", _] if delete => (Delete, Some(1), newest),
            ["keys", _] if patch => (Update, Some(1), newest),
            ["keys", _, "create"] if post => (Create, Some(1), newest),
            ["keys", _, "backup"] if post => (Backup, Some(1), newest),
            ["keys", _, "rotate"] if post => (Rotate, Some(1), newest),
            ["keys", _, "rotationpolicy"] if get => (GetRotationPolicy, Some(1), newest),
            ["keys", _, "rotationpolicy"] if put => (SetRotationPolicy, Some(1), newest),
            ["keys", _, "versions"] if get => (ListVersions, Some(1), newest),
            // Neither version nor its slash: Go's azcore collapses the two slashes.
            ["keys", _, what] if post && crypto_operation(what).is_some() => {
                (crypto_operation(what).unwrap_or(Get), Some(1), newest)
            }
            ["keys", _, version] if get => (Get, Some(1), named(version)),
            ["keys", _, version] if patch => (Update, Some(1), named(version)),
            ["keys", _, version, what] if post => (
                crypto_operation(what).ok_or_else(AzureError::no_such_path)?,
                Some(1),
                named(version),
            ),
            ["keys" | "deletedkeys" | "rng", ..] if lower.len() <= 4 => {
                return Err(AzureError::method_not_allowed());
            }
            _ => return Err(AzureError::no_such_path()),
        };
        let key = match key.and_then(|at: usize| segments.get(at)) {
            None => None,
            Some(text) => {
                let name = KeyName::parse(text);
                Some(name.ok_or_else(|| {
                    AzureError::bad_parameter(format!("Invalid key name: {text}"))
                })?)
            }
        };
        Ok(Self {
            operation,
            key,
            version,
        })
    }
}

/// The cryptographic operation named by the last path segment, in lower case.
fn crypto_operation(path: &str) -> Option<Operation> {
    Some(match path {
        "encrypt" => Operation::Encrypt,
        "decrypt" => Operation::Decrypt,
        "wrapkey" => Operation::WrapKey,
        "unwrapkey" => Operation::UnwrapKey,
        "sign" => Operation::Sign,
        "verify" => Operation::Verify,
        "release" => Operation::Release,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(
        method: &str,
        path: &str,
    ) -> Result<(Operation, Option<String>, Option<String>), AzureError> {
        let call = Call::parse(&method.parse().unwrap(), path)?;
        Ok((
            call.operation,
            call.key.map(|key| key.to_string()),
            call.version,
        ))
    }

    #[test]
    fn paths_parse_as_the_sdks_write_them() {
        use Operation::*;
        let key = || Some("K".to_owned());
        let version = || Some("0a".to_owned());
        for (method, path, requested) in [
            ("GET", "/keys", (List, None, None)),
            ("GET", "//keys", (List, None, None)),
            ("GET", "/keys/K/", (Get, key(), None)),
            ("GET", "/keys/K/0a", (Get, key(), version())),
            ("POST", "/keys/K//wrapkey", (WrapKey, key(), None)),
            ("POST", "/keys/K/wrapkey", (WrapKey, key(), None)),
            ("POST", "/keys/K/Sign", (Sign, key(), None)),
            ("POST", "/keys/K/0a/release", (Release, key(), version())),
            // Read as a version of that name.
            ("GET", "/keys/K/sign", (Get, key(), Some("sign".into()))),
            (
                "POST",
                "/keys/K/0a/unwrapKey",
                (UnwrapKey, key(), version()),
            ),
            ("PATCH", "/keys/K/", (Update, key(), None)),
            ("PUT", "/keys/K", (Import, key(), None)),
            ("GET", "/keys/K/versions", (ListVersions, key(), None)),
            ("POST", "/keys/restore", (Restore, None, None)),
            (
                "PUT",
                "/keys/restore",
                (Import, Some("restore".into()), None),
            ),
            ("DELETE", "/deletedkeys/K", (Purge, key(), None)),
            ("POST", "/rng", (RandomBytes, None, None)),
        ] {
            assert_eq!(parsed(method, path).unwrap(), requested, "{method} {path}");
        }
        for (method, path, status) in [
            ("POST", "/keys", 405),
            ("DELETE", "/keys/K/0a", 405),
            ("POST", "/keys/K/0a/dance", 404),
            ("GET", "/keys/K/0a/encrypt/x", 404),
            ("GET", "/secrets/s", 404),
            ("GET", "/keys/a_b", 400),
        ] {
            assert_eq!(
                parsed(method, path).unwrap_err().status.as_u16(),
                status,
                "{method} {path}"
            );
        }
    }
}
