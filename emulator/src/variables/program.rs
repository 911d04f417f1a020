//! The variables of each program.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use kmslab_emulator_api::{Cloud, Endpoints};

use super::Variables;
use super::aws::AwsVariables;
use super::azure::azure_login;
use super::google::{gcloud, google_login};
use super::proxy::{ProxyVariables, direct};
use crate::well_known::{AZURE_CLIENT_ID, AZURE_CLIENT_SECRET};

/// A vendor's tool, or the language of its SDKs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Program {
    /// AWS CLI, version 1 or 2
    Awscli,
    /// Azure CLI, with a directory of its own in place of ~/.azure
    Az,
    /// Google Cloud CLI, with a directory of its own in place of ~/.config/gcloud
    Gcloud,
    /// The vendors' own URLs, for curl and other programs that use OpenSSL
    Curl,
    /// Providers aws, azurerm and google
    Terraform,
    /// SDKs for Go
    Go,
    /// SDKs for Java; keytool makes the trust store
    Java,
    /// SDKs for Node.js
    Node,
    /// SDKs for Python
    Python,
    /// SDKs for Rust
    Rust,
}

/// A store has one, and this one only holds a public certificate.
const STORE_PASSWORD: &str = "kmslab";

/// A program needs a port that the emulator does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the emulator has no {0}, which the vendors' own host names need: start it without --no-tls \
     and --no-proxy"
)]
pub struct MissingPort(&'static str);

impl Program {
    /// The clouds that the program is for.
    pub fn clouds(self) -> &'static [Cloud] {
        match self {
            Self::Awscli => &[Cloud::Aws],
            Self::Az => &[Cloud::Azure],
            Self::Gcloud => &[Cloud::Gcp],
            _ => &[Cloud::Aws, Cloud::Azure, Cloud::Gcp],
        }
    }

    /// The changes of the environment with which the program uses an emulator for these clouds.
    /// AWS' keys are in `region`.
    pub fn variables(
        self,
        clouds: &[Cloud],
        endpoints: &Endpoints,
        region: &str,
    ) -> Result<Variables, MissingPort> {
        let http = &endpoints.http;
        let key_file = endpoints.gcp_key_file.as_deref();
        let mut variables = Variables::default();
        if let Some(admin) = &endpoints.admin {
            variables = variables.set("KMSLAB_ADMIN", admin);
        }
        let mut needs_proxy = false;
        for cloud in self.clouds().iter().filter(|cloud| clouds.contains(cloud)) {
            let of_cloud = match (cloud, self) {
                (Cloud::Aws, _) => {
                    let aws = AwsVariables {
                        endpoint: http,
                        region,
                        log_in: true,
                    };
                    aws.variables()
                }
                (Cloud::Azure, Self::Az) => {
                    azure_login(&endpoints.azure_tenant).and(az(endpoints)?)
                }
                (Cloud::Azure, Self::Terraform) => terraform_azure(&endpoints.azure_tenant),
                (Cloud::Azure, _) => azure_login(&endpoints.azure_tenant),
                (Cloud::Gcp, Self::Gcloud) => {
                    let config = beside(key_file, "gcloud", http);
                    let config = config
                        .map(|dir| Variables::default().set("CLOUDSDK_CONFIG", dir.display()));
                    gcloud(http, key_file).and(config.unwrap_or_default())
                }
                (Cloud::Gcp, Self::Terraform) => {
                    google_login(http, key_file).and(terraform_google(http))
                }
                (Cloud::Gcp, _) => google_login(http, key_file),
            };
            // gcloud and Terraform's provider take Google's endpoint from a variable, others do not.
            needs_proxy |= match cloud {
                Cloud::Aws => false,
                Cloud::Azure => true,
                Cloud::Gcp => !matches!(self, Self::Gcloud | Self::Terraform),
            };
            variables = variables.and(of_cloud);
        }
        Ok(match needs_proxy {
            true => variables.and(self.by_proxy(endpoints)?),
            false => variables.and(direct()),
        })
    }

    /// The variables for the vendors' own host names.
    fn by_proxy(self, endpoints: &Endpoints) -> Result<Variables, MissingPort> {
        let proxy = ProxyVariables {
            proxy: endpoints.proxy.as_deref().ok_or(MissingPort("proxy"))?,
            ca: endpoints.ca.as_deref().ok_or(MissingPort("CA"))?,
        };
        let by_proxy = proxy.proxy();
        Ok(match self {
            Self::Az => by_proxy.and(proxy.python_ca()),
            Self::Python => by_proxy
                .and(proxy.python_ca())
                .and(proxy.openssl_ca())
                .and(proxy.grpc()),
            Self::Node => by_proxy.and(proxy.node_ca()).and(proxy.grpc()),
            Self::Java => java(proxy, &endpoints.http),
            _ => by_proxy.and(proxy.openssl_ca()),
        })
    }
}

/// The Azure CLI's own directory, and nothing that it sends to other hosts on its own.
fn az(endpoints: &Endpoints) -> Result<Variables, MissingPort> {
    let ca = endpoints.ca.as_deref().ok_or(MissingPort("CA"))?;
    let mut variables = Variables::default();
    if let Some(dir) = beside(Some(ca), "azure", &endpoints.http) {
        variables = variables.set("AZURE_CONFIG_DIR", dir.display());
    }
    Ok(variables
        .set("AZURE_CORE_COLLECT_TELEMETRY", 0)
        .comment("once: az login --service-principal -u \"$AZURE_CLIENT_ID\" -p \"$AZURE_CLIENT_SECRET\" --tenant \"$AZURE_TENANT_ID\""))
}

/// A directory of an emulator's own beside a file that is removed with it; several emulators may
/// share that.
fn beside(file: Option<&Path>, name: &str, http: &str) -> Option<PathBuf> {
    let port = http.rsplit(':').next()?;
    Some(file?.parent()?.join(format!("{name}-{port}")))
}

/// Login of the provider azurerm ("Authenticating using a Service Principal with a Client Secret"),
/// which registers nothing: the emulator has no resource providers to register.
fn terraform_azure(tenant: &str) -> Variables {
    Variables::default()
        .unset(&[
            "ARM_ENVIRONMENT",
            "ARM_METADATA_HOSTNAME",
            "ARM_CLIENT_CERTIFICATE",
            "ARM_CLIENT_CERTIFICATE_PATH",
            "ARM_USE_OIDC",
            "ARM_USE_MSI",
            "ARM_USE_CLI",
            "ARM_OIDC_TOKEN",
        ])
        .set("ARM_TENANT_ID", tenant)
        .set("ARM_SUBSCRIPTION_ID", tenant)
        .set("ARM_CLIENT_ID", AZURE_CLIENT_ID)
        .set("ARM_CLIENT_SECRET", AZURE_CLIENT_SECRET)
        .set("ARM_RESOURCE_PROVIDER_REGISTRATIONS", "none")
}

/// Endpoints of the provider google ("Provider Default Values Configuration", custom endpoints),
/// and none of the logins that it prefers to a key file.
fn terraform_google(http: &str) -> Variables {
    Variables::default()
        .unset(&[
            "GOOGLE_OAUTH_ACCESS_TOKEN",
            "GOOGLE_CREDENTIALS",
            "GOOGLE_CLOUD_KEYFILE_JSON",
            "GCLOUD_KEYFILE_JSON",
            "GOOGLE_IMPERSONATE_SERVICE_ACCOUNT",
            "GOOGLE_UNIVERSE_DOMAIN",
        ])
        .set_all(
            &["GOOGLE_KMS_CUSTOM_ENDPOINT", "GOOGLE_IAM_CUSTOM_ENDPOINT"],
            format_args!("{http}/v1/"),
        )
}

/// Java takes a proxy and trusted certificates from its own options only, and certificates from a
/// store only.
fn java(proxy: ProxyVariables<'_>, http: &str) -> Variables {
    let Some(store) = beside(Some(proxy.ca), "trust", http) else {
        return Variables::default();
    };
    let store = store.with_extension("p12").display().to_string();
    let ca = proxy.ca.display().to_string();
    let address = proxy.proxy.trim_start_matches("http://");
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "80"));
    let options = [
        // The JVM splits the variable at blanks outside of quotes.
        format!("-Djavax.net.ssl.trustStore=\"{store}\""),
        format!("-Djavax.net.ssl.trustStorePassword={STORE_PASSWORD}"),
        format!("-Dhttps.proxyHost={host} -Dhttps.proxyPort={port}"),
        format!("-Dhttp.proxyHost={host} -Dhttp.proxyPort={port}"),
        "-Dhttp.nonProxyHosts=localhost|127.0.0.1".to_owned(),
    ];
    Variables::default()
        .run(["rm", "-f", &store])
        .run([
            "keytool",
            "-importcert",
            "-noprompt",
            "-alias",
            "kmslab",
            "-file",
            &ca,
            "-keystore",
            &store,
            "-storetype",
            "PKCS12",
            "-storepass",
            STORE_PASSWORD,
        ])
        .set("JAVA_TOOL_OPTIONS", options.join(" "))
        .and(proxy.proxy())
}
