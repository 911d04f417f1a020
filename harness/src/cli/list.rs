//! `kmslab list`: the scenarios.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use serde_json::json;

use crate::scenario;

/// Flags of `kmslab list`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  kmslab list\n  kmslab list --format json | jq -r '.scenarios[].name'"
)]
pub struct ListArgs {
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table
    Human,
    /// One object: `scenarios`
    Json,
}

/// Prints them to standard output.
pub fn run(args: ListArgs) -> anyhow::Result<ExitCode> {
    let clusters = |scenario: &scenario::Scenario| -> Vec<String> {
        scenario.clusters.iter().map(ToString::to_string).collect()
    };
    let text = match args.format {
        Format::Json => {
            let rows = scenario::ALL.iter().map(|scenario| {
                let steps: Vec<_> = scenario
                    .steps
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
        Format::Human => {
            let mut table = Table::new();
            table.load_style(presets::NOTHING);
            table.set_header(["name", "shows", "clusters", "clouds", "source"]);
            for scenario in scenario::ALL {
                let clouds = if scenario.second_cloud {
                    "two; played when named"
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
