//! Output of the command once the emulator is ready: addresses, and variables for the vendors'
//! tools.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::json;
use tempfile::TempDir;

use crate::RunningEmulator;
use crate::aws::auth::{DEFAULT_ACCESS_KEY, DEFAULT_REGION};
use crate::azure::DEFAULT_VAULT;
use crate::azure::identity::{DEFAULT_CLIENT_ID, DEFAULT_SECRET};
use crate::private_file;
use crate::variables::{UNSET_AWS, UNSET_AZURE, UNSET_GOOGLE};

/// Format of the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Shell lines: comments, `unset`s and `export`s
    Human,
    /// One JSON line: {"http","https","proxy","admin","ca","azureTenant","gcpKeyFile"}
    Json,
}

/// A key file of Google's well-known account, removed on drop. It is written next to the CA if that
/// is kept: should a lab's emulator be killed, the file goes with the lab's directory.
#[derive(Debug)]
pub(crate) struct GcpKeyFile {
    path: PathBuf,
    _temporary: Option<TempDir>,
}

impl GcpKeyFile {
    /// Generates the key and writes the file. Its token endpoint is the emulator's.
    pub(crate) fn create(emulator: &RunningEmulator) -> io::Result<Self> {
        let beside_the_ca = emulator
            .ca_path()
            .and_then(|ca| ca.parent().map(Path::to_owned));
        let (dir, temporary) = match beside_the_ca {
            Some(dir) => (dir, None),
            None => {
                let temporary = TempDir::with_prefix("kmslab-emulator-")?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        // Several emulators may share a CA directory.
        let path = dir.join(format!("gcp-key-{}.json", emulator.http_addr().port()));
        let key = emulator
            .gcp_owner()
            .ok_or_else(|| io::Error::other("the system gave no randomness"))?;
        let text = key.json(&format!("http://{}/token", emulator.http_addr()));
        private_file::write(&path, text.as_bytes(), 0o600)?;
        Ok(Self {
            path,
            _temporary: temporary,
        })
    }
}

impl Drop for GcpKeyFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), "cannot remove the key file: {error}");
        }
    }
}

/// Prints the addresses. A closed stdout does not stop the emulator.
pub(crate) fn print_addresses(
    emulator: &RunningEmulator,
    gcp_key_file: Option<&GcpKeyFile>,
    format: OutputFormat,
) {
    let gcp_key_file = gcp_key_file.map(|file| file.path.as_path());
    let text = match format {
        OutputFormat::Json => Addresses::of(emulator).json(gcp_key_file),
        OutputFormat::Human => Addresses::of(emulator).shell(gcp_key_file),
    };
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

struct Addresses {
    http: String,
    https: Option<String>,
    proxy: Option<String>,
    admin: Option<String>,
    ca: Option<PathBuf>,
    azure_tenant: String,
}

impl Addresses {
    fn of(emulator: &RunningEmulator) -> Self {
        let https = emulator
            .https_addr()
            .map(|address| match address.ip().is_loopback() {
                true => format!("https://localhost:{}", address.port()),
                false => format!("https://{address}"),
            });
        let url = |address| format!("http://{address}");
        Self {
            http: url(emulator.http_addr()),
            https,
            proxy: emulator.proxy_addr().map(url),
            admin: emulator.admin_addr().map(url),
            ca: emulator.ca_path(),
            azure_tenant: emulator.azure_tenant(),
        }
    }

    fn json(&self, gcp_key_file: Option<&Path>) -> String {
        let Self {
            http,
            https,
            proxy,
            admin,
            ca,
            azure_tenant,
        } = self;
        json!({
            "http": http, "https": https, "proxy": proxy, "admin": admin, "ca": ca, "azureTenant": azure_tenant,
            "gcpKeyFile": gcp_key_file,
        })
        .to_string()
    }

    fn shell(&self, gcp_key_file: Option<&Path>) -> String {
        let http = &self.http;
        let mut lines = vec![format!("# AWS KMS at {http}")];
        if let (Some(https), Some(ca)) = (&self.https, &self.ca) {
            lines.push(format!("#        and {https}, CA {}", ca.display()));
        }
        lines.push("# the lab clock, reset, keys, metrics".into());
        lines.extend(
            self.admin
                .iter()
                .map(|admin| format!("export KMSLAB_ADMIN={admin}")),
        );
        lines.push(UNSET_AWS.into());
        lines.push(format!("export AWS_ENDPOINT_URL_KMS={http}"));
        // The SDKs read the first, the AWS CLI the second.
        lines.push(format!("export AWS_REGION={DEFAULT_REGION}"));
        lines.push(format!("export AWS_DEFAULT_REGION={DEFAULT_REGION}"));
        lines.push(format!("export AWS_ACCESS_KEY_ID={DEFAULT_ACCESS_KEY}"));
        lines.push(format!("export AWS_SECRET_ACCESS_KEY={DEFAULT_ACCESS_KEY}"));
        lines.push(format!(
            "# Google Cloud KMS at {http} (Google's clients take the endpoint as an option)"
        ));
        lines.push(UNSET_GOOGLE.into());
        // Otherwise a login by `gcloud auth application-default login` takes precedence over the
        // metadata server and is sent to Google.
        lines.extend(
            gcp_key_file
                .map(|file| format!("export GOOGLE_APPLICATION_CREDENTIALS={}", file.display())),
        );
        let host = http.trim_start_matches("http://");
        // The second is what Python clients ask first.
        lines.push(format!("export GCE_METADATA_HOST={host}"));
        lines.push(format!("export GCE_METADATA_IP={host}"));
        lines.push(format!(
            "export CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS={http}/ # gcloud"
        ));
        lines.push(format!(
            "export CLOUDSDK_API_ENDPOINT_OVERRIDES_IAM={http}/"
        ));
        if let (Some(proxy), Some(ca)) = (&self.proxy, &self.ca) {
            lines.extend(self.azure_lines(proxy, ca));
        }
        lines.join("\n")
    }

    fn azure_lines(&self, proxy: &str, ca: &Path) -> Vec<String> {
        let ca = ca.display();
        vec![
            format!(
                "# Azure Key Vault at https://{DEFAULT_VAULT}.vault.azure.net, by the vendor's own names through a proxy:"
            ),
            "# (in a shell of its own: every other name is refused there; HTTP_PROXY is for the managed identity)"
                .into(),
            format!("# export HTTPS_PROXY={proxy} HTTP_PROXY={proxy} NO_PROXY=localhost,127.0.0.1"),
            format!("# export REQUESTS_CA_BUNDLE={ca} # Azure CLI, Python"),
            format!("# export SSL_CERT_FILE={ca} CURL_CA_BUNDLE={ca} # Go, OpenSSL; curl"),
            format!("# export NODE_EXTRA_CA_CERTS={ca} # Node.js"),
            format!("# export GRPC_DEFAULT_SSL_ROOTS_FILE_PATH={ca} # gRPC in C, as in Google's Python client"),
            format!("# export grpc_proxy={proxy} no_grpc_proxy=localhost,127.0.0.1"),
            UNSET_AZURE.into(),
            format!("export AZURE_TENANT_ID={}", self.azure_tenant),
            format!("export AZURE_CLIENT_ID={DEFAULT_CLIENT_ID}"),
            format!("export AZURE_CLIENT_SECRET={DEFAULT_SECRET}"),
        ]
    }
}
