//! `kmslab run`: runs scenarios and reports the results.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::assets::TerminalProgress;
use crate::assets::Options;
use crate::cloud::CloudKind;
use crate::cluster::ClusterKind;
use crate::environment::{Environment, EnvironmentSpec, KindOptions, attach};
use crate::exit::{say, usage};
use crate::lab::Description;
use crate::report::{self, Report, ScenarioResult};
use crate::scenario::{self, Pause, Scenario};
use crate::scenarios;

const EXAMPLES: &str = "\
Examples:
  kmslab run                                          # encrypt, rotate, rewrite and more on every cloud, on the embedded model
  kmslab run rotate --format json
  kmslab run migrate                                  # from each cloud to each other
  kmslab run migrate --cloud aws --to gcp --cluster apiserver
  kmslab run --cluster apiserver                      # on the stock kube-apiserver and etcd
  kmslab run --cluster kind                           # on a kind cluster, with the plugin as a unit of its node
  kmslab run rewrite --lab default                    # on the lab that `kmslab up` keeps
  kmslab run rewrite --pause-at second-half           # waits in the middle, to inspect or break something

Exit code 1: a scenario failed; the report names the step, the expected and the actual result.";

/// Flags of `kmslab run`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// Scenarios to run, in this order; by default all that `kmslab list` shows for one cloud
    #[arg(value_name = "SCENARIO")]
    pub scenarios: Vec<String>,
    /// Cloud KMS to use
    #[arg(long, value_enum, default_value_t = CloudChoice::All)]
    pub cloud: CloudChoice,
    /// Target of scenarios that migrate; by default each other cloud
    #[arg(long, value_enum, value_name = "CLOUD")]
    pub to: Option<CloudKind>,
    /// Cluster to run on
    #[arg(long, value_enum, default_value_t = ClusterKind::Embedded)]
    pub cluster: ClusterKind,
    /// Run on a lab started by `kmslab up`, with its cloud and cluster
    #[arg(long, value_name = "NAME", conflicts_with_all = ["cloud", "to", "cluster", "assets", "offline", "node_image", "plugin_form", "control_planes"])]
    pub lab: Option<String>,
    /// Options of kind clusters.
    #[command(flatten)]
    pub kind: KindOptions,
    /// Where programs are searched and installed.
    #[command(flatten)]
    pub assets: Options,
    /// Wait before this step until Enter is pressed
    #[arg(long, value_name = "STEP")]
    pub pause_at: Option<String>,
    /// With --pause-at: wait until this file exists, instead of for Enter
    #[arg(long, value_name = "FILE", requires = "pause_at")]
    pub pause_file: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
    pub format: OutputFormat,
}

/// One cloud, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CloudChoice {
    /// AWS KMS
    Aws,
    /// Azure Key Vault
    Azure,
    /// Google Cloud KMS
    Gcp,
    /// All clouds, one after another
    All,
}

/// Output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// A table
    Human,
    /// One object with `passed` and `results`
    Json,
}

impl RunArgs {
    /// The kind of cluster; a lab has its own.
    fn on(&self) -> anyhow::Result<ClusterKind> {
        let Some(name) = &self.lab else {
            return Ok(self.cluster);
        };
        Ok(Description::find(name)?.cluster.cluster_kind())
    }
}

impl CloudChoice {
    fn kinds(self) -> &'static [CloudKind] {
        match self {
            Self::Aws => &[CloudKind::Aws],
            Self::Azure => &[CloudKind::Azure],
            Self::Gcp => &[CloudKind::Gcp],
            Self::All => CloudKind::ALL,
        }
    }
}

/// Runs the scenarios, prints to standard output, and exits with 1 if one failed.
pub async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let scenarios = selected_scenarios(&args)?;
    args.kind.check(args.cluster)?;
    let mut interrupted = std::pin::pin!(kmslab_emulator::command::signals()?);
    let results = tokio::select! {
        results = run_all(&args, &scenarios) => results?,
        // Dropping the future stops what was started.
        () = &mut interrupted => {
            say!("interrupted: everything that was started has been stopped");
            return Ok(ExitCode::from(130));
        }
    };
    let report = Report::new(results);
    print(&report, args.format)?;
    Ok(ExitCode::from(u8::from(!report.passed)))
}

/// The scenarios by name, and a pause at a step that one of them has.
fn selected_scenarios(args: &RunArgs) -> anyhow::Result<Vec<&'static Scenario>> {
    let names = || {
        scenarios::ALL
            .iter()
            .map(|scenario| scenario.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let on = args.on()?;
    let scenarios: Vec<&'static Scenario> = if args.scenarios.is_empty() {
        scenarios::by_default(on).collect()
    } else {
        let find = |name: &String| {
            scenarios::find(name).ok_or_else(|| {
                usage(format!(
                    "there is no scenario {name:?}; there are {}",
                    names()
                ))
            })
        };
        args.scenarios
            .iter()
            .map(find)
            .collect::<anyhow::Result<_>>()?
    };
    for scenario in &scenarios {
        if !scenario.clusters.contains(&on) {
            let others: Vec<String> = scenario.clusters.iter().map(ToString::to_string).collect();
            let (name, others) = (scenario.name, others.join(", "));
            return Err(usage(format!(
                "the scenario {name} does not run on {on}; it does on {others}"
            )));
        }
        if scenario.second_cloud && args.lab.is_some() {
            let name = scenario.name;
            return Err(usage(format!(
                "a lab has one cloud's key, and {name} needs two: leave --lab out"
            )));
        }
    }
    if let Some(to) = args.to {
        if !scenarios.iter().any(|scenario| scenario.second_cloud) {
            return Err(usage(
                "--to is for scenarios that migrate, such as `kmslab run migrate`",
            ));
        }
        if args.cloud.kinds() == [to] {
            return Err(usage(format!(
                "--cloud {to} --to {to}: there is nothing to migrate"
            )));
        }
    }
    if let Some(step) = &args.pause_at {
        let steps: Vec<&str> = scenarios
            .iter()
            .flat_map(|scenario| scenario.steps().list().into_iter().map(|step| step.name))
            .collect();
        if !steps.contains(&step.as_str()) {
            return Err(usage(format!(
                "--pause-at {step}: no such step; there are {}",
                steps.join(", ")
            )));
        }
        if args.pause_file.is_none() && !io::stdin().is_terminal() {
            return Err(usage(format!(
                "--pause-at {step}: standard input is not a terminal, so nobody could press Enter: give --pause-file FILE, and make that file \
                 to go on"
            )));
        }
    }
    Ok(scenarios)
}

async fn run_all(
    args: &RunArgs,
    scenarios: &[&'static Scenario],
) -> anyhow::Result<Vec<ScenarioResult>> {
    let pause = args.pause_at.clone().map(|step| Pause {
        step,
        file: args.pause_file.clone(),
    });
    let mut rows = Vec::new();
    if let Some(name) = &args.lab {
        let description = Description::find(name)?;
        let environment = attach(&description)
            .await
            .with_context(|| format!("the lab {name}"))?;
        run_scenarios(&environment, scenarios, pause.as_ref(), &mut rows).await;
        return Ok(rows);
    }
    let (with_two, with_one): (Vec<_>, Vec<_>) = scenarios
        .iter()
        .copied()
        .partition(|scenario| scenario.second_cloud);
    for cloud in args.cloud.kinds() {
        if !with_one.is_empty() {
            run_in_environment(args, (*cloud, None), &with_one, pause.as_ref(), &mut rows).await?;
        }
        let targets = CloudKind::ALL
            .iter()
            .filter(|to| *to != cloud && args.to.is_none_or(|expected| expected == **to));
        for to in targets {
            // A migration changes its environment: each gets its own.
            for scenario in &with_two {
                run_in_environment(
                    args,
                    (*cloud, Some(*to)),
                    &[*scenario],
                    pause.as_ref(),
                    &mut rows,
                )
                .await?;
            }
        }
    }
    Ok(rows)
}

async fn run_in_environment(
    args: &RunArgs,
    (cloud, target): (CloudKind, Option<CloudKind>),
    scenarios: &[&'static Scenario],
    pause: Option<&Pause>,
    rows: &mut Vec<ScenarioResult>,
) -> anyhow::Result<()> {
    progress(&format!("{cloud} / {}: starting", args.cluster));
    let kind = args.kind.clone();
    let spec = EnvironmentSpec {
        target,
        assets: args.assets.clone(),
        kind,
        ..EnvironmentSpec::new(cloud, args.cluster)
    };
    let environment = Environment::start(&spec, &TerminalProgress::default()).await?;
    run_scenarios(&environment, scenarios, pause, rows).await;
    environment.shutdown().await
}

async fn run_scenarios(
    environment: &Environment,
    scenarios: &[&'static Scenario],
    pause: Option<&Pause>,
    rows: &mut Vec<ScenarioResult>,
) {
    let (cloud, cluster) = (environment.cloud.kind(), environment.cluster.kind());
    let to = environment
        .target
        .as_ref()
        .map(|target| target.cloud.kind());
    for scenario in scenarios {
        progress(&format!("{cloud} / {cluster}: {}", scenario.name));
        let outcome = scenario::run(scenario, environment, pause).await;
        let traffic = environment.traffic().await;
        rows.push(ScenarioResult::new(
            outcome,
            (cloud, to),
            cluster,
            environment.cluster.kubernetes(),
            traffic,
        ));
    }
}

fn progress(line: &str) {
    if io::stderr().is_terminal() {
        say!("{line}");
    }
}

fn print(report: &Report, format: OutputFormat) -> io::Result<()> {
    let text = match format {
        OutputFormat::Human => report::table(report),
        OutputFormat::Json => format!("{}\n", serde_json::to_string_pretty(report)?),
    };
    super::print(&text)
}
