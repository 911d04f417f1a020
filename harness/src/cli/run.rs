//! `kmslab run`: the main job. Plays scenarios and says what held.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::assets::Shown;
use crate::assets::Options;
use crate::cloud::CloudKind;
use crate::cluster::ClusterKind;
use crate::exit::{say, usage};
use crate::lab::Description;
use crate::report::{self, Report, Row};
use crate::scenario::{self, Pause, Scenario};
use crate::world::{KindOptions, Plan, World, attach};

const EXAMPLES: &str = "\
Examples:
  kmslab run                                          # encrypt, rotate, rewrite and more on every cloud, on the embedded model
  kmslab run rotate --format json
  kmslab run migrate                                  # from each cloud to each other
  kmslab run migrate --cloud aws --to gcp --cluster apiserver
  kmslab run --cluster apiserver                      # on the stock kube-apiserver and etcd
  kmslab run --cluster kind                           # on a kind cluster, with the plugin as a unit of its node
  kmslab run rewrite --lab default                    # on the lab that `kmslab up` keeps
  kmslab run rewrite --pause-at second-half           # waits in the middle, for a look at it or a blow to it

Exit code 1: something did not hold; the step, what was expected and what was seen are named.";

/// Flags of `kmslab run`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// What to play, in this order; when absent, everything that `kmslab list` shows for one cloud
    #[arg(value_name = "SCENARIO")]
    pub scenarios: Vec<String>,
    /// Whose KMS
    #[arg(long, value_enum, default_value_t = CloudChoice::All)]
    pub cloud: CloudChoice,
    /// For scenarios that migrate: whose KMS to go to; each other cloud unless given
    #[arg(long, value_enum, value_name = "CLOUD")]
    pub to: Option<CloudKind>,
    /// On which cluster
    #[arg(long, value_enum, default_value_t = ClusterKind::Embedded)]
    pub cluster: ClusterKind,
    /// On a lab that `kmslab up` keeps, whose cloud and cluster it has
    #[arg(long, value_name = "NAME", conflicts_with_all = ["cloud", "to", "cluster", "assets", "offline", "node_image", "plugin_form", "control_planes"])]
    pub lab: Option<String>,
    #[command(flatten)]
    pub kind: KindOptions,
    #[command(flatten)]
    pub assets: Options,
    /// Wait before this step, until Enter is pressed
    #[arg(long, value_name = "STEP")]
    pub pause_at: Option<String>,
    /// With --pause-at: wait until this file exists, instead of for Enter
    #[arg(long, value_name = "FILE", requires = "pause_at")]
    pub pause_file: Option<PathBuf>,
    /// How to print what came of it
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// One cloud, or every one there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CloudChoice {
    /// AWS KMS
    Aws,
    /// Azure Key Vault
    Azure,
    /// Google Cloud KMS
    Gcp,
    /// Every cloud, one after another
    All,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table
    Human,
    /// One object: `passed` and `results`
    Json,
}

impl RunArgs {
    /// The kind of cluster; a lab has its own.
    fn on(&self) -> anyhow::Result<ClusterKind> {
        let Some(name) = &self.lab else {
            return Ok(self.cluster);
        };
        Ok(Description::find(name)?.cluster.of())
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

/// Plays, prints to standard output, and exits with 1 where something did not hold.
pub async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let scenarios = chosen(&args)?;
    args.kind.check(args.cluster)?;
    let mut interrupted = std::pin::pin!(kmslab_emulator::args::signals()?);
    let played = tokio::select! {
        played = play_all(&args, &scenarios) => played?,
        // What was started goes with the future that is dropped here.
        () = &mut interrupted => {
            say!("interrupted: everything that was started is ended");
            return Ok(ExitCode::from(130));
        }
    };
    let report = Report::new(played);
    print(&report, args.format)?;
    Ok(ExitCode::from(u8::from(!report.passed)))
}

/// The scenarios by their names, and a pause that one of them has a step for.
fn chosen(args: &RunArgs) -> anyhow::Result<Vec<&'static Scenario>> {
    let names = || {
        scenario::ALL
            .iter()
            .map(|scenario| scenario.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let on = args.on()?;
    let scenarios: Vec<&'static Scenario> = if args.scenarios.is_empty() {
        scenario::by_default(on).collect()
    } else {
        let find = |name: &String| {
            scenario::find(name).ok_or_else(|| {
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
            .flat_map(|scenario| scenario.steps.iter().map(|step| step.name))
            .collect();
        if !steps.contains(&step.as_str()) {
            return Err(usage(format!(
                "--pause-at {step}: no such step; there are {}",
                steps.join(", ")
            )));
        }
        if args.pause_file.is_none() && !io::stdin().is_terminal() {
            return Err(usage(format!(
                "--pause-at {step}: standard input is no terminal, so nobody could press Enter: give --pause-file FILE, and make that file \
                 to go on"
            )));
        }
    }
    Ok(scenarios)
}

async fn play_all(args: &RunArgs, scenarios: &[&'static Scenario]) -> anyhow::Result<Vec<Row>> {
    let pause = args.pause_at.clone().map(|step| Pause {
        step,
        file: args.pause_file.clone(),
    });
    let mut rows = Vec::new();
    if let Some(name) = &args.lab {
        let description = Description::find(name)?;
        let world = attach(&description)
            .await
            .with_context(|| format!("the lab {name}"))?;
        play(&world, scenarios, pause.as_ref(), &mut rows).await;
        return Ok(rows);
    }
    let (with_two, with_one): (Vec<_>, Vec<_>) = scenarios
        .iter()
        .copied()
        .partition(|scenario| scenario.second_cloud);
    for cloud in args.cloud.kinds() {
        if !with_one.is_empty() {
            play_in_a_world(args, (*cloud, None), &with_one, pause.as_ref(), &mut rows).await?;
        }
        let targets = CloudKind::ALL
            .iter()
            .filter(|to| *to != cloud && args.to.is_none_or(|wanted| wanted == **to));
        for to in targets {
            // A migration leaves another world than it found: each has its own.
            for scenario in &with_two {
                play_in_a_world(
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

async fn play_in_a_world(
    args: &RunArgs,
    (cloud, target): (CloudKind, Option<CloudKind>),
    scenarios: &[&'static Scenario],
    pause: Option<&Pause>,
    rows: &mut Vec<Row>,
) -> anyhow::Result<()> {
    progress(&format!("{cloud} / {}: starting", args.cluster));
    let kind = args.kind.clone();
    let plan = Plan {
        target,
        assets: args.assets.clone(),
        kind,
        ..Plan::new(cloud, args.cluster)
    };
    let world = World::start(&plan, &Shown::default()).await?;
    play(&world, scenarios, pause, rows).await;
    world.shutdown().await
}

async fn play(
    world: &World,
    scenarios: &[&'static Scenario],
    pause: Option<&Pause>,
    rows: &mut Vec<Row>,
) {
    let (cloud, cluster) = (world.cloud.kind(), world.cluster.kind());
    let to = world.target.as_ref().map(|target| target.cloud.kind());
    for scenario in scenarios {
        progress(&format!("{cloud} / {cluster}: {}", scenario.name));
        let outcome = scenario::run(scenario, world, pause).await;
        let traffic = world.traffic().await;
        rows.push(Row::new(
            outcome,
            (cloud, to),
            cluster,
            world.cluster.kubernetes(),
            traffic,
        ));
    }
}

fn progress(line: &str) {
    if io::stderr().is_terminal() {
        say!("{line}");
    }
}

fn print(report: &Report, format: Format) -> io::Result<()> {
    let text = match format {
        Format::Human => report::table(report),
        Format::Json => format!("{}\n", serde_json::to_string_pretty(report)?),
    };
    super::print(&text)
}
