//! `kmslab assets`: the programs of real clusters.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::assets::{Assets, Options, Progress, Tool};
use crate::cluster::kind::bundle::Bundle;
use crate::engine::Engine;
use crate::exit::{environment, say};
use crate::process::own_binary;

const EXAMPLES: &str = "\
Examples:
  kmslab assets list                                   # what is there, and where
  kmslab assets install                                # builds what is not: once, 5 to 15 minutes on 2 cores
  kmslab assets install kube-apiserver etcd            # fetches the official release, where it can be reached
  export KUBEBUILDER_ASSETS=$(kmslab assets path)      # for controller-runtime's envtest
  $(kmslab assets path kubectl) version --client
  KMSLAB_ASSETS_MIRROR=https://mirror.example kmslab assets install etcd    # the release from elsewhere; its hash is pinned all the same
  kind create cluster --image $(kmslab assets node) --config kind-config/cluster.yaml";

/// Flags of `kmslab assets`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct AssetsArgs {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    what: AssetsCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum AssetsCommand {
    /// List the programs and their paths
    List,
    /// Install missing programs: from the official release if that has all of them, else by a build
    Install {
        /// Programs; by default all, which only a build provides
        #[arg(value_enum, value_name = "TOOL")]
        tools: Vec<Tool>,
        /// Build from modules that Go checks, instead of downloading a release
        #[arg(long)]
        build: bool,
    },
    /// Provide a node image for kind and print its name: kindest/node if it can be pulled, else one
    /// that is built here
    Node {
        /// Build it from modules that Go checks and Debian's packages, instead of pulling
        /// kindest/node
        #[arg(long)]
        build: bool,
        /// Only build its content, and print that directory
        #[arg(long, conflicts_with = "build")]
        parts: bool,
    },
    /// Write this kmslab with its loader and libraries as a tree to be mounted into a node:
    /// opt/kmslab, usr/local/bin/kmslab-plugin
    Bundle {
        /// Root of the tree
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Build a container image of this kmslab and print its name
    Image {
        /// Name of the image
        #[arg(long, value_name = "NAME", default_value = concat!("kmslab:", env!("CARGO_PKG_VERSION")))]
        tag: String,
    },
    /// Print the directory of the pinned programs, or the path of one program; exit code 3 if it is
    /// not installed
    Path {
        /// The program
        #[arg(value_enum)]
        tool: Option<Tool>,
    },
}

/// Runs the command and prints to standard output.
pub async fn run(args: AssetsArgs) -> anyhow::Result<ExitCode> {
    let assets = Assets::from_env(&args.options);
    let text = match args.what {
        AssetsCommand::List => list(&assets)?,
        AssetsCommand::Install { tools, build } => {
            let assets = if build { assets.always_build() } else { assets };
            let tools = if tools.is_empty() {
                Tool::ALL.to_vec()
            } else {
                tools
            };
            let found = assets.install(&tools, &TerminalProgress::default()).await?;
            found
                .iter()
                .map(|found| format!("{}\n", found.path.display()))
                .collect()
        }
        AssetsCommand::Node { parts: true, .. } => {
            format!(
                "{}\n",
                assets
                    .node_parts(&TerminalProgress::default())
                    .await?
                    .display()
            )
        }
        AssetsCommand::Node { build, .. } => {
            let (engine, displayed) = (Engine::find().await?, TerminalProgress::default());
            let image = match build {
                true => assets.own_node_image(&engine, &displayed).await?,
                false => assets.node_image(&engine, None, &displayed).await?,
            };
            format!("{image}\n")
        }
        AssetsCommand::Bundle { dir } => {
            Bundle::for_node(&this_program()?, &dir)?;
            format!("{}\n", dir.display())
        }
        AssetsCommand::Image { tag } => {
            let dir = tempfile::tempdir().context("making a temporary directory")?;
            Bundle::create(&this_program()?, dir.path())?
                .image(&Engine::find().await?, &tag, &[])
                .await?;
            format!("{tag}\n")
        }
        AssetsCommand::Path { tool } => path(tool, &assets)?,
    };
    super::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn this_program() -> anyhow::Result<PathBuf> {
    own_binary().context("cannot find the kmslab binary")
}

fn list(assets: &Assets) -> anyhow::Result<String> {
    let mut text = String::new();
    for (tool, found) in assets.find_installed(&Tool::ALL)? {
        let where_ = found.map_or(
            "not installed: run kmslab assets install".to_owned(),
            |found| found.path.display().to_string(),
        );
        text.push_str(&format!("{:<15} {where_}\n", tool.file()));
    }
    Ok(text)
}

fn path(tool: Option<Tool>, assets: &Assets) -> anyhow::Result<String> {
    let expected = tool.unwrap_or(Tool::KubeApiserver);
    let found = assets
        .find_installed(&[expected])?
        .into_iter()
        .find_map(|(_, found)| found);
    let found = found.ok_or_else(|| {
        environment(format!(
            "{} is not installed: run kmslab assets install",
            expected.file()
        ))
    })?;
    let path = if tool.is_some() {
        Some(found.path.as_path())
    } else {
        found.path.parent()
    };
    Ok(path
        .map(|path| format!("{}\n", path.display()))
        .unwrap_or_default())
}

/// Progress on standard error: a bar on a terminal, else a line from time to time.
#[derive(Debug)]
pub struct TerminalProgress {
    bar: Option<ProgressBar>,
    last: Mutex<Option<Instant>>,
}

/// Interval between lines without a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(30);

impl Default for TerminalProgress {
    fn default() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}, {elapsed}");
            let bar = ProgressBar::new(0);
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            last: Mutex::new(None),
        }
    }
}

impl Progress for TerminalProgress {
    fn message(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => say!("{line}"),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "how often a person is told something is real time"
    )]
    fn step(&self, done: u64, of: u64, what: &'static str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what);
            bar.set_length(of.max(done));
            bar.set_position(done);
            return;
        }
        let now = Instant::now();
        let mut last = self
            .last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.is_none_or(|last| now.duration_since(last) >= LINE_INTERVAL) {
            *last = Some(now);
            say!("{done} of about {of} {what}");
        }
    }
}

impl Drop for TerminalProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
