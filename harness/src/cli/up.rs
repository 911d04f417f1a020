//! `kmslab up`: starts a lab that stays until it is stopped.

use std::fs::File;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use anyhow::Context;
use clap::{Args, ValueEnum};
use kmslab_plugin::kek::aws::region_of_key_arn;
use rustix::process::{Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::assets::TerminalProgress;
use crate::assets::Options;
use crate::cloud::CloudKind;
use crate::cluster::ClusterKind;
use crate::cluster::kind::files::PluginForm;
use crate::environment::{Environment, EnvironmentSpec, KindOptions, LabSpec, RunningLab, UserKey};
use crate::exit::{environment, say, usage};
use crate::lab::{DEFAULT_NAME, Description};
use crate::platform::pid;
use crate::process::own_binary;
use crate::runtime_dir::{Roots, check_name};

const EXAMPLES: &str = "\
Examples:
  kmslab up                                   # in one terminal; Ctrl-C, or `kmslab down` in another, ends it
  . \"$(kmslab status --variables)\"            # in another: kubectl, etcdctl, aws now use the lab
  kmslab up ci --detach                       # in CI: comes back when the lab is ready
  kmslab run rewrite --lab ci
  kmslab up --cluster kind                    # on a kind cluster: docker exec its node for systemctl, journalctl
  kmslab up --key arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab

--key takes a key of an emulator that runs (`kmslab emulator`), with the credentials of the environment.";

/// Flags of `kmslab up`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct UpArgs {
    /// Name of the lab
    #[arg(value_name = "NAME", default_value = DEFAULT_NAME)]
    pub name: String,
    /// Cloud KMS to use
    #[arg(long, value_enum, default_value_t = CloudKind::Aws)]
    pub cloud: CloudKind,
    /// Cluster to start
    #[arg(long, value_enum, default_value_t = LabCluster::Apiserver)]
    pub cluster: LabCluster,
    /// Use this key of a running emulator; by default the lab starts an emulator and creates a key,
    /// alias/kmslab
    #[arg(long, value_name = "ARN")]
    pub key: Option<String>,
    /// With --key: URL of the emulator; default AWS_ENDPOINT_URL_KMS, else http://127.0.0.1:7600
    #[arg(long, value_name = "URL", requires = "key")]
    pub endpoint_url: Option<String>,
    /// With --key: URL of the emulator's admin port; default KMSLAB_ADMIN, else
    /// http://127.0.0.1:7690
    #[arg(long, value_name = "URL", requires = "key")]
    pub admin_url: Option<String>,
    /// Options of kind clusters.
    #[command(flatten)]
    pub kind: KindOptions,
    /// Where programs are searched and installed.
    #[command(flatten)]
    pub assets: Options,
    /// Return when the lab is ready and leave it running until `kmslab down`
    #[arg(long)]
    pub detach: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
    pub format: OutputFormat,
}

/// Clusters that can stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LabCluster {
    /// The stock kube-apiserver and etcd as processes
    Apiserver,
    /// A kind cluster, with the plugin as a unit of its node
    Kind,
}

impl From<LabCluster> for ClusterKind {
    fn from(cluster: LabCluster) -> Self {
        match cluster {
            LabCluster::Apiserver => Self::Apiserver,
            LabCluster::Kind => Self::Kind,
        }
    }
}

/// Output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Lines for people; the variables are in the file that they name
    Human,
    /// One object
    Json,
}

/// Keeps a lab running until a signal.
pub async fn run(args: UpArgs) -> anyhow::Result<ExitCode> {
    // Checked before anything is built or started.
    check_name(&args.name).map_err(|error| usage(error.to_string()))?;
    if let Some(key) = &args.key {
        region_of_key_arn(key).map_err(|error| usage(error.to_string()))?;
    }
    args.kind.check(args.cluster.into())?;
    if args.detach {
        return run_detached(&args).await;
    }
    let mut told_to_end = std::pin::pin!(kmslab_emulator::command::signals()?);
    let (endpoint, admin, environment) = (args.endpoint(), args.admin(), args.spec());
    let key = args.key.map(|arn| UserKey {
        arn,
        endpoint,
        admin,
    });
    let spec = LabSpec {
        name: args.name.clone(),
        key,
        environment,
    };
    let displayed = TerminalProgress::default();
    let lab = tokio::select! {
        started = RunningLab::start(&spec, &displayed) => started?,
        () = &mut told_to_end => {
            say!("interrupted: everything that was started has been stopped");
            return Ok(ExitCode::from(130));
        }
    };
    drop(displayed);
    print_description(lab.description(), args.format)?;
    tokio::select! {
        () = told_to_end => {
            lab.shutdown().await?;
            say!("the lab {} is down", args.name);
            Ok(ExitCode::SUCCESS)
        }
        why = lab.wait_until_broken() => Err(why),
    }
}

fn print_description(description: &Description, format: OutputFormat) -> anyhow::Result<()> {
    let text = match format {
        OutputFormat::Json => format!("{}\n", serde_json::to_string(description)?),
        OutputFormat::Human => human(description),
    };
    Ok(super::print(&text)?)
}

/// The description of a lab for people.
pub(super) fn human(description: &Description) -> String {
    let Description {
        kms,
        plugin,
        cluster,
        variables,
    } = description;
    let node = cluster
        .kind
        .as_ref()
        .and_then(|nodes| nodes.control_planes.first());
    let node = node
        .map(|node| format!(" of the node {}", node.container))
        .unwrap_or_default();
    let whose = if kms.own {
        "the lab's own, alias/kmslab"
    } else {
        "given"
    };
    let mut rows = vec![
        ("lab", cluster.lab.clone()),
        (
            "kubernetes",
            format!("{} at {}", cluster.kubernetes, cluster.servers.join(", ")),
        ),
        ("kubeconfig", cluster.kubeconfig.display().to_string()),
        ("etcd", cluster.etcd.clone()),
        ("AWS KMS", kms.endpoint.clone()),
    ];
    if let (Some(https), Some(ca)) = (&kms.https, &kms.ca) {
        rows.push(("", format!("{https}, CA {}", ca.display())));
    }
    rows.extend([
        ("admin", kms.admin.clone()),
        ("key", format!("{} ({whose})", kms.key)),
        (
            "plugin",
            format!("{} on {}{node}", plugin.provider, plugin.socket.display()),
        ),
        ("health", plugin.health.clone()),
        ("logs", cluster.logs.display().to_string()),
    ]);
    let mut text: String = rows
        .iter()
        .map(|(name, value)| format!("{name:<11} {value}\n"))
        .collect();
    text.push_str(&format!(
        "\nin another terminal:  . {}\n",
        variables.display()
    ));
    text.push_str(&format!(
        "to end it:            Ctrl-C, or kmslab down {}\n",
        cluster.lab
    ));
    text
}

/// Starts the same command again, detached from this terminal, and waits until it reports that the
/// lab is ready.
async fn run_detached(args: &UpArgs) -> anyhow::Result<ExitCode> {
    let mut told_to_end = std::pin::pin!(kmslab_emulator::command::signals()?);
    let log = log_file(&args.name)?;
    // What takes long is done here, where its progress is visible.
    let (spec, displayed) = (args.spec(), TerminalProgress::default());
    tokio::select! {
        prepared = Environment::prepare(&spec, &displayed) => prepared?,
        () = &mut told_to_end => return Ok(ExitCode::from(130)),
    }
    let stderr = File::create(&log).with_context(|| format!("writing {}", log.display()))?;
    let mut child = tokio::process::Command::new(
        own_binary().context("cannot find the kmslab binary to run again")?,
    )
    .args(args.foreground_args())
    .stdin(Stdio::null())
    .stdout(Stdio::piped())
    .stderr(stderr)
    // Ctrl-C here must not reach it.
    .process_group(0)
    .spawn()
    .context("cannot start kmslab again")?;
    let mut out = BufReader::new(
        child
            .stdout
            .take()
            .context("the other kmslab has no standard output")?,
    )
    .lines();
    tokio::select! {
        line = out.next_line() => {
            if let Some(line) = line? {
                let description = serde_json::from_str(&line).context("the other kmslab said something else")?;
                print_description(&description, args.format)?;
                return Ok(ExitCode::SUCCESS);
            }
        }
        () = &mut told_to_end => {
            if let Some(id) = child.id().and_then(pid) {
                kill_process(id, Signal::TERM).ok();
            }
            child.wait().await?;
            return Ok(ExitCode::from(130));
        }
    }
    // It exited without output on stdout; its error is on stderr.
    let code = child
        .wait()
        .await?
        .code()
        .and_then(|code| u8::try_from(code).ok());
    say!(
        "{}",
        std::fs::read_to_string(&log).unwrap_or_default().trim_end()
    );
    Ok(ExitCode::from(code.filter(|code| *code != 0).unwrap_or(1)))
}

/// File of a detached lab's standard error, kept after the lab is gone.
fn log_file(name: &str) -> anyhow::Result<PathBuf> {
    let dir = Roots::from_env().state.join("up");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .map_err(|error| environment(format!("creating {}: {error}", dir.display())))?;
    Ok(dir.join(format!("{name}.log")))
}

impl UpArgs {
    fn endpoint(&self) -> String {
        let given = self.endpoint_url.clone();
        given
            .or_else(|| variable("AWS_ENDPOINT_URL_KMS"))
            .unwrap_or_else(|| "http://127.0.0.1:7600".into())
    }

    fn admin(&self) -> String {
        let given = self.admin_url.clone();
        given
            .or_else(|| variable("KMSLAB_ADMIN"))
            .unwrap_or_else(|| "http://127.0.0.1:7690".into())
    }

    fn spec(&self) -> EnvironmentSpec {
        let (assets, kind) = (self.assets.clone(), self.kind.clone());
        EnvironmentSpec {
            assets,
            kind,
            ..EnvironmentSpec::new(self.cloud, self.cluster.into())
        }
    }

    /// Arguments of the same lab in the foreground.
    fn foreground_args(&self) -> Vec<String> {
        let mut arguments = vec![
            "up".into(),
            self.name.clone(),
            "--cloud".into(),
            self.cloud.to_string(),
        ];
        arguments.extend([
            "--cluster".into(),
            ClusterKind::from(self.cluster).to_string(),
        ]);
        arguments.extend(["--format".into(), "json".into()]);
        if let Some(image) = &self.kind.node_image {
            arguments.extend(["--node-image".into(), image.clone()]);
        }
        if self.kind.control_planes > 1 {
            arguments.extend([
                "--control-planes".into(),
                self.kind.control_planes.to_string(),
            ]);
        }
        if self.kind.plugin_form == PluginForm::StaticPod {
            arguments.extend(["--plugin-form".into(), "static-pod".into()]);
        }
        if let Some(dir) = &self.assets.assets {
            arguments.extend(["--assets".into(), dir.display().to_string()]);
        }
        if self.assets.offline {
            arguments.push("--offline".into());
        }
        if let Some(key) = &self.key {
            let admin = self.admin();
            arguments.extend([
                "--key".into(),
                key.clone(),
                "--endpoint-url".into(),
                self.endpoint(),
            ]);
            arguments.extend(["--admin-url".into(), admin]);
        }
        arguments
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
