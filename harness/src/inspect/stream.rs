//! Inspections of any size: values arrive in batches, rows wait in a file, and output is written
//! row by row.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter as _, PrettyFormatter};

use super::decryptor::Decryptors;
use super::report::{Row, Summary};
use super::source::{Batch, Batches};
use super::spool::{Record, Spool};
use super::tally::Tally;
use super::{Options, inspect_value, table};
use crate::etcd::stale::StaleReason;
use crate::printable::{escape, escape_line};

/// Output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// One line per value, then the summary
    Table,
    /// One object with `summary` and `values`
    Json,
    /// Counts by key, without single values
    Summary,
}

/// A table row waiting for output.
#[derive(Serialize, Deserialize)]
struct Line {
    cells: Vec<String>,
    notes: Vec<String>,
    value: Option<String>,
}

impl Line {
    fn of(row: &Row, decrypts: bool) -> Self {
        Self {
            cells: table::cells(row, decrypts)
                .iter()
                .map(|cell| escape_line(cell).into_owned())
                .collect(),
            notes: [&row.problem, &row.decrypt_error]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            value: row
                .plaintext
                .as_ref()
                .and_then(|plaintext| plaintext.value.clone()),
        }
    }
}

/// Column widths: those of the widest cells.
struct ColumnWidths {
    header: Vec<&'static str>,
    of: Vec<usize>,
}

impl ColumnWidths {
    fn new(decrypts: bool) -> Self {
        let header = table::header(decrypts);
        Self {
            of: header.iter().map(|title| title.len()).collect(),
            header,
        }
    }

    fn fit(&mut self, cells: &[String]) {
        for (width, cell) in self.of.iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }

    fn row(&self, cells: &[impl AsRef<str>]) -> String {
        let padded = cells
            .iter()
            .zip(&self.of)
            .map(|(cell, width)| format!("{:<width$}", cell.as_ref()));
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    }
}

/// Inspects all values, prints the result and returns the counts. Plaintext to be printed is kept
/// in memory and written to no file.
pub async fn inspect_all(
    mut batches: Batches,
    decryptors: &mut Decryptors,
    options: &Options,
    format: OutputFormat,
    out: &mut (impl Write + Send),
) -> anyhow::Result<Summary> {
    let decrypts = !decryptors.is_empty();
    let mut tally = Tally::new(options.etcd_prefix.clone());
    let mut spool = Spool::new(batches.is_unsorted(), options.show_values);
    let mut widths = ColumnWidths::new(decrypts);
    while let Some(batch) = batches.next().await {
        let values = match batch? {
            Batch::Values(values) => values,
            Batch::Restart => {
                tally = Tally::new(options.etcd_prefix.clone());
                spool = Spool::new(batches.is_unsorted(), options.show_values);
                widths = ColumnWidths::new(decrypts);
                continue;
            }
        };
        for stored in values {
            let (row, class) = inspect_value(&stored, &mut tally, decryptors, options).await;
            let text = match format {
                OutputFormat::Summary => continue,
                OutputFormat::Table => {
                    let line = Line::of(&row, decrypts);
                    widths.fit(&line.cells);
                    serde_json::to_string(&line)?
                }
                OutputFormat::Json => json_until_stale(&row)?,
            };
            spool.push(Record {
                key: row.key,
                revision: row.revision,
                class,
                text,
            })?;
        }
    }
    let (summary, stale) = (tally.summary(), tally.stale());
    let printed = match format {
        OutputFormat::Summary => write!(out, "{}", escape(&table::summary(&summary))),
        OutputFormat::Json => print_json(&summary, &mut spool, &stale, out),
        OutputFormat::Table => print_table(&summary, &mut spool, &stale, widths, out),
    };
    match printed.and_then(|()| out.flush()) {
        // The reader has seen enough and closed the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        printed => printed?,
    }
    Ok(summary)
}

fn stale_text(stale: &[Option<StaleReason>], record: &Record) -> Option<StaleReason> {
    stale.get(record.class as usize).copied().flatten()
}

/// A row's JSON up to `stale`, the last member, which is not known yet. Serializing here overlaps
/// with reading further values.
fn json_until_stale(row: &Row) -> io::Result<String> {
    // Indented as an element of a member of the report.
    let mut formatter = PrettyFormatter::new();
    formatter.begin_object(&mut io::sink())?;
    formatter.begin_array(&mut io::sink())?;
    let mut text = Vec::with_capacity(1024);
    row.serialize(&mut serde_json::Serializer::with_formatter(
        &mut text, formatter,
    ))?;
    let mut text = String::from_utf8(text).map_err(io::Error::other)?;
    let whole = text
        .strip_suffix(STALE_UNKNOWN)
        .ok_or_else(|| io::Error::other("a row without its end"))?
        .len();
    text.truncate(whole);
    match escape(&text) {
        Cow::Borrowed(_) => Ok(text),
        Cow::Owned(displayed) => Ok(displayed),
    }
}

/// Prints what `serde_json` would print for the whole report.
fn print_json(
    summary: &Summary,
    spool: &mut Spool,
    stale: &[Option<StaleReason>],
    out: &mut impl Write,
) -> io::Result<()> {
    write!(
        out,
        "{{\n  \"summary\": {},\n  \"values\": [",
        escape(&serde_json::to_string_pretty(summary)?.replace('\n', "\n  "))
    )?;
    let ends: Vec<String> = stale
        .iter()
        .map(serde_json::to_string)
        .collect::<Result<_, _>>()?;
    let mut between = "\n    ";
    spool.read(&mut |record| {
        let end = ends
            .get(record.class as usize)
            .map_or("null", String::as_str);
        for part in [between, &record.text, end, "\n    }"] {
            out.write_all(part.as_bytes())?;
        }
        between = ",\n    ";
        Ok(())
    })?;
    let end = if between.starts_with(',') {
        "\n  ]\n}\n"
    } else {
        "]\n}\n"
    };
    out.write_all(end.as_bytes())
}

/// The end of a row whose `stale` is `None`.
const STALE_UNKNOWN: &str = "null\n    }";

fn print_table(
    summary: &Summary,
    spool: &mut Spool,
    stale: &[Option<StaleReason>],
    mut widths: ColumnWidths,
    out: &mut impl Write,
) -> io::Result<()> {
    let read = |record: &Record| -> io::Result<Line> {
        let mut line: Line = serde_json::from_str(&record.text)?;
        let reason = stale_text(stale, record).map_or("-", StaleReason::as_str);
        reason.clone_into(&mut line.cells[table::STALE_COLUMN]);
        Ok(line)
    };
    for reason in stale.iter().flatten() {
        let width = &mut widths.of[table::STALE_COLUMN];
        *width = (*width).max(reason.as_str().len());
    }
    out.write_all(widths.row(&widths.header).as_bytes())?;
    let mut noted = false;
    spool.read(&mut |record| {
        let line = read(&record)?;
        noted |= !line.notes.is_empty() || line.value.is_some();
        out.write_all(widths.row(&line.cells).as_bytes())
    })?;
    if noted {
        spool.read(&mut |record| {
            let (Line { notes, value, .. }, key) = (read(&record)?, escape_line(&record.key));
            for note in &notes {
                write!(out, "\n{}", escape(&format!("{key}: {note}\n")))?;
            }
            match value {
                Some(value) => write!(out, "\n{}", escape(&format!("{key}:\n{value}\n"))),
                None => Ok(()),
            }
        })?;
    }
    write!(out, "\n{}", escape(&table::summary(summary)))
}
