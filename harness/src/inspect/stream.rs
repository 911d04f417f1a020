//! Inspections of any length: values come in batches, rows wait in a file, and what is printed goes out row by row.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::opener::Openers;
use super::report::{Row, Summary};
use super::source::{Batch, Batches};
use super::spool::{Record, Spool};
use super::tally::Tally;
use super::{Options, look, table};
use crate::etcd::stale::Reason;
use crate::printable::{line, shown};

/// What is wanted of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One line per value, notes on those that need one, then the summary.
    Table,
    /// One object: `summary` and `values`.
    Json,
    /// The summary alone.
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
            cells: table::cells(row, decrypts).iter().map(|cell| line(cell).into_owned()).collect(),
            notes: [&row.problem, &row.decrypt_error].into_iter().flatten().cloned().collect(),
            value: row.plaintext.as_ref().and_then(|plaintext| plaintext.value.clone()),
        }
    }
}

/// Looks at all that comes, prints it, and gives the counts. Plaintext that is to be printed waits in memory and in no file.
pub async fn inspect_all(
    mut batches: Batches,
    openers: &mut Openers,
    options: &Options,
    form: Form,
    out: &mut (impl Write + Send),
) -> anyhow::Result<Summary> {
    let decrypts = !openers.is_empty();
    let mut tally = Tally::new(options.etcd_prefix.clone());
    let mut spool = Spool::new(batches.is_unsorted(), options.show_values);
    while let Some(batch) = batches.next().await {
        let values = match batch? {
            Batch::Values(values) => values,
            Batch::Restart => {
                tally = Tally::new(options.etcd_prefix.clone());
                spool = Spool::new(batches.is_unsorted(), options.show_values);
                continue;
            }
        };
        for stored in values {
            let (row, class) = look(&stored, &mut tally, openers, options).await;
            let text = match form {
                Form::Summary => continue,
                Form::Table => serde_json::to_string(&Line::of(&row, decrypts))?,
                Form::Json => serde_json::to_string_pretty(&row)?,
            };
            spool.push(Record { key: row.key, revision: row.revision, class, text })?;
        }
    }
    let (summary, stale) = (tally.summary(), tally.stale());
    let printed = match form {
        Form::Summary => write!(out, "{}", shown(&table::summary(&summary))),
        Form::Json => print_json(&summary, &mut spool, &stale, out),
        Form::Table => print_table(&summary, &mut spool, &stale, decrypts, out),
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

/// As `serde_json` writes a report in one piece.
fn print_json(summary: &Summary, spool: &mut Spool, stale: &[Option<Reason>], out: &mut impl Write) -> io::Result<()> {
    let indented = |text: &str, by: &str| text.replace('\n', &format!("\n{by}"));
    write!(
        out,
        "{{\n  \"summary\": {},\n  \"values\": [",
        shown(&indented(&serde_json::to_string_pretty(summary)?, "  "))
    )?;
    let mut between = "";
    spool.read(&mut |record| {
        // The member that was not known is the last one.
        let text = record.text.strip_suffix(STALE_UNKNOWN).ok_or_else(|| io::Error::other("a row without its end"))?;
        let reason = serde_json::to_string(&why(stale, &record))?;
        write!(out, "{between}\n    {}", shown(&indented(&format!("{text}{reason}\n}}"), "    ")))?;
        between = ",";
        Ok(())
    })?;
    let end = if between.is_empty() { "]\n}\n" } else { "\n  ]\n}\n" };
    out.write_all(end.as_bytes())
}

/// How a row ends whose `stale` is `None`.
const STALE_UNKNOWN: &str = "null\n}";

fn print_table(
    summary: &Summary,
    spool: &mut Spool,
    stale: &[Option<Reason>],
    decrypts: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let header = table::header(decrypts);
    let mut widths: Vec<usize> = header.iter().map(|title| title.len()).collect();
    let read = |record: &Record| -> io::Result<Line> {
        let mut line: Line = serde_json::from_str(&record.text)?;
        let reason = why(stale, record).map_or("-", Reason::as_str);
        reason.clone_into(&mut line.cells[table::STALE_COLUMN]);
        Ok(line)
    };
    spool.read(&mut |record| {
        for (width, cell) in widths.iter_mut().zip(read(&record)?.cells) {
            *width = (*width).max(cell.chars().count());
        }
        Ok(())
    })?;
    let row = |cells: &[&str]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    out.write_all(row(&header).as_bytes())?;
    let mut noted = false;
    spool.read(&mut |record| {
        let line = read(&record)?;
        noted |= !line.notes.is_empty() || line.value.is_some();
        out.write_all(row(&line.cells.iter().map(String::as_str).collect::<Vec<_>>()).as_bytes())
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
