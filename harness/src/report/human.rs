//! Human-readable report.

use comfy_table::{Cell, CellAlignment, Table, presets};

use super::Report;

/// One line per result with its traffic, then each failure in full.
pub fn table(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "scenario",
        "cloud",
        "cluster",
        "kubernetes",
        "result",
        "seconds",
        "objects",
        "of others",
        "key versions",
        "stale",
    ]);
    let number = |value: Option<u64>| {
        Cell::new(value.map_or("-".to_owned(), |n| n.to_string()))
            .set_alignment(CellAlignment::Right)
    };
    for row in &report.results {
        let stale = match (row.figures.stale_before, row.figures.stale_after) {
            (None, None) => "-".to_owned(),
            (before, after) => format!("{} → {}", format_row(before), format_row(after)),
        };
        table.add_row([
            Cell::new(row.scenario),
            Cell::new(row.clouds()),
            Cell::new(row.cluster),
            Cell::new(&row.kubernetes),
            Cell::new(if row.passed { "passed" } else { "FAILED" }),
            Cell::new(format!("{:.2}", row.seconds)).set_alignment(CellAlignment::Right),
            number(row.figures.objects),
            number(row.figures.others),
            number(row.figures.key_versions),
            Cell::new(stale),
        ]);
    }
    let mut text: String = table
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    if let Some(traffic) = report.results.last().and_then(|row| row.traffic) {
        text.push_str(&format!(
            "\nplugin: {} gRPC calls answered, {} SDK requests sent; emulator: {} of them seen\n",
            traffic.grpc_calls, traffic.sdk_requests, traffic.emulator_requests
        ));
        let uses = traffic.key_uses;
        text.push_str(&format!(
            "key: {} of {} encrypts and {} of {} decrypts in the audit trail counted by the plugin; {} of {} DEK sources in etcd from them\n",
            uses.encrypts,
            uses.audited_encrypts,
            uses.decrypts,
            uses.audited_decrypts,
            uses.dek_sources - uses.foreign_dek_sources,
            uses.dek_sources,
        ));
    }
    for row in &report.results {
        let Some(table) = &row.faults else { continue };
        let (scenario, clouds, cluster) = (row.scenario, row.clouds(), row.cluster);
        text.push_str(&format!(
            "\n{scenario} on {clouds} / {cluster}: faults, with --fault-seed {}\n",
            table.seed
        ));
        for status in &table.faults {
            text.push_str(&format!(
                "  {}: hit {} of {} requests: {}\n",
                status.name(),
                status.hits,
                status.selected,
                status.fault
            ));
        }
    }
    for row in &report.results {
        if let Some(failure) = &row.failure {
            text.push_str(&format!(
                "\n{} on {} / {}: {failure}\n",
                row.scenario,
                row.clouds(),
                row.cluster
            ));
        }
    }
    text
}

fn format_row(value: Option<u64>) -> String {
    value.map_or("?".to_owned(), |n| n.to_string())
}
