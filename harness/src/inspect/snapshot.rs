//! The values as text in which nothing differs between runs, for snapshot tests in any language:
//! see [`snapshot_text`](crate::etcd::snapshot_text).

use std::io::{self, Write};

use kmslab_emulator_api::KeyTable;

use super::decryptor::Decryptors;
use super::report::Summary;
use super::source::{Batch, Batches};
use super::tally::Tally;
use super::{Options, decrypt, row};
use crate::etcd::snapshot_text::{Names, Plaintexts};
use crate::etcd::value::recognise;
use crate::printable::escape;

/// Prints the values ordered by key and returns the counts. The values are in memory meanwhile.
pub async fn print_snapshot(
    mut batches: Batches,
    decryptors: &mut Decryptors,
    options: &Options,
    table: &KeyTable,
    out: &mut impl Write,
) -> anyhow::Result<Summary> {
    let mut items = Vec::new();
    while let Some(batch) = batches.next().await {
        match batch? {
            Batch::Values(values) => items.extend(values),
            Batch::Restart => items.clear(),
        }
    }
    items.sort_by(|a, b| a.key.cmp(&b.key));
    let mut tally = Tally::new(options.etcd_prefix.clone());
    let mut plaintexts = Plaintexts::new();
    for stored in &items {
        let value = recognise(&stored.value);
        let decrypted = decrypt(stored, &value, decryptors).await;
        tally.count(
            stored,
            &value,
            &row(stored, &value, decrypted.as_ref(), options),
        );
        plaintexts.extend(decrypted.map(|decrypted| (stored.key.clone(), decrypted)));
    }
    let text = Names::default().render(&items, table, &plaintexts);
    match out
        .write_all(escape(&text).as_bytes())
        .and_then(|()| out.flush())
    {
        // The reader has seen enough and closed the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        printed => printed?,
    }
    Ok(tally.summary())
}
