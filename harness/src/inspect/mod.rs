//! The inspector: the format of every value in etcd, which key it needs, and, given keys, whether
//! it decrypts.
//!
//! [`source`] reads values from a server or a file, [`pipe`] the output of etcdctl; [`decryptor`]
//! decrypts DEK sources with a plugin, a cloud or a file; [`report`] is the result, [`table`] its
//! human-readable form. Plaintext is only output on request.

pub mod decryptor;
pub mod pipe;
pub mod report;
pub mod snapshot;
pub mod source;
mod spool;
pub mod stream;
pub mod table;
mod tally;

use zeroize::Zeroizing;

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

/// Counts a value and decrypts it if `decryptors` can. Whether it is stale is known at the end.
async fn inspect_value(
    stored: &Stored,
    tally: &mut Tally,
    decryptors: &mut Decryptors,
    options: &Options,
) -> (Row, ClassId) {
    let value = recognise(&stored.value);
    let decrypted = decrypt(stored, &value, decryptors).await;
    let row = row(stored, &value, decrypted.as_ref(), options);
    let class = tally.count(stored, &value, &row);
    (row, class)
}

type Decrypted = Result<Zeroizing<Vec<u8>>, String>;

/// The plaintext of a value, or why it does not decrypt; `None` if nobody tries.
async fn decrypt(
    stored: &Stored,
    value: &Value<'_>,
    decryptors: &mut Decryptors,
) -> Option<Decrypted> {
    match value {
        Value::KmsV2 { object, .. } if !decryptors.is_empty() => {
            Some(decryptors.decrypt(object, stored.key.as_bytes()).await)
        }
        _ => None,
    }
}

fn row(
    stored: &Stored,
    value: &Value<'_>,
    decrypted: Option<&Decrypted>,
    options: &Options,
) -> Row {
    let mut row = Row::of(stored, value);
    match decrypted {
        Some(Ok(plaintext)) => row.set_plaintext(plaintext, options.show_values),
        Some(Err(reason)) => row.decrypt_error = Some(reason.clone()),
        None => {}
    }
    row
}

#[cfg(test)]
mod tests;
