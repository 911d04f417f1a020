//! The ways to log in, and the SDK's credential for each.

use std::path::PathBuf;
use std::sync::Arc;

use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::ClientOptions;
use azure_identity::{
    ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};

/// How to log in.
pub(super) enum Login {
    ClientSecret {
        tenant: String,
        client_id: String,
        secret: Secret,
    },
    /// The file contains a token of Kubernetes' issuer; it is read at each login.
    WorkloadIdentity {
        tenant: String,
        client_id: String,
        token_file: PathBuf,
    },
    /// A user-assigned identity is given by its client id or resource id.
    ManagedIdentity { user_assigned: Option<String> },
}

impl std::fmt::Debug for Login {
    /// Omits the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ClientSecret { .. } => "ClientSecret",
            Self::WorkloadIdentity { .. } => "WorkloadIdentity",
            Self::ManagedIdentity { .. } => "ManagedIdentity",
        })
    }
}

impl Login {
    /// The login host is that of `options.cloud`; without it the SDK uses AZURE_AUTHORITY_HOST.
    pub(super) fn credential(
        self,
        options: ClientOptions,
    ) -> azure_core::Result<Arc<dyn TokenCredential>> {
        Ok(match self {
            Self::ClientSecret {
                tenant,
                client_id,
                secret,
            } => {
                let options = ClientSecretCredentialOptions {
                    client_options: options,
                };
                ClientSecretCredential::new(&tenant, client_id, secret, Some(options))?
            }
            Self::WorkloadIdentity {
                tenant,
                client_id,
                token_file,
            } => {
                let mut expected = WorkloadIdentityCredentialOptions {
                    client_id: Some(client_id),
                    tenant_id: Some(tenant),
                    token_file_path: Some(token_file),
                    ..WorkloadIdentityCredentialOptions::default()
                };
                expected.credential_options.client_options = options;
                WorkloadIdentityCredential::new(Some(expected))?
            }
            Self::ManagedIdentity { user_assigned } => {
                let user_assigned_id = user_assigned.map(|id| match id.starts_with('/') {
                    true => UserAssignedId::ResourceId(id),
                    false => UserAssignedId::ClientId(id),
                });
                let options = ManagedIdentityCredentialOptions {
                    user_assigned_id,
                    client_options: options,
                };
                ManagedIdentityCredential::new(Some(options))?
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use azure_core::cloud::CloudConfiguration;
    use azure_core::http::{AsyncRawResponse, HttpClient, Request, Transport};

    use super::*;

    /// Records the hosts of requests and fails them.
    #[derive(Debug, Default)]
    struct Hosts(Mutex<Vec<String>>);

    #[async_trait]
    impl HttpClient for Hosts {
        async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
            self.0
                .lock()
                .unwrap()
                .extend(request.url().host_str().map(str::to_owned));
            Err(azure_core::Error::with_message(
                azure_core::error::ErrorKind::Other,
                "recorded",
            ))
        }
    }

    #[tokio::test]
    async fn login_host_follows_the_cloud() {
        let dir = tempfile::tempdir().unwrap();
        let token_file = dir.path().join("token");
        std::fs::write(&token_file, "a.b.c").unwrap();
        let (tenant, client_id) = (
            "11111111-2222-3333-4444-555555555555",
            "66666666-7777-8888-9999-000000000000",
        );
        for (cloud, host) in [
            (CloudConfiguration::AzurePublic, "login.microsoftonline.com"),
            (
                CloudConfiguration::AzureGovernment,
                "login.microsoftonline.us",
            ),
            (CloudConfiguration::AzureChina, "login.chinacloudapi.cn"),
        ] {
            for login in [
                Login::ClientSecret {
                    tenant: tenant.into(),
                    client_id: client_id.into(),
                    secret: Secret::new("x".to_owned()),
                },
                Login::WorkloadIdentity {
                    tenant: tenant.into(),
                    client_id: client_id.into(),
                    token_file: token_file.clone(),
                },
            ] {
                let (hosts, displayed) = (Arc::new(Hosts::default()), format!("{login:?}"));
                let options = ClientOptions {
                    cloud: Some(Arc::new(cloud.clone())),
                    transport: Some(Transport::new(hosts.clone())),
                    retry: azure_core::http::RetryOptions::none(),
                    ..ClientOptions::default()
                };
                login
                    .credential(options)
                    .unwrap()
                    .get_token(&["x/.default"], None)
                    .await
                    .unwrap_err();
                assert_eq!(*hosts.0.lock().unwrap(), [host], "{displayed}");
            }
        }
    }
}
