//! `kmslab run`: runs scenarios and reports the results.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::assets::TerminalProgress;
use crate::assets::Options;
use crate::cloud::{AdminClient, CloudKind};
use crate::cluster::ClusterKind;
use crate::environment::{Environment, EnvironmentSpec, KindOptions, attach};
use crate::exit::{say, usage};
use crate::lab::Description;
use crate::report::{self, Report, ScenarioResult};
use crate::scenario::{self, Pause, Scenario};
use crate::scenarios;
use kmslab_emulator::read_faults;
use kmslab_emulator_api::{Cloud, FaultFile};
use tokio::sync::Mutex;

const EXAMPLES: &str = "\
Examples:
  kmslab run                                          # encrypt, rotate, rewrite and more on every cloud, on the embedded model
  kmslab run rotate --format json
  kmslab run migrate                                  # from each cloud to each other
  kmslab run migrate --cloud aws --to gcp --cluster apiserver
  kmslab run --cluster apiserver                      # on the stock kube-apiserver and etcd
  kmslab run --cluster kind                           # on a kind cluster, with the plugin as a unit of its node
  kmslab run rewrite --lab default                    # on the lab that `kmslab up` keeps
  kmslab run rewrite --faults throttle.yaml           # faults: [{effect: throttle, share: 0.5}]
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
    /// Faults of the emulated cloud during each scenario (YAML or JSON, see `kmslab faults --help`);
    /// those without a caller are for the plugin's requests. A fault that hits no request fails the
    /// scenario
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
    /// Seed of the faults' random decisions, in place of the file's; the report has the one that was
    /// used
    #[arg(long, value_name = "N", requires = "faults")]
    pub fault_seed: Option<u64>,
    /// Output format
    #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
    pub format: OutputFormat,
}

/// What applies to every scenario of a run.
struct Settings {
    pause: Option<Pause>,
    faults: Option<FaultFile>,
    /// Names of the faults that are in the emulator now.
    added: Mutex<Vec<String>>,
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
    let settings = Settings {
        pause: args.pause_at.clone().map(|step| Pause {
            step,
            file: args.pause_file.clone(),
        }),
        faults: faults(&args, &scenarios)?,
        added: Mutex::default(),
    };
    let mut interrupted = std::pin::pin!(kmslab_emulator::command::signals()?);
    let results = tokio::select! {
        results = run_all(&args, &scenarios, &settings) => results?,
        // Dropping the future stops what was started.
        () = &mut interrupted => {
            remove_faults_of_lab(&args, &settings).await?;
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

/// The faults of the run. Each is for a cloud that the run uses.
fn faults(args: &RunArgs, scenarios: &[&'static Scenario]) -> anyhow::Result<Option<FaultFile>> {
    let Some(path) = &args.faults else {
        return Ok(None);
    };
    let mut file = read_faults(path).map_err(|error| usage(error.to_string()))?;
    file.seed = args.fault_seed.or(file.seed);
    let mut clouds = match &args.lab {
        Some(name) => vec![Description::find(name)?.kms.cloud],
        None => args.cloud.kinds().to_vec(),
    };
    if scenarios.iter().any(|scenario| scenario.second_cloud) {
        match args.to {
            Some(to) => clouds.push(to),
            None => clouds.extend(CloudKind::ALL),
        }
    }
    for fault in &file.faults {
        let unused = |cloud: &Cloud| !clouds.iter().any(|used| used.emulated() == *cloud);
        if let Some(cloud) = fault.cloud.filter(unused) {
            let path = path.display();
            return Err(usage(format!(
                "{path}: the fault ({fault}) is for {cloud}, which this run does not use: give --cloud \
                 {cloud}, or leave the fault out"
            )));
        }
    }
    Ok(Some(file))
}

/// Removes the faults of an interrupted run from the lab, which goes on.
async fn remove_faults_of_lab(args: &RunArgs, settings: &Settings) -> anyhow::Result<()> {
    let names = std::mem::take(&mut *settings.added.lock().await);
    let Some(lab) = args.lab.as_ref().filter(|_| !names.is_empty()) else {
        return Ok(());
    };
    let admin = AdminClient::new(&Description::find(lab)?.kms.admin)?;
    for name in names {
        admin.remove_fault(&name).await?;
    }
    Ok(())
}

async fn run_all(
    args: &RunArgs,
    scenarios: &[&'static Scenario],
    settings: &Settings,
) -> anyhow::Result<Vec<ScenarioResult>> {
    let mut rows = Vec::new();
    if let Some(name) = &args.lab {
        let description = Description::find(name)?;
        let environment = attach(&description)
            .await
            .with_context(|| format!("the lab {name}"))?;
        run_scenarios(&environment, scenarios, settings, &mut rows).await;
        return Ok(rows);
    }
    let (with_two, with_one): (Vec<_>, Vec<_>) = scenarios
        .iter()
        .copied()
        .partition(|scenario| scenario.second_cloud);
    for cloud in args.cloud.kinds() {
        if !with_one.is_empty() {
            run_in_environment(args, (*cloud, None), &with_one, settings, &mut rows).await?;
        }
        let targets = CloudKind::ALL
            .iter()
            .filter(|to| *to != cloud && args.to.is_none_or(|expected| expected == **to));
        for to in targets {
            // A migration changes its environment: each gets its own.
            for scenario in &with_two {
                run_in_environment(args, (*cloud, Some(*to)), &[*scenario], settings, &mut rows)
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
    settings: &Settings,
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
    run_scenarios(&environment, scenarios, settings, rows).await;
    environment.shutdown().await
}

async fn run_scenarios(
    environment: &Environment,
    scenarios: &[&'static Scenario],
    settings: &Settings,
    rows: &mut Vec<ScenarioResult>,
) {
    let (cloud, cluster) = (environment.cloud.kind(), environment.cluster.kind());
    let to = environment
        .target
        .as_ref()
        .map(|target| target.cloud.kind());
    for scenario in scenarios {
        progress(&format!("{cloud} / {cluster}: {}", scenario.name));
        let added = match &settings.faults {
            Some(file) => environment.add_faults(file).await,
            None => Ok(Vec::new()),
        };
        if let Ok(names) = &added {
            settings.added.lock().await.clone_from(names);
        }
        let outcome = scenario::run(scenario, environment, settings.pause.as_ref()).await;
        let faults = match (added, &settings.faults) {
            (Ok(names), Some(_)) => environment.take_faults(&names).await.map(Some),
            (Ok(_), None) => Ok(None),
            (Err(error), _) => Err(error),
        };
        settings.added.lock().await.clear();
        let traffic = environment.traffic().await;
        rows.push(ScenarioResult::new(
            outcome,
            (cloud, to),
            cluster,
            environment.cluster.kubernetes(),
            traffic,
            faults,
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
