//! Output of the command once the emulator is ready: addresses, and variables for the vendors'
//! tools.

use crate::well_known::{
    AWS_ACCESS_KEY, AWS_REGION, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_VAULT,
};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use kmslab_emulator_api::Endpoints;
use tempfile::TempDir;

use crate::Emulator;
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
    pub(crate) fn create(emulator: &Emulator) -> io::Result<Self> {
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
        let key = emulator.gcp_owner();
        let text = key.json(&format!("http://{}/token", emulator.http_addr()));
        private_file::write_volatile(&path, text.as_bytes(), 0o600)?;
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
    emulator: &Emulator,
    gcp_key_file: Option<&GcpKeyFile>,
    format: OutputFormat,
) {
    let endpoints = Endpoints {
        gcp_key_file: gcp_key_file.map(|file| file.path.clone()),
        ..emulator.endpoints()
    };
    let text = match format {
        OutputFormat::Json => serde_json::to_string(&endpoints).unwrap_or_default(),
        OutputFormat::Human => shell_lines(&endpoints).join("\n"),
    };
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn shell_lines(endpoints: &Endpoints) -> Vec<String> {
    let http = &endpoints.http;
    let mut lines = vec![format!("# AWS KMS at {http}")];
    if let (Some(https), Some(ca)) = (&endpoints.https, &endpoints.ca) {
        lines.push(format!("#        and {https}, CA {}", ca.display()));
    }
    lines.push("# the lab clock, reset, keys, metrics".into());
    lines.extend(
        endpoints
            .admin
            .iter()
            .map(|admin| format!("export KMSLAB_ADMIN={admin}")),
    );
    lines.push(UNSET_AWS.into());
    lines.push(format!("export AWS_ENDPOINT_URL_KMS={http}"));
    // The SDKs read the first, the AWS CLI the second.
    lines.push(format!("export AWS_REGION={AWS_REGION}"));
    lines.push(format!("export AWS_DEFAULT_REGION={AWS_REGION}"));
    lines.push(format!("export AWS_ACCESS_KEY_ID={AWS_ACCESS_KEY}"));
    lines.push(format!("export AWS_SECRET_ACCESS_KEY={AWS_ACCESS_KEY}"));
    lines.push(format!(
        "# Google Cloud KMS at {http} (Google's clients take the endpoint as an option)"
    ));
    lines.push(UNSET_GOOGLE.into());
    // Otherwise a login by `gcloud auth application-default login` takes precedence over the
    // metadata server and is sent to Google.
    lines.extend(
        endpoints
            .gcp_key_file
            .iter()
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
    if let (Some(proxy), Some(ca)) = (&endpoints.proxy, &endpoints.ca) {
        lines.extend(azure_lines(proxy, ca, &endpoints.azure_tenant));
    }
    lines
}

fn azure_lines(proxy: &str, ca: &Path, azure_tenant: &str) -> Vec<String> {
    let ca = ca.display();
    vec![
            format!(
                "# Azure Key Vault at https://{AZURE_VAULT}.vault.azure.net, by the vendor's own names through a proxy:"
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
            format!("export AZURE_TENANT_ID={azure_tenant}"),
            format!("export AZURE_CLIENT_ID={AZURE_CLIENT_ID}"),
            format!("export AZURE_CLIENT_SECRET={AZURE_CLIENT_SECRET}"),
        ]
}
