//! A test of what a cluster stores, to copy from: the values under a prefix as a snapshot of text.

use std::io::Read as _;

use flate2::read::GzDecoder;
use kmslab_emulator_api::KeyTable;
use kmslab_etcd_inspect::bbolt::Database;
use kmslab_etcd_inspect::history::History;
use kmslab_etcd_inspect::snapshot_text::{Names, Plaintexts};

#[test]
fn stored_secrets_match_their_snapshot() -> Result<(), Box<dyn std::error::Error>> {
    // What `etcdctl snapshot save` writes. `EtcdClient` reads a server in the same form.
    let mut saved = Vec::new();
    GzDecoder::new(&include_bytes!("../../../fixtures/etcd/snapshot.db.gz")[..])
        .read_to_end(&mut saved)?;
    let secrets = History::read(&Database::parse(saved)?)?.live("/registry/secrets/");

    // With the key table of an emulator (`AdminClient::keys`) the text names the version of the key
    // that encrypted; with plaintexts it names the objects.
    let text = Names::default().render(&secrets.items, &KeyTable::default(), &Plaintexts::new());
    insta::assert_snapshot!(text);
    Ok(())
}
