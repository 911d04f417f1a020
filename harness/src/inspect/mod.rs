//! The inspector: what every value in etcd is, which key it needs, and, given keys, whether it
//! opens.
//!
//! [`source`] reads values from a server or a snapshot, [`pipe`] what etcdctl printed; [`opener`]
//! turns DEK sources into plaintext by a plugin, a cloud or a file; [`report`] is what comes out,
//! [`table`] how a person sees it. Plaintext never leaves here unless asked for.

pub mod opener;
pub mod pipe;
pub mod report;
pub mod source;
mod spool;
pub mod stream;
pub mod table;
mod tally;

use crate::etcd::Stored;
use crate::etcd::value::{Value, recognise};

use opener::Openers;
use report::{Report, Row};
use tally::{ClassId, Tally};

/// What to look at and what to tell.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Report plaintexts.
    pub show_values: bool,
    /// The API server's `--etcd-prefix`, where it is not told from the keys: see [`resource_of`].
    pub etcd_prefix: Option<String>,
}

/// Looks at values that are in memory; [`stream::inspect_all`] does so for any number.
pub async fn inspect(items: &[Stored], openers: &mut Openers, options: &Options) -> Report {
    let mut tally = Tally::new(options.etcd_prefix.clone());
    let mut rows = Vec::with_capacity(items.len());
    for stored in items {
        rows.push(look(stored, &mut tally, openers, options).await);
    }
    let stale = tally.stale();
    let judged = rows.into_iter().map(|(row, class)| Row {
        stale: stale[class as usize],
        ..row
    });
    Report {
        summary: tally.summary(),
        values: judged.collect(),
    }
}

/// Counts a value, and decrypts it if `openers` can. Whether it is stale shows at the end.
async fn look(
    stored: &Stored,
    tally: &mut Tally,
    openers: &mut Openers,
    options: &Options,
) -> (Row, ClassId) {
    let value = recognise(&stored.value);
    let mut row = Row::of(stored, &value);
    if let Value::KmsV2 { object, .. } = &value
        && !openers.is_empty()
    {
        match openers.open(object, stored.key.as_bytes()).await {
            Ok(plaintext) => row.opened(&plaintext, options.show_values),
            Err(reason) => row.decrypt_error = Some(reason),
        }
    }
    let class = tally.count(stored, &value, &row);
    (row, class)
}

#[cfg(test)]
mod tests;
