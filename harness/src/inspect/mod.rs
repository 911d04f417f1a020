//! The inspector: the format of every value in etcd, which key it needs, and, given keys, whether
//! it decrypts.
//!
//! [`source`] reads values from a server or a file, [`pipe`] the output of etcdctl; [`decryptor`]
//! decrypts DEK sources with a plugin, a cloud or a file; [`report`] is the result, [`table`] its
//! human-readable form. Plaintext is only output on request.

pub mod decryptor;
pub mod pipe;
pub mod report;
pub mod source;
mod spool;
pub mod stream;
pub mod table;
mod tally;

use crate::etcd::Stored;
use crate::etcd::value::{Value, recognise};

use decryptor::Decryptors;
use report::{Report, Row};
use tally::{ClassId, Tally};

/// What to inspect and report.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Report plaintexts.
    pub show_values: bool,
    /// The API server's `--etcd-prefix`; by default it is inferred from the keys: see
    /// [`resource_prefix`](crate::etcd::layout::resource_prefix).
    pub etcd_prefix: Option<String>,
}

/// Inspects values in memory; [`stream::inspect_all`] does so for any number.
pub async fn inspect(items: &[Stored], decryptors: &mut Decryptors, options: &Options) -> Report {
    let mut tally = Tally::new(options.etcd_prefix.clone());
    let mut rows = Vec::with_capacity(items.len());
    for stored in items {
        rows.push(inspect_value(stored, &mut tally, decryptors, options).await);
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

/// Counts a value and decrypts it if `openers` can. Whether it is stale is known at the end.
async fn inspect_value(
    stored: &Stored,
    tally: &mut Tally,
    decryptors: &mut Decryptors,
    options: &Options,
) -> (Row, ClassId) {
    let value = recognise(&stored.value);
    let mut row = Row::of(stored, &value);
    if let Value::KmsV2 { object, .. } = &value
        && !decryptors.is_empty()
    {
        match decryptors.decrypt(object, stored.key.as_bytes()).await {
            Ok(plaintext) => row.set_plaintext(&plaintext, options.show_values),
            Err(reason) => row.decrypt_error = Some(reason),
        }
    }
    let class = tally.count(stored, &value, &row);
    (row, class)
}

#[cfg(test)]
mod tests;
