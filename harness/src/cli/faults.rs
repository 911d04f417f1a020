//! `kmslab faults`: what a running emulator answers as on a cloud's bad day.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use kmslab_emulator_api::{Cloud, Effect, Fault, FaultFile, FaultTable, Moment};

use super::emulator_target::{EmulatorTarget, refused};
use crate::exit::usage;

const EXAMPLES: &str = "\
Effects:
  latency=100ms, latency=100ms..2s      answer later, by a fixed or random time
  throttle, throttle=5s                 the vendor's throttling error, with Retry-After if given
  error=CODE                            an error of the vendor: KMSInternalException, ServiceUnavailable, UNAVAILABLE …
  hang, hang=2s                         no response until the client leaves, or the connection ends after that time
  reset, reset=middle                   a TCP reset before the response or in the middle of it
  wrong=bit, wrong=version, wrong=checksum   a successful response that is wrong
  permission-revoked, key-disabled, key-gone, token-expired

Examples:
  kmslab faults add throttle --share 0.5                     # every second request, at random
  kmslab faults add hang=2s --cloud aws --operation Encrypt --count 3
  kmslab faults add error=UNAVAILABLE --cloud gcp --every 10
  kmslab faults add key-disabled --key alias/k8s --caller AKIAEXAMPLE --until 90s   # 90 s of the lab clock
  kmslab faults add --file faults.yaml
  kmslab faults list
  kmslab faults clear throttle-1

Without --lab and --emulator-admin, the only lab that is up is used, else the emulator on 127.0.0.1:7690.";

/// Flags of `kmslab faults`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct FaultsArgs {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    target: EmulatorTarget,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add a fault, or those of a file
    #[command(after_help = EXAMPLES)]
    Add(Box<AddArgs>),
    /// Show the faults with the number of requests that they selected and hit
    List {
        /// Output format
        #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
        format: OutputFormat,
    },
    /// Remove the faults of these names, or all
    Clear {
        /// Names, as `list` shows them
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
}

/// Output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// A table
    Human,
    /// One object with `seed` and `faults`
    Json,
}

#[derive(Debug, Args)]
struct AddArgs {
    /// What happens; see below
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    effect: Option<Effect>,
    /// YAML or JSON file with `faults`, each with the fields of these flags
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Name; one is chosen if there is none
    #[arg(long, conflicts_with = "file")]
    name: Option<String>,
    /// Only requests to this cloud: aws, azure or gcp
    #[arg(long, conflicts_with = "file")]
    cloud: Option<Cloud>,
    /// Only this operation, as in the request counts (Encrypt, KeyWrap, Decrypt …); may be repeated
    #[arg(long = "operation", value_name = "NAME", conflicts_with = "file")]
    operations: Vec<String>,
    /// Only requests that use this key: id, ARN, alias, VAULT/NAME, URL or resource name
    #[arg(long, conflicts_with = "file")]
    key: Option<String>,
    /// Only requests that use this version of a key
    #[arg(long, conflicts_with = "file")]
    key_version: Option<String>,
    /// Only requests of this access key id, application or service account
    #[arg(long, conflicts_with = "file")]
    caller: Option<String>,
    /// Leave this many selected requests alone first
    #[arg(long, value_name = "N", conflicts_with = "file")]
    skip: Option<u64>,
    /// Hit every nth selected request
    #[arg(long, value_name = "N", conflicts_with = "file")]
    every: Option<u64>,
    /// Hit the requests beyond this number per second
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "file")]
    rate: Option<f64>,
    /// Hit with this probability, such as 0.5
    #[arg(long, conflicts_with = "file")]
    share: Option<f64>,
    /// Hit at most this many requests
    #[arg(long, value_name = "N", conflicts_with = "file")]
    count: Option<u64>,
    /// Begin at this time of the lab clock, or this long after now: 2027-01-01T00:00:00Z, 90s
    #[arg(long, value_name = "TIME", conflicts_with = "file")]
    from: Option<Moment>,
    /// End at this time of the lab clock, or this long after now
    #[arg(long, value_name = "TIME", conflicts_with = "file")]
    until: Option<Moment>,
}

impl AddArgs {
    fn faults(self) -> anyhow::Result<FaultFile> {
        if let Some(path) = &self.file {
            return kmslab_emulator::read_faults(path).map_err(|error| usage(error.to_string()));
        }
        let effect = self.effect.ok_or_else(|| usage("there is no effect"))?;
        let fault = Fault {
            name: self.name,
            effect,
            cloud: self.cloud,
            operations: self.operations,
            key: self.key,
            version: self.key_version,
            caller: self.caller,
            skip: self.skip,
            every: self.every,
            rate: self.rate,
            share: self.share,
            count: self.count,
            from: self.from,
            until: self.until,
        };
        Ok(FaultFile {
            seed: None,
            faults: vec![fault],
        })
    }
}

/// Runs `kmslab faults`.
pub async fn run(args: FaultsArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    match args.verb {
        Verb::Add(add) => {
            let names = client.add_faults(&add.faults()?).await.map_err(refused)?;
            super::print(&format!("added {}\n", names.join(", ")))?;
        }
        Verb::List { format } => {
            let table = client.faults().await.map_err(refused)?;
            super::print(&match format {
                OutputFormat::Human => human(&table),
                OutputFormat::Json => format!("{}\n", serde_json::to_string_pretty(&table)?),
            })?;
        }
        Verb::Clear { names } if names.is_empty() => {
            let removed = client.clear_faults().await.map_err(refused)?;
            super::print(&format!("removed {removed}\n"))?;
        }
        Verb::Clear { names } => {
            for name in names {
                client.remove_fault(&name).await.map_err(refused)?;
                super::print(&format!("removed {name}\n"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn human(table: &FaultTable) -> String {
    if table.faults.is_empty() {
        return "no faults\n".to_owned();
    }
    let mut text = format!(
        "{:<24} {:>9} {:>9}  {}\n",
        "NAME", "SELECTED", "HIT", "FAULT"
    );
    for status in &table.faults {
        let fault = status.fault.to_string();
        text += &format!(
            "{:<24} {:>9} {:>9}  {}\n",
            crate::printable::escape_line(status.name()),
            status.selected,
            status.hits,
            crate::printable::escape_line(&fault),
        );
    }
    text + &format!("seed of random decisions: {}\n", table.seed)
}
