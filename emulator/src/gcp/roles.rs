//! Predefined roles of Cloud KMS and their permissions, from Google's reference.

/// The permissions of a role.
#[derive(Debug, Clone, Copy)]
enum Permissions {
    /// All permissions.
    All,
    /// Permissions that begin with `cloudkms.`, except for using keys and those listed.
    Manage,
    /// Permissions with these suffixes.
    Suffixes(&'static [&'static str]),
    /// List permissions.
    List(&'static [&'static str]),
}

/// Permissions of every Cloud KMS role.
const COMMON: &[&str] = &[
    "cloudkms.locations.get",
    "cloudkms.locations.list",
    "resourcemanager.projects.get",
];
const ENCRYPT: &str = "cloudkms.cryptoKeyVersions.useToEncrypt";
const DECRYPT: &str = "cloudkms.cryptoKeyVersions.useToDecrypt";
const DECAPSULATE: &str = "cloudkms.cryptoKeyVersions.useToDecapsulate";
const SIGN: &str = "cloudkms.cryptoKeyVersions.useToSign";
const VERIFY: &str = "cloudkms.cryptoKeyVersions.useToVerify";
const PUBLIC: &str = "cloudkms.cryptoKeyVersions.viewPublicKey";
const RANDOM: &str = "cloudkms.locations.generateRandomBytes";

const ROLES: &[(&str, Permissions)] = &[
    ("roles/owner", Permissions::All),
    ("roles/editor", Permissions::Manage),
    ("roles/viewer", Permissions::Suffixes(&[".get", ".list"])),
    ("roles/cloudkms.admin", Permissions::Manage),
    (
        "roles/cloudkms.viewer",
        Permissions::Suffixes(&[".get", ".list"]),
    ),
    (
        "roles/cloudkms.cryptoKeyEncrypterDecrypter",
        Permissions::List(&[ENCRYPT, DECRYPT]),
    ),
    (
        "roles/cloudkms.cryptoKeyEncrypter",
        Permissions::List(&[ENCRYPT]),
    ),
    (
        "roles/cloudkms.cryptoKeyDecrypter",
        Permissions::List(&[DECRYPT]),
    ),
    (
        "roles/cloudkms.decapsulator",
        Permissions::List(&[DECAPSULATE]),
    ),
    ("roles/cloudkms.signer", Permissions::List(&[SIGN])),
    ("roles/cloudkms.verifier", Permissions::List(&[VERIFY])),
    (
        "roles/cloudkms.signerVerifier",
        Permissions::List(&[SIGN, VERIFY, PUBLIC]),
    ),
    (
        "roles/cloudkms.publicKeyViewer",
        Permissions::List(&[PUBLIC]),
    ),
    (
        "roles/cloudkms.cryptoOperator",
        Permissions::List(&[ENCRYPT, DECRYPT, DECAPSULATE, SIGN, VERIFY, PUBLIC, RANDOM]),
    ),
    (
        "roles/cloudkms.importer",
        Permissions::List(&[
            "cloudkms.importJobs.create",
            "cloudkms.importJobs.get",
            "cloudkms.importJobs.list",
            "cloudkms.importJobs.useToImport",
        ]),
    ),
];

/// Reports whether a role exists.
pub(crate) fn is_role(role: &str) -> bool {
    ROLES.iter().any(|(name, _)| *name == role)
}

/// Reports whether a role has a permission.
pub(crate) fn allows(role: &str, permission: &str) -> bool {
    let Some((_, allows)) = ROLES.iter().find(|(name, _)| *name == role) else {
        return false;
    };
    match allows {
        Permissions::All => true,
        Permissions::Manage => {
            let uses =
                permission.contains(".useTo") || permission == RANDOM || permission == PUBLIC;
            permission.starts_with("cloudkms.") && !uses
        }
        Permissions::Suffixes(endings) => endings.iter().any(|ending| permission.ends_with(ending)),
        Permissions::List(these) => these.contains(&permission) || COMMON.contains(&permission),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encrypter_decrypter_role_uses_keys_but_cannot_read_them() {
        let role = "roles/cloudkms.cryptoKeyEncrypterDecrypter";
        assert!(allows(role, ENCRYPT) && allows(role, DECRYPT));
        for permission in [
            "cloudkms.cryptoKeys.get",
            "cloudkms.cryptoKeyVersions.list",
            SIGN,
        ] {
            assert!(!allows(role, permission), "{permission}");
        }
    }

    #[test]
    fn admin_role_manages_keys_but_cannot_use_them() {
        assert!(allows(
            "roles/cloudkms.admin",
            "cloudkms.cryptoKeyVersions.destroy"
        ));
        assert!(!allows("roles/cloudkms.admin", ENCRYPT));
        assert!(
            allows("roles/owner", DECRYPT)
                && !allows("roles/cloudkms.unknown", "cloudkms.keyRings.get")
        );
    }
}
