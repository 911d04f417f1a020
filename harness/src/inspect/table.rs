//! An inspection as a person reads it.

use std::fmt::Write as _;

use comfy_table::{Table, presets};
use kmslab_plugin::Label;

use super::report::{Report, Row, Summary};
use crate::printable::line;

/// Characters of a key_id that the table shows; JSON has all of it.
const SHORT_ID: usize = 15;

/// One line per value, then notes on those that need one, then the plaintexts that were asked for.
#[must_use]
pub fn values(report: &Report) -> String {
    let decrypted = report.summary.decrypted + report.summary.not_decrypted > 0;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut header = vec!["KEY", "KIND", "PROVIDER", "KEY ID", "CLOUD KEY", "DEK SOURCE", "STALE", "OBJECT"];
    if decrypted {
        header.push("DECRYPTED");
    }
    table.set_header(header);
    for row in &report.values {
        table.add_row(cells(row, decrypted).iter().map(|cell| line(cell)));
    }
    let mut text = trimmed(&table);
    for row in &report.values {
        for note in [&row.problem, &row.decrypt_error].into_iter().flatten() {
            let _ = writeln!(text, "\n{}: {note}", line(&row.key));
        }
        if let Some(value) = row.plaintext.as_ref().and_then(|plaintext| plaintext.value.as_ref()) {
            let _ = writeln!(text, "\n{}:\n{value}", line(&row.key));
        }
    }
    text
}

fn cells(row: &Row, decrypted: bool) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut cells = vec![
        row.key.clone(),
        if row.problem.is_some() { format!("{} (!)", row.kind) } else { row.kind.to_owned() },
        or_dash(row.provider.clone()),
        or_dash(row.key_id.as_ref().map(|id| id.chars().take(SHORT_ID).collect())),
        or_dash(row.label.as_ref().map(key_and_version)),
        or_dash(row.dek_source.as_ref().map(|source| format!("{} {}", source.kind, source.id))),
        row.stale.map_or("-", super::Reason::as_str).to_owned(),
        or_dash(row.object.as_ref().map(|object| format!("{} {}", object.api_version, object.kind))),
    ];
    if decrypted {
        cells.push(match (&row.plaintext, &row.decrypt_error) {
            (Some(plaintext), _) => format!("{} bytes, sha256 {}", plaintext.bytes, &plaintext.sha256[..16]),
            (None, Some(_)) => "no (below)".to_owned(),
            (None, None) => "-".to_owned(),
        });
    }
    cells
}

/// `aws key/1234…@0a1b2c3d`: without the parts that all keys of an account share.
fn key_and_version(label: &Label) -> String {
    let key = label.key.rsplit_once(':').map_or(label.key.as_str(), |(_, key)| key);
    let version: String = label.version.chars().take(8).collect();
    format!("{} {key}@{version}", label.provider)
}

/// The counts, and which keys have to stay.
#[must_use]
pub fn summary(summary: &Summary) -> String {
    let mut text = format!(
        "{} values, {} encrypted, {} stale, {} with problems, {} DEK sources",
        summary.total, summary.encrypted, summary.stale, summary.problems, summary.dek_sources
    );
    if summary.decrypted + summary.not_decrypted > 0 {
        let _ = write!(text, ", {} decrypted, {} not", summary.decrypted, summary.not_decrypted);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["KIND", "PROVIDER", "KEY ID", "CLOUD KEY", "VALUES", "STALE", "DEK SOURCES"]);
    for group in &summary.groups {
        let cells = [
            group.kind.to_owned(),
            group.provider.clone().unwrap_or_else(|| "-".to_owned()),
            group.key_id.clone().unwrap_or_else(|| "-".to_owned()),
            group
                .label
                .as_ref()
                .map_or_else(|| "-".to_owned(), |label| format!("{} version {}", label.key, label.version)),
            group.count.to_string(),
            group.stale.to_string(),
            group.dek_sources.to_string(),
        ];
        table.add_row(cells.iter().map(|cell| line(cell)));
    }
    format!("{text}\n\n{}", trimmed(&table))
}

fn trimmed(table: &Table) -> String {
    table.lines().fold(String::new(), |text, line| text + line.trim() + "\n")
}
