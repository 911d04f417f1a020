//! The command line: the flags of the plugins in the vendors' guides, and those of kmslab.
#![allow(rustdoc::bare_urls, reason = "these comments are the help texts")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use jiff::SignedDuration;

use crate::kek::azure::{AuthMethod, Vault};
use crate::kek::gcp::CredentialsSource;
use crate::socket::{parse_group, parse_mode};

/// The cloud that holds the key.
#[derive(Debug, Clone, Subcommand)]
pub enum PluginArgs {
    /// Encrypt with a key in AWS KMS.
    Aws(AwsArgs),
    /// Encrypt with a key in Azure Key Vault.
    Azure(AzureArgs),
    /// Encrypt with a key in Google Cloud KMS.
    Gcp(GcpArgs),
}

impl PluginArgs {
    /// The flags that all clouds share.
    pub fn common(&self) -> &CommonArgs {
        match self {
            Self::Aws(args) => &args.common,
            Self::Azure(args) => &args.common,
            Self::Gcp(args) => &args.common,
        }
    }
}

/// `kmslab plugin aws`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  On a control-plane node, credentials from the instance:
    kmslab plugin aws --key=arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab \\
      --region=us-east-1 --listen=/var/run/kmsplugin/socket.sock
  Against the emulator:
    AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test \\
    kmslab plugin aws --key=alias/kmslab --region=us-east-1 --endpoint-url=http://127.0.0.1:7600 --listen=/tmp/kms.sock

Exit codes: 0 ended by SIGTERM or SIGINT, 2 wrong usage, 3 something on this machine is missing or in use, 1 anything else.
It does not exit because of an unusable key: the plugin serves, Status reports the cause, and it recovers by itself.")]
pub struct AwsArgs {
    /// Key: an ARN, a key id, or alias/NAME. An ARN also sets the region.
    #[arg(long, value_name = "ARN")]
    pub key: String,
    /// Region of the key. Default: that of the ARN, else AWS_REGION.
    #[arg(long)]
    pub region: Option<String>,
    /// URL of KMS, instead of the region's endpoint.
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL_KMS")]
    pub endpoint_url: Option<String>,
    /// CA of the endpoint's certificate, PEM. Default: the system's CAs.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The flags that all clouds share.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `kmslab plugin azure`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  On a control-plane node, as an application:
    AZURE_TENANT_ID=… AZURE_CLIENT_ID=… AZURE_CLIENT_SECRET=… \\
    kmslab plugin azure --keyvault-name=k8s-kms-vault --key-name=k8s-secrets --listen=/var/run/kmsplugin/socket.sock
  With the machine's managed identity:
    kmslab plugin azure --keyvault-name=k8s-kms-vault --key-name=k8s-secrets --auth=managed-identity --listen=/var/run/kmsplugin/socket.sock
  Against the emulator, which prints the variables and its CA:
    kmslab plugin azure --keyvault-name=kmslab --key-name=k8s-secrets --proxy=http://127.0.0.1:7680 --ca-file=ca.pem --listen=/tmp/kms.sock

The identity needs the key permissions encrypt and decrypt, or wrapKey and unwrapKey, and no other. The key is RSA; without
--key-version its newest version encrypts, so rotations are followed, and older versions still decrypt.

Exit codes: 0 ended by SIGTERM or SIGINT, 2 wrong usage, 3 something on this machine is missing or in use, 1 anything else.
It does not exit because of an unusable key: the plugin serves, Status reports the cause, and it recovers by itself.")]
pub struct AzureArgs {
    /// Name of the vault, as in https://NAME.vault.azure.net
    #[arg(long, value_name = "NAME", required_unless_present = "vault_url")]
    pub keyvault_name: Option<String>,
    /// URL of the vault, for clouds other than Azure's public one
    #[arg(long, value_name = "URL", conflicts_with = "keyvault_name")]
    pub vault_url: Option<String>,
    /// Name of the key
    #[arg(long, value_name = "NAME")]
    pub key_name: String,
    /// Encrypt with this version only and do not follow rotations
    #[arg(long, value_name = "VERSION")]
    pub key_version: Option<String>,
    /// How to log in
    #[arg(long, value_enum, default_value_t = AuthMethod::Auto)]
    pub auth: AuthMethod,
    /// An azure.json as on Kubernetes nodes, /etc/kubernetes/azure.json: its cloud and credentials
    /// replace those of the environment
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "auth",
        visible_alias = "config-file-path"
    )]
    pub config_file: Option<PathBuf>,
    /// CAs of the certificates of vault and login host, PEM. Default: the system's CAs.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Proxy for all requests. Default: HTTPS_PROXY and related variables.
    #[arg(long, value_name = "URL")]
    pub proxy: Option<String>,
    /// The flags that all clouds share.
    #[command(flatten)]
    pub common: CommonArgs,
}

impl AzureArgs {
    /// The vault that the flags name.
    pub fn vault(&self) -> Vault {
        match (&self.vault_url, &self.keyvault_name) {
            (Some(url), _) => Vault::Url(url.clone()),
            (None, name) => Vault::Name(name.clone().unwrap_or_default()),
        }
    }
}

/// `kmslab plugin gcp`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  On a control-plane node, with a service account's key file:
    GOOGLE_APPLICATION_CREDENTIALS=/etc/kubernetes/gcp-sa.json \\
    kmslab plugin gcp --key-uri=projects/P/locations/us-east1/keyRings/k8s-secrets/cryptoKeys/k8s-secrets-key \\
      --listen=/var/run/kmsplugin/socket.sock
  On Compute Engine, with the machine's own service account: the same without the variable, and with --auth=metadata-server.
  Against the emulator, which prints the variables:
    GCE_METADATA_HOST=127.0.0.1:7600 \\
    kmslab plugin gcp --key-uri=projects/kmslab/locations/global/keyRings/k8s-secrets/cryptoKeys/k8s-secrets-key --endpoint=http://127.0.0.1:7600 --listen=/tmp/kms.sock

The service account needs roles/cloudkms.cryptoKeyEncrypterDecrypter on the key, and no other. The key's purpose is encryption; its
primary version encrypts, so rotations are followed, and older versions still decrypt.
Google's SDK takes CAs from the system, or from the file in SSL_CERT_FILE.

Exit codes: 0 ended by SIGTERM or SIGINT, 2 wrong usage, 3 something on this machine is missing or in use, 1 anything else.
It does not exit because of an unusable key: the plugin serves, Status reports the cause, and it recovers by itself.")]
pub struct GcpArgs {
    /// Key: projects/P/locations/L/keyRings/R/cryptoKeys/K
    #[arg(long, value_name = "NAME")]
    pub key_uri: String,
    /// URL of Cloud KMS. Default: https://cloudkms.googleapis.com
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Source of access tokens
    #[arg(long, value_enum, default_value_t = CredentialsSource::Auto)]
    pub auth: CredentialsSource,
    /// Service account key file or workload identity federation file, instead of
    /// GOOGLE_APPLICATION_CREDENTIALS
    #[arg(long, value_name = "FILE", conflicts_with = "auth")]
    pub credentials_file: Option<PathBuf>,
    /// The flags that all clouds share.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Flags that do not depend on the cloud.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// Unix socket, /path or unix:///path; its directory must exist.
    #[arg(long, value_name = "PATH")]
    pub listen: String,
    /// Mode of the socket, octal. Default: 0600, or 0660 with --socket-group. Whoever can connect
    /// can decrypt every secret.
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    pub socket_mode: Option<u32>,
    /// Group of the socket, a name or a number, for an API server that runs as another user.
    #[arg(long, value_name = "GROUP", value_parser = parse_group)]
    pub socket_group: Option<u32>,
    /// Number that is part of every key_id. Increase it when an alias returns to a key that it
    /// named before.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub generation: u32,
    /// Interval between probes of the key; a rotation is noticed within it.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub probe_interval: Duration,
    /// Timeout of a call to the cloud, including retries. kube-apiserver waits 3s for all of them.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub call_timeout: Duration,
    /// How long Status stays healthy after the last successful use of the key while the cloud does
    /// not answer. At least twice the probe interval.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub grace: Duration,
    /// How long running calls may take after SIGTERM.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub drain: Duration,
    /// Address for /livez, /readyz and /metrics, such as 127.0.0.1:8080. Disabled by default.
    #[arg(long, value_name = "ADDR")]
    pub health_listen: Option<SocketAddr>,
    /// Bind that address with SO_REUSEPORT, so that whoever starts the plugin can reserve the port
    /// for it, also over restarts; the flag of kube-apiserver.
    #[arg(long, requires = "health_listen")]
    pub permit_port_sharing: bool,
    /// Format of log lines on stderr. RUST_LOG sets the level, `info` by default.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub log_format: LogFormat,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for people.
    Human,
    /// One JSON object per line.
    Json,
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time such as 500ms, 10s or 2m");
    let span: SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(span)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        plugin: PluginArgs,
    }

    #[test]
    fn aws_guide_flags_suffice() {
        let arn = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        let cli = Cli::try_parse_from([
            "x",
            "aws",
            &format!("--key={arn}"),
            "--region=us-east-1",
            "--listen=/var/run/kmsplugin/socket.sock",
        ]);
        let PluginArgs::Aws(args) = cli.unwrap().plugin else {
            panic!("not aws")
        };
        assert_eq!(
            (args.key.as_str(), args.region.as_deref()),
            (arn, Some("us-east-1"))
        );
        assert_eq!(args.common.probe_interval, Duration::from_secs(10));
        assert_eq!(
            (args.common.grace, args.common.health_listen),
            (Duration::from_secs(60), None)
        );
    }

    #[test]
    fn azure_guide_flags_suffice() {
        let socket = "--listen=/var/run/kmsplugin/socket.sock";
        let cli = Cli::try_parse_from([
            "x",
            "azure",
            "--keyvault-name=k8s-kms-vault",
            "--key-name=k8s-secrets",
            socket,
        ]);
        let PluginArgs::Azure(args) = cli.unwrap().plugin else {
            panic!("not azure")
        };
        assert_eq!(
            (args.keyvault_name.as_deref(), args.key_name.as_str()),
            (Some("k8s-kms-vault"), "k8s-secrets")
        );
        assert_eq!((args.key_version, args.auth), (None, AuthMethod::Auto));
        assert!(Cli::try_parse_from(["x", "azure", "--key-name=k8s-secrets", socket]).is_err());
    }

    #[test]
    fn google_guide_flags_suffice() {
        let key = "projects/p/locations/us-east1/keyRings/k8s-secrets/cryptoKeys/k8s-secrets-key";
        let socket = "--listen=/var/run/kmsplugin/socket.sock";
        let cli = Cli::try_parse_from(["x", "gcp", &format!("--key-uri={key}"), socket]);
        let PluginArgs::Gcp(args) = cli.unwrap().plugin else {
            panic!("not gcp")
        };
        assert_eq!((args.key_uri.as_str(), args.endpoint), (key, None));
        assert!(Cli::try_parse_from(["x", "gcp", socket]).is_err());
    }

    #[test]
    fn durations_require_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "5", "0s", "-1s", "soon"] {
            assert!(
                duration(wrong)
                    .unwrap_err()
                    .contains("is not a time such as"),
                "{wrong}"
            );
        }
    }
}
