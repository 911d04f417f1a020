//! `kmslab list`: the scenarios.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use serde_json::json;

use crate::scenario::Scenario;
use crate::scenarios;

/// Flags of `kmslab list`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  kmslab list\n  kmslab list --format json | jq -r '.scenarios[].name'"
)]
pub struct ListArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t = OutputFormat::Human)]
    pub format: OutputFormat,
}

/// Output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// A table
    Human,
    /// One object with `scenarios`
    Json,
}

/// Runs the command and prints to standard output.
pub fn run(args: ListArgs) -> anyhow::Result<ExitCode> {
    let clusters = |scenario: &Scenario| -> Vec<String> {
        scenario.clusters.iter().map(ToString::to_string).collect()
    };
    let text = match args.format {
        OutputFormat::Json => {
            let rows = scenarios::ALL.iter().map(|scenario| {
                let steps: Vec<_> = scenario
                    .steps()
                    .list()
                    .iter()
                    .map(|step| json!({ "name": step.name, "does": step.does }))
                    .collect();
                json!({
                    "name": scenario.name,
                    "shows": scenario.shows,
                    "source": scenario.source,
                    "clusters": clusters(scenario),
                    "second_cloud": scenario.second_cloud,
                    "steps": steps,
                })
            });
            format!("{:#}\n", json!({ "scenarios": rows.collect::<Vec<_>>() }))
        }
        OutputFormat::Human => {
            let mut table = Table::new();
            table.load_style(presets::NOTHING);
            table.set_header(["name", "shows", "clusters", "clouds", "source"]);
            for scenario in scenarios::ALL {
                let clouds = if scenario.second_cloud {
                    "two; run when named"
                } else {
                    "one"
                };
                table.add_row([
                    scenario.name,
                    scenario.shows,
                    &clusters(scenario).join(", "),
                    clouds,
                    scenario.source,
                ]);
            }
            table
                .lines()
                .map(|line| format!("{}\n", line.trim_end()))
                .collect()
        }
    };
    super::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
