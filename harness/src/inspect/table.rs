//! Human-readable output of an inspection.

use std::fmt::Write as _;

use comfy_table::{Table, presets};
use kmslab_plugin::Label;

use super::report::{Row, Summary};
use crate::printable::escape_line;

/// Characters of a key_id in the table; the JSON contains all of it.
const KEY_ID_CHARS: usize = 15;

/// Column that says why a value is stale.
pub(super) const STALE_COLUMN: usize = 6;

/// Column titles.
pub(super) fn header(decrypts: bool) -> Vec<&'static str> {
    let mut header = vec![
        "KEY",
        "KIND",
        "PROVIDER",
        "KEY ID",
        "CLOUD KEY",
        "DEK SOURCE",
        "STALE",
        "OBJECT",
    ];
    if decrypts {
        header.push("DECRYPTED");
    }
    header
}

/// A value's cells, as far as they are known before all values were read.
pub(super) fn cells(row: &Row, decrypted: bool) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut cells = vec![
        row.key.clone(),
        if row.problem.is_some() {
            format!("{} (!)", row.kind)
        } else {
            row.kind.to_owned()
        },
        or_dash(row.provider.clone()),
        or_dash(
            row.key_id
                .as_ref()
                .map(|id| id.chars().take(KEY_ID_CHARS).collect()),
        ),
        or_dash(row.label.as_ref().map(key_and_version)),
        or_dash(
            row.dek_source
                .as_ref()
                .map(|source| format!("{} {}", source.kind, source.id)),
        ),
        "-".to_owned(),
        or_dash(
            row.object
                .as_ref()
                .map(|object| format!("{} {}", object.api_version, object.kind)),
        ),
    ];
    if decrypted {
        cells.push(match (&row.plaintext, &row.decrypt_error) {
            (Some(plaintext), _) => format!(
                "{} bytes, sha256 {}",
                plaintext.bytes,
                &plaintext.sha256[..16]
            ),
            (None, Some(_)) => "no (below)".to_owned(),
            (None, None) => "-".to_owned(),
        });
    }
    cells
}

/// `aws key/1234…@0a1b2c3d`: without the parts that all keys of an account share.
fn key_and_version(label: &Label) -> String {
    let key = label
        .key
        .rsplit_once(':')
        .map_or(label.key.as_str(), |(_, key)| key);
    let version: String = label.version.chars().take(8).collect();
    format!("{} {key}@{version}", label.provider)
}

/// The counts, and which keys must be kept.
#[must_use]
pub fn summary(summary: &Summary) -> String {
    let mut text = format!(
        "{} values, {} encrypted, {} stale, {} with problems, {} DEK sources",
        summary.total, summary.encrypted, summary.stale, summary.problems, summary.dek_sources
    );
    if summary.decrypted + summary.not_decrypted > 0 {
        let _ = write!(
            text,
            ", {} decrypted, {} not",
            summary.decrypted, summary.not_decrypted
        );
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "KIND",
        "PROVIDER",
        "KEY ID",
        "CLOUD KEY",
        "VALUES",
        "STALE",
        "DEK SOURCES",
    ]);
    for group in &summary.groups {
        let cells = [
            group.kind.to_owned(),
            group.provider.clone().unwrap_or_else(|| "-".to_owned()),
            group.key_id.clone().unwrap_or_else(|| "-".to_owned()),
            group.label.as_ref().map_or_else(
                || "-".to_owned(),
                |label| format!("{} version {}", label.key, label.version),
            ),
            group.count.to_string(),
            group.stale.to_string(),
            group.dek_sources.to_string(),
        ];
        table.add_row(cells.iter().map(|cell| escape_line(cell)));
    }
    format!("{text}\n\n{}", shorten(&table))
}

fn shorten(table: &Table) -> String {
    table
        .lines()
        .fold(String::new(), |text, line| text + line.trim() + "\n")
}
