//! Inspections of any length: values come in batches, rows wait in a file, and what is printed goes
//! out row by row.

use std::borrow::Cow;
use std::io::{self, Write};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter as _, PrettyFormatter};

use super::opener::Openers;
use super::report::{Row, Summary};
use super::source::{Batch, Batches};
use super::spool::{Record, Spool};
use super::tally::Tally;
use super::{Options, look, table};
use crate::etcd::stale::Reason;
use crate::printable::{line, shown};

/// Forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One line per value, then the summary
    Table,
    /// One object: `summary` and `values`
    Json,
    /// Counts by key, and nothing about single values
    Summary,
}

/// A row of the table as it waits.
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
                .map(|cell| line(cell).into_owned())
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

/// The columns, each as wide as its widest cell.
struct Widths {
    header: Vec<&'static str>,
    of: Vec<usize>,
}

impl Widths {
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

/// Looks at all that comes, prints it, and gives the counts. Plaintext that is to be printed waits
/// in memory and in no file.
pub async fn inspect_all(
    mut batches: Batches,
    openers: &mut Openers,
    options: &Options,
    format: Format,
    out: &mut (impl Write + Send),
) -> anyhow::Result<Summary> {
    let decrypts = !openers.is_empty();
    let mut tally = Tally::new(options.etcd_prefix.clone());
    let mut spool = Spool::new(batches.is_unsorted(), options.show_values);
    let mut widths = Widths::new(decrypts);
    while let Some(batch) = batches.next().await {
        let values = match batch? {
            Batch::Values(values) => values,
            Batch::Restart => {
                tally = Tally::new(options.etcd_prefix.clone());
                spool = Spool::new(batches.is_unsorted(), options.show_values);
                widths = Widths::new(decrypts);
                continue;
            }
        };
        for stored in values {
            let (row, class) = look(&stored, &mut tally, openers, options).await;
            let text = match format {
                Format::Summary => continue,
                Format::Table => {
                    let line = Line::of(&row, decrypts);
                    widths.fit(&line.cells);
                    serde_json::to_string(&line)?
                }
                Format::Json => json_until_stale(&row)?,
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
        Format::Summary => write!(out, "{}", shown(&table::summary(&summary))),
        Format::Json => print_json(&summary, &mut spool, &stale, out),
        Format::Table => print_table(&summary, &mut spool, &stale, widths, out),
    };
    match printed.and_then(|()| out.flush()) {
        // Who has seen enough has closed it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        printed => printed?,
    }
    Ok(summary)
}

fn why(stale: &[Option<Reason>], record: &Record) -> Option<Reason> {
    stale.get(record.class as usize).copied().flatten()
}

/// A row as it stands in a report, up to `stale`, the last member, which is not known yet. What can
/// be done while more values are on their way is done here.
fn json_until_stale(row: &Row) -> io::Result<String> {
    // As far in as an element of a member of the report.
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
    match shown(&text) {
        Cow::Borrowed(_) => Ok(text),
        Cow::Owned(shown) => Ok(shown),
    }
}

/// As `serde_json` writes a report in one piece.
fn print_json(
    summary: &Summary,
    spool: &mut Spool,
    stale: &[Option<Reason>],
    out: &mut impl Write,
) -> io::Result<()> {
    write!(
        out,
        "{{\n  \"summary\": {},\n  \"values\": [",
        shown(&serde_json::to_string_pretty(summary)?.replace('\n', "\n  "))
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

/// How a row ends whose `stale` is `None`.
const STALE_UNKNOWN: &str = "null\n    }";

fn print_table(
    summary: &Summary,
    spool: &mut Spool,
    stale: &[Option<Reason>],
    mut widths: Widths,
    out: &mut impl Write,
) -> io::Result<()> {
    let read = |record: &Record| -> io::Result<Line> {
        let mut line: Line = serde_json::from_str(&record.text)?;
        let reason = why(stale, record).map_or("-", Reason::as_str);
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
            let (Line { notes, value, .. }, key) = (read(&record)?, line(&record.key));
            for note in &notes {
                write!(out, "\n{}", shown(&format!("{key}: {note}\n")))?;
            }
            match value {
                Some(value) => write!(out, "\n{}", shown(&format!("{key}:\n{value}\n"))),
                None => Ok(()),
            }
        })?;
    }
    write!(out, "\n{}", shown(&table::summary(summary)))
}
