//! Output of the command once the emulator is ready: addresses, and variables for the vendors'
//! tools.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use kmslab_emulator_api::Endpoints;
use tempfile::TempDir;

use crate::Emulator;
use crate::private_file;
use crate::variables::{
    AwsVariables, ProxyVariables, Variables, azure_login, gcloud_endpoints, google_login,
};
use crate::well_known::{AWS_REGION, AZURE_VAULT};

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
    pub(crate) path: PathBuf,
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
pub(crate) fn print_addresses(emulator: &Emulator, format: OutputFormat) {
    let endpoints = emulator.endpoints();
    let text = match format {
        OutputFormat::Json => serde_json::to_string(&endpoints).unwrap_or_default() + "\n",
        OutputFormat::Human => variables(&endpoints).to_string(),
    };
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Variables for all programs, with those as comments that would change more than the clouds.
fn variables(endpoints: &Endpoints) -> Variables {
    let http = &endpoints.http;
    let mut variables = Variables::default().comment(format!("AWS KMS at {http}"));
    if let (Some(https), Some(ca)) = (&endpoints.https, &endpoints.ca) {
        variables = variables.comment(format!("       and {https}, CA {}", ca.display()));
    }
    variables = variables.comment("the lab clock, reset, keys, metrics");
    if let Some(admin) = &endpoints.admin {
        variables = variables.set("KMSLAB_ADMIN", admin);
    }
    let aws = AwsVariables {
        endpoint: http,
        region: AWS_REGION,
        log_in: true,
    };
    variables = variables
        .and(aws.variables())
        .comment(format!(
            "Google Cloud KMS at {http} (Google's clients take the endpoint as an option)"
        ))
        .and(google_login(http, endpoints.gcp_key_file.as_deref()))
        .and(gcloud_endpoints(http));
    if let (Some(proxy), Some(ca)) = (&endpoints.proxy, &endpoints.ca) {
        let by_proxy = ProxyVariables { proxy, ca }.variables();
        variables = variables
            .comment(format!(
                "Azure Key Vault at https://{AZURE_VAULT}.vault.azure.net, by the vendor's own names through a proxy:"
            ))
            .comment("(in a shell of its own: every other name is refused there)")
            .and(by_proxy.commented_out())
            .and(azure_login(&endpoints.azure_tenant));
    }
    variables
}
