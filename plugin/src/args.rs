//! The command line: flags of the guide's plugins, and ours.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use jiff::SignedDuration;

use crate::kek::azure::{AuthMethod, Vault};
use crate::kek::gcp::CredentialsSource;
use crate::socket::{parse_group, parse_mode};

/// Which cloud holds the key.
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
    /// What every cloud has.
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

Exit codes: 0 ended by SIGTERM or SIGINT, 2 wrong usage, 3 something on this machine is missing or taken, 1 anything else.
A key that cannot be used is no reason to exit: the plugin serves, Status says why, and it heals by itself.")]
pub struct AwsArgs {
    /// The key: its ARN, its id, or alias/NAME. An ARN also says the region.
    #[arg(long, value_name = "ARN")]
    pub key: String,
    /// The key's region. Default: the ARN's, else AWS_REGION.
    #[arg(long)]
    pub region: Option<String>,
    /// Where KMS answers, if not at the region's own endpoint.
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL_KMS")]
    pub endpoint_url: Option<String>,
    /// The CA of the endpoint's certificate, PEM. Default: the system's.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// What every cloud has.
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
--key-version its newest version encrypts, so that a rotation is followed, and older ones go on decrypting.

Exit codes: 0 ended by SIGTERM or SIGINT, 2 wrong usage, 3 something on this machine is missing or taken, 1 anything else.
A key that cannot be used is no reason to exit: the plugin serves, Status says why, and it heals by itself.")]
pub struct AzureArgs {
    /// The vault's name, of https://NAME.vault.azure.net
    #[arg(long, value_name = "NAME", required_unless_present = "vault_url")]
    pub keyvault_name: Option<String>,
    /// The vault's whole URL, where it is in another cloud than Azure's public one
    #[arg(long, value_name = "URL", conflicts_with = "keyvault_name")]
    pub vault_url: Option<String>,
    /// The key's name
    #[arg(long, value_name = "NAME")]
    pub key_name: String,
    /// Encrypt with this version only, and follow no rotation
    #[arg(long, value_name = "VERSION")]
    pub key_version: Option<String>,
    /// How to log in
    #[arg(long, value_enum, default_value_t = AuthMethod::Auto)]
    pub auth: AuthMethod,
    /// An azure.json as Kubernetes' nodes have it, /etc/kubernetes/azure.json: its cloud and its
    /// credentials instead of the environment's
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "auth",
        visible_alias = "config-file-path"
    )]
    pub config_file: Option<PathBuf>,
    /// The CAs of the vault's and the login's certificates, PEM. Default: the system's.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// A proxy for all requests. Default: what HTTPS_PROXY and its like say.
    #[arg(long, value_name = "URL")]
    pub proxy: Option<String>,
    /// What every cloud has.
    #[command(flatten)]
    pub common: CommonArgs,
}

impl AzureArgs {
    /// The vault, by what was given.
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
primary version encrypts, so that a rotation is followed, and older ones go on decrypting.
Google's SDK takes CAs from the system, or from the file in SSL_CERT_FILE.

Exit codes: 0 ended by SIGTERM or SIGINT, 2 wrong usage, 3 something on this machine is missing or taken, 1 anything else.
A key that cannot be used is no reason to exit: the plugin serves, Status says why, and it heals by itself.")]
pub struct GcpArgs {
    /// The key: projects/P/locations/L/keyRings/R/cryptoKeys/K
    #[arg(long, value_name = "NAME")]
    pub key_uri: String,
    /// Where Cloud KMS answers. Default: https://cloudkms.googleapis.com
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Where access tokens come from
    #[arg(long, value_enum, default_value_t = CredentialsSource::Auto)]
    pub auth: CredentialsSource,
    /// A service account's key file, or a file of workload identity federation, instead of
    /// GOOGLE_APPLICATION_CREDENTIALS
    #[arg(long, value_name = "FILE", conflicts_with = "auth")]
    pub credentials_file: Option<PathBuf>,
    /// What every cloud has.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Flags that have nothing to do with the cloud.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// The unix socket, /path or unix:///path; its directory must be there.
    #[arg(long, value_name = "PATH")]
    pub listen: String,
    /// The socket's mode, octal. Default: 0600, and 0660 with --socket-group. Who may connect can
    /// have every secret decrypted.
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    pub socket_mode: Option<u32>,
    /// The socket's group, a name or a number, for an API server that runs as another user.
    #[arg(long, value_name = "GROUP", value_parser = parse_group)]
    pub socket_group: Option<u32>,
    /// A number that goes into every key_id. Raise it when an alias goes back to a key that it
    /// named before.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub generation: u32,
    /// Time between two probes of the key: a rotation is noticed within it.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub probe_interval: Duration,
    /// Deadline of one call to the cloud, its retries included. kube-apiserver waits 3s for all of
    /// them.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub call_timeout: Duration,
    /// How long Status stays ok after the last proof that the key is usable, while the cloud does
    /// not answer. At least twice the probe interval.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub grace: Duration,
    /// How long calls in flight have to end after SIGTERM.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub drain: Duration,
    /// Serve /livez, /readyz and /metrics there, such as 127.0.0.1:8080. Off unless given.
    #[arg(long, value_name = "ADDR")]
    pub health_listen: Option<SocketAddr>,
    /// How log lines on stderr look. What is logged: RUST_LOG, `info` unless set.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
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
    fn the_guides_flags_are_enough() {
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
    fn the_guides_flags_are_enough_for_azure_too() {
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
    fn the_guides_flags_are_enough_for_google_too() {
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
    fn times_have_a_unit() {
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
