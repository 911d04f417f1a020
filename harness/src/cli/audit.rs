//! `kmslab audit`: who used which key of a running emulator.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use kmslab_emulator::AuditFormat;
use kmslab_emulator_api::{AdminClient, AuditEvent, AuditQuery, Cloud, Followed};

use super::emulator_target::{EmulatorTarget, refused};
use crate::exit::say;
use crate::printable::escape_line;

const EXAMPLES: &str = "\
Examples:
  kmslab audit                                    # the requests that the emulator remembers
  kmslab audit --follow                           # and those that come, until Ctrl-C
  kmslab audit --key alice-key --operation Decrypt
  kmslab audit --caller AKIAEXAMPLE --code AccessDeniedException
  kmslab audit --format cloudtrail                # as CloudTrail records; also azure and google
  kmslab audit --format json | jq -c '[.caller, .operation, .keys[0].version]'

Without --lab and --emulator-admin, the only lab that is up is used, else the emulator on 127.0.0.1:7690.
The emulator keeps its latest 10,000 requests; `kmslab emulator --audit FILE` writes all of them.";

/// Flags of `kmslab audit`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AuditArgs {
    #[command(flatten)]
    target: EmulatorTarget,
    /// Go on with the events that come, until Ctrl-C or until the emulator stops
    #[arg(long, short)]
    follow: bool,
    /// Only events after this sequence number
    #[arg(long, value_name = "N", default_value_t = 0)]
    since: u64,
    /// Only requests to this cloud: aws, azure or gcp
    #[arg(long)]
    cloud: Option<Cloud>,
    /// Only this operation, such as Decrypt or KeyUnwrap
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// Only requests that used this key: ARN, URL or resource name, or its last part
    #[arg(long)]
    key: Option<String>,
    /// Only requests of this access key id, application or service account
    #[arg(long)]
    caller: Option<String>,
    /// Only requests with this outcome: OK or an error code
    #[arg(long)]
    code: Option<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
    format: OutputFormat,
}

/// Output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// A line for each event
    Human,
    /// An object with all fields on a line for each event
    Json,
    /// CloudTrail records, one on a line
    Cloudtrail,
    /// AuditEvent records of Key Vault's diagnostic logs, one on a line
    Azure,
    /// Log entries of Google's Cloud Audit Logs, one on a line
    Google,
}

/// Runs `kmslab audit`.
pub async fn run(args: AuditArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    let query = AuditQuery {
        since: args.since,
        limit: None,
        cloud: args.cloud,
        operation: args.operation,
        key: args.key,
        caller: args.caller,
        code: args.code,
    };
    if args.follow {
        let mut interrupted = std::pin::pin!(kmslab_emulator::command::signals()?);
        tokio::select! {
            followed = follow(&client, &query, args.format) => followed?,
            () = &mut interrupted => {}
        }
    } else {
        list(&client, query, args.format).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(
    client: &AdminClient,
    mut query: AuditQuery,
    format: OutputFormat,
) -> anyhow::Result<()> {
    loop {
        let page = client.audit(&query).await.map_err(refused)?;
        warn_of_lost(page.lost);
        let lines: String = page
            .events
            .iter()
            .map(|event| line(event, format))
            .collect();
        super::print(&lines)?;
        if !page.more {
            return Ok(());
        }
        query.since = page.next;
    }
}

async fn follow(
    client: &AdminClient,
    query: &AuditQuery,
    format: OutputFormat,
) -> anyhow::Result<()> {
    let mut events = client.follow_audit(query).await.map_err(refused)?;
    while let Some(followed) = events.next().await.map_err(refused)? {
        match followed {
            Followed::Event(event) => super::print(&line(&event, format))?,
            Followed::Lost(lost) => warn_of_lost(lost),
        }
    }
    say!("the emulator has stopped");
    Ok(())
}

fn warn_of_lost(lost: u64) {
    if lost > 0 {
        say!("{lost} earlier events are no longer kept: see --audit-events of the emulator");
    }
}

fn line(event: &AuditEvent, format: OutputFormat) -> String {
    match format {
        OutputFormat::Human => human(event),
        // Serializing strings and numbers does not fail.
        OutputFormat::Json => format!("{}\n", serde_json::to_string(event).unwrap_or_default()),
        OutputFormat::Cloudtrail => exported(event, AuditFormat::CloudTrail),
        OutputFormat::Azure => exported(event, AuditFormat::Azure),
        OutputFormat::Google => exported(event, AuditFormat::Google),
    }
}

fn exported(event: &AuditEvent, format: AuditFormat) -> String {
    let record = kmslab_emulator::export_audit(event, format);
    record.map_or_else(String::new, |record| format!("{record}\n"))
}

fn human(event: &AuditEvent) -> String {
    let keys: Vec<String> = event
        .keys
        .iter()
        .map(|used| match &used.version {
            Some(version) => format!("{} version {version}", used.key),
            None => used.key.clone(),
        })
        .collect();
    let mut text = format!(
        "{:.3} {:<5} {} {} {}",
        event.time,
        event.cloud.as_str(),
        event.operation,
        event.code,
        event.caller,
    );
    if !keys.is_empty() {
        text += &format!(" {}", keys.join(", "));
    }
    if !event.faults.is_empty() {
        text += &format!(" [faults: {}]", event.faults.join(", "));
    }
    format!("{}\n", escape_line(&text))
}
