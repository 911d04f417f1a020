use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use kmslab_kmsv2::socket;
use kmslab_kmsv2::socket::key_management_service_server::{
    KeyManagementService, KeyManagementServiceServer,
};
use kmslab_kmsv2::stored::{self, EncryptedObject};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use super::*;
use crate::etcd::stale::StaleReason;
use stream::{OutputFormat, inspect_all};

const SNAPSHOT: &[u8] = include_bytes!("../../../fixtures/etcd/snapshot.db.gz");
const SEED: &str = "ffe5a729740433f0215c809844d05e1a4f964ae07eece06e4982536cfeba6727";
const DEK: &str = "gafIvwT0ASoKdZ/D1L2SlH73LUMj5qa3hroljfS51wc=";

async fn batches(history: bool) -> source::Batches {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::copy(&mut GzDecoder::new(SNAPSHOT), &mut file).unwrap();
    file.flush().unwrap();
    source::from_file(file.path(), "/", history).await.unwrap()
}

/// In the order of the file.
async fn snapshot(history: bool) -> Vec<Stored> {
    let (mut batches, mut all) = (batches(history).await, Vec::new());
    while let Some(batch) = batches.next().await {
        if let source::Batch::Values(values) = batch.unwrap() {
            all.extend(values);
        }
    }
    all
}

async fn printed(format: OutputFormat, decryptors: &mut Decryptors, options: &Options) -> String {
    let mut out = Vec::new();
    inspect_all(batches(false).await, decryptors, options, format, &mut out)
        .await
        .unwrap();
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn snapshot_format_is_ordered_text_with_names() {
    let (_dir, _, mut decryptors) = plugin().await;
    let (options, table) = (Options::default(), kmslab_emulator_api::KeyTable::default());
    let mut out = Vec::new();
    let values = batches(false).await;
    let summary = snapshot::print_snapshot(values, &mut decryptors, &options, &table, &mut out)
        .await
        .unwrap();
    let text = String::from_utf8(out).unwrap();
    let keys: Vec<&str> = text.lines().step_by(2).collect();
    assert_eq!(keys.len(), summary.total, "{text}");
    assert!(keys.is_sorted(), "{keys:?}");
    let line = |ending: &str| {
        let at = keys.iter().position(|key| key.ends_with(ending)).unwrap();
        text.lines().nth(2 * at + 1).unwrap().trim()
    };
    for (ending, says) in [
        ("/large", "NOT ENCRYPTED protobuf v1 ConfigMap plaintext#"),
        ("/cut", "MALFORMED kms-v2: "),
        ("/future", "unknown-encrypted k8s:enc:kms:v9:p1: value#"),
    ] {
        assert!(line(ending).starts_with(says), "{}", line(ending));
    }
}

fn row<'a>(report: &'a Report, ending: &str) -> &'a Row {
    report
        .values
        .iter()
        .find(|row| row.key.ends_with(ending))
        .unwrap()
}

/// Upstream's test plugin, whose cipher is base64. Counts its Decrypt calls.
#[derive(Clone, Default)]
struct Base64Plugin(Arc<AtomicUsize>);

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl KeyManagementService for Base64Plugin {
    async fn status(&self, _: Request<socket::StatusRequest>) -> Answer<socket::StatusResponse> {
        Err(Status::unimplemented("not asked by the inspector"))
    }

    async fn encrypt(&self, _: Request<socket::EncryptRequest>) -> Answer<socket::EncryptResponse> {
        Err(Status::unimplemented("not asked by the inspector"))
    }

    async fn decrypt(
        &self,
        request: Request<socket::DecryptRequest>,
    ) -> Answer<socket::DecryptResponse> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let request = request.into_inner();
        if request.uid.is_empty() || request.key_id != "1" {
            return Err(Status::failed_precondition("key disabled"));
        }
        let plaintext = STANDARD
            .decode(request.ciphertext)
            .map_err(|_| Status::invalid_argument("not base64"))?;
        Ok(Response::new(socket::DecryptResponse { plaintext }))
    }
}

async fn plugin() -> (tempfile::TempDir, Base64Plugin, Decryptors) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let plugin = Base64Plugin::default();
    let server = tonic::transport::Server::builder()
        .add_service(KeyManagementServiceServer::new(plugin.clone()));
    tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
    let mut decryptors = Decryptors::default();
    decryptors.add_plugin(&path).await.unwrap();
    (dir, plugin, decryptors)
}

fn seeds(text: &str) -> anyhow::Result<Decryptors> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "{text}").unwrap();
    let mut decryptors = Decryptors::default();
    decryptors.add_seeds(file.path())?;
    Ok(decryptors)
}

#[tokio::test]
async fn snapshot_is_listed_without_keys() {
    let report = inspect(
        &snapshot(false).await,
        &mut Decryptors::default(),
        &Options::default(),
    )
    .await;
    let seed = row(&report, "aes-gcm-seed");
    assert_eq!(
        (seed.kind, seed.provider.as_deref(), seed.key_id.as_deref()),
        ("kms-v2", Some("kms-provider"), Some("1"))
    );
    assert_eq!(
        seed.dek_source.as_ref().map(|source| source.kind),
        Some("seed")
    );
    assert_eq!(
        seed.annotations["local-kek.kms.kubernetes.io"],
        "encrypted-local-kek"
    );
    assert_eq!(
        row(&report, "/node-007")
            .object
            .as_ref()
            .map(|object| object.kind.as_str()),
        Some("Lease")
    );
    assert!(
        row(&report, "default/cut")
            .problem
            .as_ref()
            .unwrap()
            .starts_with("truncated or damaged: not an EncryptedObject")
    );
    assert!(
        row(&report, "default/future")
            .problem
            .as_ref()
            .unwrap()
            .starts_with("k8s:enc:kms:v9:p1: is the prefix of no provider")
    );
    let summary = &report.summary;
    assert_eq!(
        (
            summary.total,
            summary.encrypted,
            summary.problems,
            summary.dek_sources
        ),
        (129, 4, 5, 2)
    );
    assert_eq!((summary.decrypted, summary.not_decrypted), (0, 0));
}

#[tokio::test]
async fn plugin_is_called_once_per_dek_source() {
    let (_dir, plugin, mut decryptors) = plugin().await;
    let report = inspect(
        &[snapshot(false).await, snapshot(false).await].concat(),
        &mut decryptors,
        &Options::default(),
    )
    .await;
    assert_eq!(
        (report.summary.decrypted, report.summary.not_decrypted),
        (4, 0)
    );
    assert_eq!(plugin.0.load(Ordering::Relaxed), 2);
    let decrypted = row(&report, "aes-gcm-seed");
    assert_eq!(
        decrypted.object.as_ref().map(|object| object.kind.as_str()),
        Some("Secret")
    );
    assert_eq!(
        decrypted
            .plaintext
            .as_ref()
            .and_then(|plaintext| plaintext.value.as_ref()),
        None
    );
    assert!(!serde_json::to_string(&report).unwrap().contains("api_key"));
}

#[tokio::test]
async fn seeds_decrypt_and_plaintext_is_shown_on_request_only() {
    let mut decryptors = seeds(&format!("# 1.27\n{DEK}\n\n{SEED} # 1.28\n")).unwrap();
    let report = inspect(
        &snapshot(false).await,
        &mut decryptors,
        &Options {
            show_values: true,
            ..Options::default()
        },
    )
    .await;
    assert_eq!(
        (report.summary.decrypted, report.summary.not_decrypted),
        (2, 0)
    );
    let options = Options {
        show_values: true,
        ..Options::default()
    };
    assert!(
        printed(OutputFormat::Table, &mut decryptors, &options)
            .await
            .contains("086a7ffc-0225-11e8-ba89-0ed5f89f718b")
    );
    assert!(!format!("{report:?} {decryptors:?}").contains("086a7ffc"));

    let report = inspect(
        &snapshot(false).await,
        &mut seeds(SEED).unwrap(),
        &Options::default(),
    )
    .await;
    let failed = row(&report, "aes-gcm-key").decrypt_error.as_ref().unwrap();
    assert!(failed.starts_with("none of the 1 keys in"), "{failed}");
    assert!(
        !printed(
            OutputFormat::Table,
            &mut seeds(SEED).unwrap(),
            &Options::default()
        )
        .await
        .contains("086a7ffc")
    );
}

#[tokio::test]
async fn undecryptable_value_explains_possible_causes() {
    let (_dir, _, mut decryptors) = plugin().await;
    let mut items = snapshot(false).await;
    items.retain(|stored| stored.key.ends_with("aes-gcm-seed"));
    items[0].key = "/registry/secrets/default/copied".to_owned();
    let report = inspect(&items, &mut decryptors, &Options::default()).await;
    let failed = report.values[0].decrypt_error.as_ref().unwrap();
    assert!(
        failed.contains("message authentication failed") && failed.contains("another key of etcd"),
        "{failed}"
    );
}

#[tokio::test]
async fn plugin_error_is_reported_once() {
    let (_dir, plugin, mut decryptors) = plugin().await;
    let object = EncryptedObject {
        encrypted_data: vec![7; 60],
        key_id: "2".into(),
        encrypted_dek_source: vec![1],
        encrypted_dek_source_type: 1,
        ..Default::default()
    };
    let value = stored::encode("p", &object).unwrap();
    let item = |key: &str| Stored {
        key: key.into(),
        value: value.clone(),
        create_revision: 1,
        mod_revision: 1,
        version: 1,
    };
    let report = inspect(
        &[item("/registry/secrets/a/a"), item("/registry/secrets/a/b")],
        &mut decryptors,
        &Options::default(),
    )
    .await;
    let failed = report.values[1].decrypt_error.as_ref().unwrap();
    assert!(
        failed.ends_with("FailedPrecondition: key disabled"),
        "{failed}"
    );
    assert_eq!(
        plugin.0.load(Ordering::Relaxed),
        1,
        "a dead key is asked once per DEK source"
    );
}

#[tokio::test]
async fn values_are_stale_relative_to_the_newest_of_their_resource() {
    let value = |key_id: &str| {
        let object = EncryptedObject {
            encrypted_data: vec![7; 60],
            key_id: key_id.into(),
            encrypted_dek_source: key_id.as_bytes().to_vec(),
            encrypted_dek_source_type: 1,
            ..Default::default()
        };
        stored::encode("p", &object).unwrap()
    };
    let items: Vec<_> = [
        ("/registry/configmaps/a/a", value("old"), 1),
        ("/registry/leases/a/a", b"k8s\0".to_vec(), 9),
        ("/registry/secrets/a/a", value("old"), 2),
        ("/registry/secrets/a/b", value("new"), 8),
        ("/registry/secrets/a/c", b"k8s\0".to_vec(), 7),
        ("/registry/e.com/widgets/a", value("new"), 5),
        ("/registry/e.com/gadgets/a", b"{}".to_vec(), 6),
    ]
    .into_iter()
    .map(|(key, value, at)| Stored {
        key: key.to_owned(),
        value,
        create_revision: 1,
        mod_revision: at,
        version: 1,
    })
    .collect();
    let report = inspect(&items, &mut Decryptors::default(), &Options::default()).await;
    let stale: Vec<_> = report.values.iter().map(|row| row.stale).collect();
    let (old, plain) = (Some(StaleReason::OtherKeyId), Some(StaleReason::Plaintext));
    assert_eq!(stale, [old, None, old, None, plain, None, None]);
}

#[tokio::test]
async fn history_includes_old_revisions() {
    let report = inspect(
        &snapshot(true).await,
        &mut Decryptors::default(),
        &Options::default(),
    )
    .await;
    let removed = report
        .values
        .iter()
        .filter(|row| row.key.ends_with("default/gone"))
        .map(|row| row.revision);
    assert_eq!(removed.collect::<Vec<_>>(), [126, 127]);
}

#[tokio::test]
async fn unusable_keys_are_rejected_with_a_remedy() {
    let line = seeds("zz\n").unwrap_err();
    assert!(
        line.to_string()
            .contains("line 1 is not a key in hex or base64"),
        "{line}"
    );
    assert!(
        seeds("# nothing\n")
            .unwrap_err()
            .to_string()
            .contains("it holds no keys")
    );
    let socket = Decryptors::default()
        .add_plugin(std::path::Path::new("/nonexistent/s.sock"))
        .await
        .unwrap_err();
    assert!(
        socket.to_string().contains("/nonexistent/s.sock"),
        "{socket}"
    );
    assert_eq!(
        (crate::exit::code(&line), crate::exit::code(&socket)),
        (2, 3)
    );
}

#[tokio::test]
async fn streamed_json_equals_the_report_sorted_by_key() {
    let keys = format!("{DEK}\n{SEED}\n");
    let options = Options {
        show_values: true,
        ..Options::default()
    };
    let mut report = inspect(&snapshot(false).await, &mut seeds(&keys).unwrap(), &options).await;
    report.values.sort_by(|a, b| a.key.cmp(&b.key));
    let written = printed(OutputFormat::Json, &mut seeds(&keys).unwrap(), &options).await;
    assert_eq!(
        written,
        format!("{}\n", serde_json::to_string_pretty(&report).unwrap())
    );

    let mut out = Vec::new();
    let none = source::Batches::from_items(Vec::new());
    inspect_all(
        none,
        &mut Decryptors::default(),
        &options,
        OutputFormat::Json,
        &mut out,
    )
    .await
    .unwrap();
    let empty = inspect(&[], &mut Decryptors::default(), &options).await;
    assert_eq!(
        String::from_utf8(out).unwrap(),
        format!("{}\n", serde_json::to_string_pretty(&empty).unwrap())
    );
}

#[tokio::test]
async fn restart_discards_earlier_values() {
    let values = snapshot(false).await;
    let batches = |all| source::Batches::from_batches(all);
    let (whole, again) = (
        batches(vec![source::Batch::Values(values.clone())]),
        batches(vec![
            source::Batch::Values(values[..50].to_vec()),
            source::Batch::Restart,
            source::Batch::Values(values[..9].to_vec()),
            source::Batch::Values(values[9..].to_vec()),
        ]),
    );
    let mut printed = Vec::new();
    for batches in [whole, again] {
        let mut out = Vec::new();
        inspect_all(
            batches,
            &mut Decryptors::default(),
            &Options::default(),
            OutputFormat::Json,
            &mut out,
        )
        .await
        .unwrap();
        printed.push(out);
    }
    assert!(printed[0] == printed[1]);
}

#[tokio::test]
async fn columns_fit_their_widest_cell_and_stale_has_its_own() {
    let mut values = snapshot(false).await;
    values.retain(|stored| stored.key.contains("/secrets/"));
    let mut out = Vec::new();
    let batches = source::Batches::from_items(values);
    inspect_all(
        batches,
        &mut Decryptors::default(),
        &Options::default(),
        OutputFormat::Table,
        &mut out,
    )
    .await
    .unwrap();
    let text = String::from_utf8(out).unwrap();
    let rows: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
    let at = rows[0].find("STALE").unwrap();
    let stale: Vec<&str> = rows[1..]
        .iter()
        .map(|row| row[at..].split("  ").next().unwrap())
        .collect();
    assert!(
        stale.contains(&"old-source-type") && stale.contains(&"-"),
        "{text}"
    );
    assert!(
        rows.iter()
            .all(|row| row.is_char_boundary(at) && row[..at].ends_with("  ")),
        "{text}"
    );
}
