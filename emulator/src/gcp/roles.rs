//! Predefined roles and the permissions in them, as Google's reference lists them for Cloud KMS.

/// What a role allows.
#[derive(Debug, Clone, Copy)]
enum Allows {
    /// Everything.
    All,
    /// Everything that begins with `cloudkms.`, but for the use of keys and what is named.
    Manage,
    /// What ends so.
    Endings(&'static [&'static str]),
    /// These.
    These(&'static [&'static str]),
}

/// What every role of Cloud KMS allows beside its own.
const EVERYWHERE: &[&str] = &[
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

const ROLES: &[(&str, Allows)] = &[
    ("roles/owner", Allows::All),
    ("roles/editor", Allows::Manage),
    ("roles/viewer", Allows::Endings(&[".get", ".list"])),
    ("roles/cloudkms.admin", Allows::Manage),
    ("roles/cloudkms.viewer", Allows::Endings(&[".get", ".list"])),
    (
        "roles/cloudkms.cryptoKeyEncrypterDecrypter",
        Allows::These(&[ENCRYPT, DECRYPT]),
    ),
    (
        "roles/cloudkms.cryptoKeyEncrypter",
        Allows::These(&[ENCRYPT]),
    ),
    (
        "roles/cloudkms.cryptoKeyDecrypter",
        Allows::These(&[DECRYPT]),
    ),
    ("roles/cloudkms.decapsulator", Allows::These(&[DECAPSULATE])),
    ("roles/cloudkms.signer", Allows::These(&[SIGN])),
    ("roles/cloudkms.verifier", Allows::These(&[VERIFY])),
    (
        "roles/cloudkms.signerVerifier",
        Allows::These(&[SIGN, VERIFY, PUBLIC]),
    ),
    ("roles/cloudkms.publicKeyViewer", Allows::These(&[PUBLIC])),
    (
        "roles/cloudkms.cryptoOperator",
        Allows::These(&[ENCRYPT, DECRYPT, DECAPSULATE, SIGN, VERIFY, PUBLIC, RANDOM]),
    ),
    (
        "roles/cloudkms.importer",
        Allows::These(&[
            "cloudkms.importJobs.create",
            "cloudkms.importJobs.get",
            "cloudkms.importJobs.list",
            "cloudkms.importJobs.useToImport",
        ]),
    ),
];

/// Whether there is such a role.
pub(crate) fn is_role(role: &str) -> bool {
    ROLES.iter().any(|(name, _)| *name == role)
}

/// Whether a role has a permission.
pub(crate) fn allows(role: &str, permission: &str) -> bool {
    let Some((_, allows)) = ROLES.iter().find(|(name, _)| *name == role) else {
        return false;
    };
    match allows {
        Allows::All => true,
        Allows::Manage => {
            let uses =
                permission.contains(".useTo") || permission == RANDOM || permission == PUBLIC;
            permission.starts_with("cloudkms.") && !uses
        }
        Allows::Endings(endings) => endings.iter().any(|ending| permission.ends_with(ending)),
        Allows::These(these) => these.contains(&permission) || EVERYWHERE.contains(&permission),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guides_role_uses_keys_and_sees_none() {
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
    fn the_admin_manages_keys_and_uses_none() {
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
