//! The national clouds of Azure.

use azure_core::cloud::CloudConfiguration;

/// An Azure cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum AzureCloud {
    #[default]
    Public,
    UsGovernment,
    China,
}

impl AzureCloud {
    /// Parses the names that Azure's tools use, in any case.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "" | "azurecloud" | "azurepubliccloud" => Self::Public,
            "azureusgovernment" | "azureusgovernmentcloud" => Self::UsGovernment,
            "azurechinacloud" => Self::China,
            _ => return None,
        })
    }

    /// Suffix of vault host names.
    pub(super) fn vault_suffix(self) -> &'static str {
        match self {
            Self::Public => ".vault.azure.net",
            Self::UsGovernment => ".vault.usgovcloudapi.net",
            Self::China => ".vault.azure.cn",
        }
    }

    /// Its login host, for the SDK.
    pub(super) fn configuration(self) -> CloudConfiguration {
        match self {
            Self::Public => CloudConfiguration::AzurePublic,
            Self::UsGovernment => CloudConfiguration::AzureGovernment,
            Self::China => CloudConfiguration::AzureChina,
        }
    }
}
