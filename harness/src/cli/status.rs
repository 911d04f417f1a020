//! `kmslab status`: the running labs, their addresses and their health.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::up;
use crate::cloud::AdminClient;
use crate::engine::Engine;
use crate::environment::{attach_any_cluster, attach_plugins};
use crate::etcd::client::EtcdClient;
use crate::lab::{DEFAULT_NAME, Description};
use crate::runtime_dir::{Lab, labs};

const EXAMPLES: &str = "\
Examples:
  kmslab status                                # every lab of this user
  . \"$(kmslab status --variables)\"             # kubectl, etcdctl, aws now use the lab
  kmslab status ci --format json | jq -r '.labs[0].lab.cluster.kubeconfig'

Exit code 1: a part of a lab does not work; 3: the lab that was named is not up.";

/// How long a part may take to respond.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Flags of `kmslab status`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct StatusArgs {
    /// Only this lab
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Print only the path of the file of variables to source
    #[arg(long)]
    pub variables: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
    pub format: OutputFormat,
}

/// Output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Lines
    Human,
    /// One object with `labs`
    Json,
}

/// A lab with the state of its parts.
#[derive(Debug, Serialize)]
struct LabStatus {
    lab: Description,
    healthy: bool,
    parts: Vec<PartStatus>,
}

/// A part of a lab.
#[derive(Debug, Serialize)]
struct PartStatus {
    name: String,
    pid: Option<u32>,
    healthy: bool,
    says: String,
}

/// Prints the status. Exit code 1 if a part does not work.
pub async fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    if args.variables {
        let description = Description::find(args.name.as_deref().unwrap_or(DEFAULT_NAME))?;
        super::print(&format!("{}\n", description.variables.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(name) = &args.name {
        Description::find(name)?;
    }
    let mut rows = Vec::new();
    for lab in labs().into_iter().filter(|lab| lab.alive) {
        if args
            .name
            .as_ref()
            .is_none_or(|name| *name == lab.state.name)
            && let Some(description) = Description::read(&lab)
        {
            rows.push(lab_status(&lab, description).await);
        }
    }
    let text = match args.format {
        OutputFormat::Json => format!(
            "{}\n",
            serde_json::to_string_pretty(&serde_json::json!({ "labs": rows }))?
        ),
        OutputFormat::Human if rows.is_empty() => {
            "no lab is up: `kmslab up` starts one\n".to_owned()
        }
        OutputFormat::Human => rows.iter().map(human).collect::<Vec<_>>().join("\n"),
    };
    super::print(&text)?;
    Ok(ExitCode::from(u8::from(
        rows.iter().any(|row| !row.healthy),
    )))
}

async fn lab_status(lab: &Lab, description: Description) -> LabStatus {
    let mut parts = Vec::new();
    for (name, process) in &lab.state.processes {
        let says = match name.as_str() {
            _ if !process.is_running() => Err(anyhow::Error::msg("not running")),
            "plugin" => plugin(&description).await,
            "kube-apiserver" => server(&description).await,
            "emulator" => emulator(&description).await,
            "etcd" => etcd(&description).await,
            _ => Ok("running".into()),
        };
        parts.push(part_status(
            name,
            process.is_running().then_some(process.pid),
            says,
        ));
    }
    if let Some(nodes) = &description.cluster.kind {
        let engine = Engine::at(&nodes.engine);
        for container in nodes
            .control_planes
            .iter()
            .map(|node| &node.container)
            .chain([&nodes.emulator])
        {
            parts.push(part_status(container, None, engine.state(container).await));
        }
        parts.push(part_status(
            "kube-apiserver",
            None,
            server(&description).await,
        ));
        parts.push(part_status("plugin", None, plugin(&description).await));
    }
    LabStatus {
        healthy: parts.iter().all(|part| part.healthy),
        lab: description,
        parts,
    }
}

fn part_status(name: &str, pid: Option<u32>, says: anyhow::Result<String>) -> PartStatus {
    let (healthy, says) = says.map_or_else(|why| (false, format!("{why:#}")), |says| (true, says));
    PartStatus {
        name: name.to_owned(),
        pid,
        healthy,
        says,
    }
}

/// The key_id of its Status.
async fn plugin(description: &Description) -> anyhow::Result<String> {
    Ok(format!(
        "key_id {}",
        attach_plugins(description)?.key_id().await?
    ))
}

/// Checked by a request: a process may exist and hang.
async fn emulator(description: &Description) -> anyhow::Result<String> {
    AdminClient::new(&description.kms.admin)?.health().await?;
    Ok("answers".into())
}

async fn etcd(description: &Description) -> anyhow::Result<String> {
    let cluster = &description.cluster;
    let requested = async {
        let etcd =
            EtcdClient::connect_with(&cluster.etcd, &cluster.etcd_tls.clone().unwrap_or_default())
                .await?;
        etcd.status().await
    };
    let status = tokio::time::timeout(PROBE_TIMEOUT, requested)
        .await
        .with_context(|| format!("no answer within {PROBE_TIMEOUT:?}"))??;
    Ok(format!(
        "answers, version {}, revision {}",
        status.version, status.revision
    ))
}

async fn server(description: &Description) -> anyhow::Result<String> {
    attach_any_cluster(description)
        .await?
        .readiness()
        .await
        .map_err(anyhow::Error::msg)?;
    Ok("ready".into())
}

fn human(row: &LabStatus) -> String {
    let mut text = up::human(&row.lab);
    text.push('\n');
    let wide = row
        .parts
        .iter()
        .map(|part| part.name.len())
        .max()
        .unwrap_or_default();
    for PartStatus {
        name, pid, says, ..
    } in &row.parts
    {
        let pid = pid.map_or("-".to_owned(), |pid| pid.to_string());
        text.push_str(&format!("{name:<wide$} {pid:>8}  {says}\n"));
    }
    text
}
