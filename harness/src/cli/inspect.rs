//! `kmslab inspect`: what is stored, which key each value needs, and whether it decrypts.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use kmslab_emulator_api::{AdminClient, KeyTable};

use crate::etcd::client::TlsFiles;
use crate::exit::{environment, say, usage};
use crate::inspect::decryptor::{AwsOptions, Decryptors};
use crate::inspect::report::Summary;
use crate::inspect::snapshot::print_snapshot;
use crate::inspect::source::{self, Batches};
use crate::inspect::stream::{OutputFormat, inspect_all};
use crate::inspect::{Options, pipe};
use crate::lab::{self, Description};

/// etcdctl's variable for its endpoints, comma-separated.
const ENDPOINTS_VARIABLE: &str = "ETCDCTL_ENDPOINTS";

const EXAMPLES: &str = "\
Examples:
  kmslab inspect                                      # what ETCDCTL_ENDPOINTS names, else the lab that is up
  kmslab inspect --lab default --format summary
  kmslab inspect --etcd http://127.0.0.1:2379
  kmslab inspect --etcd unix:///tmp/etcd.sock --prefix /registry/secrets/ --format json
  kmslab inspect --snapshot backup.db --format summary
  kmslab inspect --snapshot /var/lib/etcd             # a data directory, with no etcd running
  kmslab inspect --prefix /registry/secrets/ --fail-on plaintext,stale,damaged,unknown --format summary   # a check for CI
  kmslab inspect --lab default --prefix /registry/secrets/ --format snapshot > secrets.txt   # to compare with a file in a test
  kmslab inspect --snapshot backup.db --decrypt /run/kmsplugin/socket.sock
  kmslab inspect --snapshot backup.db --kms-endpoint http://127.0.0.1:7600 --show-values
  etcdctl get /registry/secrets/default/s1 --print-value-only | kmslab inspect - --key /registry/secrets/default/s1 --dek-seeds seeds.txt

Exit code 1: a value did not decrypt with the given keys, or there is one that --fail-on or --strict names.";

/// Show the format, provider, key_id and DEK source of every value in etcd; decrypt them if keys
/// are given.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct InspectArgs {
    /// `-`: standard input, as `etcdctl get KEY` prints one value, with the key or
    /// --print-value-only, or several with `-w json`
    #[arg(value_name = "-", value_parser = ["-"], conflicts_with_all = ["etcd", "snapshot", "lab"])]
    pub stdin: Option<String>,
    /// Endpoints of etcd; the first that responds is used. Default: ETCDCTL_ENDPOINTS, else the
    /// only running lab
    #[arg(long, value_name = "URL", value_delimiter = ',', conflicts_with_all = ["snapshot", "lab"])]
    pub etcd: Vec<String>,
    /// Read the etcd of a lab started by `kmslab up`
    #[arg(long, value_name = "NAME", conflicts_with = "snapshot")]
    pub lab: Option<String>,
    /// A file of `etcdctl snapshot save`, or a stopped member's data directory
    #[arg(long, value_name = "FILE|DIR")]
    pub snapshot: Option<PathBuf>,
    /// With --snapshot: every revision in the file, not only the live values
    #[arg(long, requires = "snapshot")]
    pub history: bool,
    /// Only keys with this prefix
    #[arg(long, default_value = "/")]
    pub prefix: String,
    /// With `-` and a single value: its etcd key, which the encryption is bound to
    #[arg(long, value_name = "KEY", requires = "stdin")]
    pub key: Option<String>,

    /// CA of an https:// etcd
    #[arg(
        long,
        value_name = "FILE",
        env = "ETCDCTL_CACERT",
        hide_env_values = true
    )]
    pub etcd_cacert: Option<PathBuf>,
    /// Client certificate for etcd
    #[arg(
        long,
        value_name = "FILE",
        env = "ETCDCTL_CERT",
        hide_env_values = true,
        requires = "etcd_key"
    )]
    pub etcd_cert: Option<PathBuf>,
    /// Key of the client certificate
    #[arg(
        long,
        value_name = "FILE",
        env = "ETCDCTL_KEY",
        hide_env_values = true,
        requires = "etcd_cert"
    )]
    pub etcd_key: Option<PathBuf>,

    /// Decrypt with the KMS v2 plugin on this socket; may be repeated
    #[arg(long, value_name = "SOCKET")]
    pub decrypt: Vec<PathBuf>,
    /// Decrypt with AWS KMS or its emulator at this endpoint, with the credentials of the
    /// environment
    #[arg(long, value_name = "URL")]
    pub kms_endpoint: Option<String>,
    /// CA of the KMS endpoint
    #[arg(long, value_name = "FILE", requires = "kms_endpoint")]
    pub kms_ca_file: Option<PathBuf>,
    /// Region of multi-Region keys, whose stored name has none
    #[arg(long, value_name = "REGION", requires = "kms_endpoint")]
    pub region: Option<String>,
    /// Decrypt with plaintext seeds or DEKs from a file, one per line in hex or base64
    #[arg(long, value_name = "FILE")]
    pub dek_seeds: Option<PathBuf>,
    /// Print decrypted values; by default only their type, size and SHA-256
    #[arg(long)]
    pub show_values: bool,

    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Admin port of the emulator: --format snapshot names versions by its keys. Default: the one
    /// of the lab
    #[arg(long, value_name = "URL")]
    pub emulator_admin: Option<String>,
    /// Exit with 1 if a value selected by --prefix is any of these
    #[arg(long, value_name = "WHAT", value_enum, value_delimiter = ',')]
    pub fail_on: Vec<FailOn>,
    /// The same as --fail-on damaged,unknown
    #[arg(long)]
    pub strict: bool,
    /// kube-apiserver's --etcd-prefix. Default: /registry, or else the first part of a key
    #[arg(long, value_name = "PREFIX")]
    pub etcd_prefix: Option<String>,
}

/// Output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One line per value, then the summary
    Table,
    /// One object with `summary` and `values`
    Json,
    /// Counts by key, without single values
    Summary,
    /// Text in which nothing differs between runs, for snapshot tests: names in place of ids and
    /// ciphertexts
    Snapshot,
}

/// What makes an inspection fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Not encrypted
    Plaintext,
    /// Not encrypted with the key of the newest value of its resource
    Stale,
    /// Truncated or corrupt: the API server cannot read it either
    Damaged,
    /// Of an unknown format or provider
    Unknown,
}

impl InspectArgs {
    /// Messages about values that make the inspection fail.
    fn failures(&self, summary: &Summary) -> Vec<String> {
        let fails = |what| {
            self.fail_on.contains(&what)
                || (self.strict && matches!(what, FailOn::Damaged | FailOn::Unknown))
        };
        let found = [
            (FailOn::Plaintext, summary.plaintext, "in plaintext"),
            (FailOn::Stale, summary.stale, "stale"),
            (FailOn::Damaged, summary.damaged, "damaged"),
            (FailOn::Unknown, summary.unknown, "of no known format"),
        ];
        let found = found
            .into_iter()
            .filter(|(what, count, _)| fails(*what) && *count > 0);
        let found = found.map(|(_, count, text)| (count, text));
        let closed = (summary.not_decrypted > 0)
            .then_some((summary.not_decrypted, "not decrypted by the given keys"));
        let values = |count| if count == 1 { "value is" } else { "values are" };
        found
            .chain(closed)
            .map(|(count, text)| format!("{count} {} {text}", values(count)))
            .collect()
    }
}

/// Runs the command and prints to standard output.
pub async fn run(args: InspectArgs) -> anyhow::Result<ExitCode> {
    if args.format == Format::Snapshot && args.history {
        return Err(usage(
            "--format snapshot shows live values: leave out --history",
        ));
    }
    let source = Source::choose(&args)?;
    let batches = read(&args, &source).await?;
    let mut decryptors = decryptors(&args).await?;
    let options = Options {
        show_values: args.show_values,
        etcd_prefix: args.etcd_prefix.clone(),
    };
    let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout());
    let format = match args.format {
        Format::Table => Some(OutputFormat::Table),
        Format::Json => Some(OutputFormat::Json),
        Format::Summary => Some(OutputFormat::Summary),
        Format::Snapshot => None,
    };
    let summary = match format {
        Some(format) => inspect_all(batches, &mut decryptors, &options, format, &mut out).await?,
        None => {
            let table = source.key_table(&args).await?;
            print_snapshot(batches, &mut decryptors, &options, &table, &mut out).await?
        }
    };
    let found = args.failures(&summary);
    for failure in &found {
        say!("kmslab inspect: {failure}");
    }
    Ok(ExitCode::from(u8::from(!found.is_empty())))
}

/// Where the values are.
enum Source {
    Stdin,
    File(PathBuf),
    Etcd(Vec<String>, TlsFiles),
    Lab(Box<Description>),
}

async fn read(args: &InspectArgs, source: &Source) -> anyhow::Result<Batches> {
    match source {
        Source::Stdin => {
            let read = pipe::read(io::stdin().lock(), args.key.as_deref())?;
            let decrypts =
                !args.decrypt.is_empty() || args.kms_endpoint.is_some() || args.dek_seeds.is_some();
            if decrypts && read.iter().any(|stored| stored.key == pipe::NO_KEY) {
                return Err(usage(
                    "a value decrypts only under its own etcd key: add --key /registry/…",
                ));
            }
            Ok(Batches::from_items(read))
        }
        Source::File(file) => source::from_file(file, &args.prefix, args.history).await,
        Source::Etcd(endpoints, tls) => source::from_etcd(endpoints, tls, &args.prefix).await,
        Source::Lab(lab) => {
            let tls = lab.cluster.etcd_tls.clone().unwrap_or_default();
            source::from_etcd(std::slice::from_ref(&lab.cluster.etcd), &tls, &args.prefix).await
        }
    }
}

impl Source {
    fn choose(args: &InspectArgs) -> anyhow::Result<Self> {
        if args.stdin.is_some() {
            return Ok(Self::Stdin);
        }
        if let Some(file) = &args.snapshot {
            return Ok(Self::File(file.clone()));
        }
        if let Some(name) = &args.lab {
            return Ok(Self::Lab(Box::new(Description::find(name)?)));
        }
        let tls = TlsFiles {
            ca: args.etcd_cacert.clone(),
            cert: args.etcd_cert.clone(),
            key: args.etcd_key.clone(),
        };
        if !args.etcd.is_empty() {
            return Ok(Self::Etcd(args.etcd.clone(), tls));
        }
        let variable = std::env::var(ENDPOINTS_VARIABLE).unwrap_or_default();
        let endpoints: Vec<String> = variable
            .split(',')
            .map(str::trim)
            .filter(|url| !url.is_empty())
            .map(str::to_owned)
            .collect();
        if !endpoints.is_empty() {
            return Ok(Self::Etcd(endpoints, tls));
        }
        let Some((name, lab)) = lab::only()? else {
            return Err(usage(format!(
                "nothing to inspect: give --etcd URL, --snapshot FILE, or - for one value on standard input, set {ENDPOINTS_VARIABLE}, or \
                 start a lab with `kmslab up`"
            )));
        };
        say!("reading the etcd of the lab {name}");
        Ok(Self::Lab(Box::new(lab)))
    }

    /// The keys of the emulator; none if no emulator is known.
    async fn key_table(&self, args: &InspectArgs) -> anyhow::Result<KeyTable> {
        let url = match (&args.emulator_admin, self) {
            (Some(url), _) => url.trim_end_matches('/'),
            (None, Self::Lab(lab)) => &lab.kms.admin,
            (None, Self::Stdin | Self::File(_) | Self::Etcd(..)) => return Ok(KeyTable::default()),
        };
        let keys = AdminClient::new(url)?.keys().await;
        keys.map_err(|error| environment(format!("{error}; correct --emulator-admin")))
    }
}

async fn decryptors(args: &InspectArgs) -> anyhow::Result<Decryptors> {
    let mut decryptors = Decryptors::default();
    for socket in &args.decrypt {
        decryptors.add_plugin(socket).await?;
    }
    if let Some(url) = &args.kms_endpoint {
        decryptors.add_aws(AwsOptions {
            endpoint_url: Some(url.clone()),
            region: args.region.clone(),
            ca_file: args.kms_ca_file.clone(),
            credentials: None,
        });
    }
    if let Some(file) = &args.dek_seeds {
        decryptors.add_seeds(file)?;
    }
    Ok(decryptors)
}
