//! Counts of values as they arrive. Whether a value is stale depends on its class only: all values
//! of a class are stale or none, which is known at the end, with the newest value of their
//! resource. Memory grows with the classes, and by a few bytes per DEK source.

use std::collections::{BTreeMap, HashMap, HashSet};

use kmslab_kmsv2::stored::EncryptedDekSourceType;
use kmslab_plugin::Label;

use super::report::{Group, Row, Summary};
use crate::etcd::Stored;
use crate::etcd::layout::resource_prefix;
use crate::etcd::stale::{CurrentKey, Origin, StaleReason, stale_reason_by_origin};
use crate::etcd::value::{Format, Value};
use kmslab_emulator_api::{BlobId, blob_id};

/// Number of a class.
pub(super) type ClassId = u32;

/// The properties that decide whether a value is stale.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Class {
    resource: String,
    format: Format,
    /// Damaged or of unknown format.
    problem: bool,
    provider: Option<String>,
    key_id: Option<String>,
    blob_id: Option<BlobId>,
    /// A DEK without a seed.
    old_source: bool,
}

#[derive(Debug, Default)]
struct Counted {
    values: usize,
    label: Option<Label>,
}

/// The newest KMS v2 value of each resource and provider: without access to the cluster they show
/// the key in use. A resource without KMS v2 values is assumed not to be configured for encryption.
#[derive(Debug, Default)]
struct Newest {
    provider_of: HashMap<String, (i64, String)>,
    current: HashMap<String, (i64, CurrentKey)>,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    etcd_prefix: Option<String>,
    classes: Vec<(Class, Counted)>,
    ids: HashMap<Class, ClassId>,
    newest: Newest,
    /// Hashes of DEK sources by group.
    sources: HashMap<GroupName, HashSet<[u8; 8]>>,
    decrypted: usize,
    not_decrypted: usize,
}

/// Format, provider and key_id.
type GroupName = (&'static str, Option<String>, Option<String>);

impl Tally {
    pub(super) fn new(etcd_prefix: Option<String>) -> Self {
        Self {
            etcd_prefix,
            ..Self::default()
        }
    }

    /// Counts a value, from which `row` was created.
    pub(super) fn count(&mut self, stored: &Stored, value: &Value<'_>, row: &Row) -> ClassId {
        let resource = resource_prefix(&stored.key, self.etcd_prefix.as_deref());
        let mut class = Class {
            resource: resource.to_owned(),
            format: value.format(),
            problem: row.problem.is_some(),
            provider: row.provider.clone(),
            key_id: row.key_id.clone(),
            blob_id: None,
            old_source: false,
        };
        if let Value::KmsV2 { provider, object } = value {
            class.blob_id = blob_id(&object.encrypted_dek_source);
            class.old_source = object.encrypted_dek_source_type
                != EncryptedDekSourceType::HkdfSha256XnonceAesGcmSeed as i32;
            self.newest.update_newest(
                resource,
                provider,
                &object.key_id,
                class.blob_id,
                stored.mod_revision,
            );
        }
        if let Some(source) = &row.dek_source {
            let name = (row.kind, row.provider.clone(), row.key_id.clone());
            self.sources
                .entry(name)
                .or_default()
                .insert(source.id_bytes());
        }
        self.decrypted += usize::from(row.plaintext.is_some());
        self.not_decrypted += usize::from(row.decrypt_error.is_some());
        let next = ClassId::try_from(self.classes.len()).unwrap_or(ClassId::MAX);
        let id = *self.ids.entry(class).or_insert_with_key(|class| {
            self.classes.push((
                class.clone(),
                Counted {
                    values: 0,
                    label: row.label.clone(),
                },
            ));
            next
        });
        self.classes[id as usize].1.values += 1;
        id
    }

    /// For each class, why its values are not encrypted with the key of the newest value of their
    /// resource; `None` if they are, or if their resource is not encrypted.
    pub(super) fn stale(&self) -> Vec<Option<StaleReason>> {
        self.classes
            .iter()
            .map(|(class, _)| self.newest.stale_reason(class))
            .collect()
    }

    pub(super) fn summary(&self) -> Summary {
        let mut summary = Summary {
            decrypted: self.decrypted,
            not_decrypted: self.not_decrypted,
            ..Summary::default()
        };
        let mut groups: BTreeMap<GroupName, Group> = BTreeMap::new();
        for ((class, counted), stale) in self.classes.iter().zip(self.stale()) {
            let values = counted.values;
            let stale = if stale.is_some() { values } else { 0 };
            let plaintext = class.format.is_plaintext();
            let unknown = matches!(
                class.format,
                Format::UnknownEncrypted | Format::Unrecognised
            );
            summary.total += values;
            summary.stale += stale;
            if !plaintext && class.format != Format::Unrecognised {
                summary.encrypted += values;
            }
            match (class.problem, unknown) {
                (true, true) => summary.unknown += values,
                (true, false) => summary.damaged += values,
                (false, _) if plaintext => summary.plaintext += values,
                _ => {}
            }
            let name = (
                class.format.as_str(),
                class.provider.clone(),
                class.key_id.clone(),
            );
            let group = groups
                .entry(name)
                .or_insert_with_key(|(kind, provider, key_id)| Group {
                    kind,
                    provider: provider.clone(),
                    key_id: key_id.clone(),
                    label: counted.label.clone(),
                    ..Group::default()
                });
            group.count += values;
            group.stale += stale;
        }
        summary.problems = summary.damaged + summary.unknown;
        let mut all: HashSet<&[u8; 8]> = HashSet::new();
        for (name, sources) in &self.sources {
            if let Some(group) = groups.get_mut(name) {
                group.dek_sources = sources.len();
            }
            if self.sources.len() > 1 {
                all.extend(sources);
            } else {
                summary.dek_sources = sources.len();
            }
        }
        summary.dek_sources = summary.dek_sources.max(all.len());
        summary.groups = groups.into_values().collect();
        summary
    }
}

impl Newest {
    /// Of two values of one revision, written by one transaction, the later counts.
    fn update_newest(
        &mut self,
        resource: &str,
        provider: &str,
        key_id: &str,
        blob_id: Option<BlobId>,
        revision: i64,
    ) {
        match self.provider_of.get_mut(resource) {
            Some((known, of)) if *known <= revision => {
                *known = revision;
                if of != provider {
                    provider.clone_into(of);
                }
            }
            Some(_) => {}
            None => drop(
                self.provider_of
                    .insert(resource.to_owned(), (revision, provider.to_owned())),
            ),
        }
        match self.current.get_mut(provider) {
            Some((known, current)) if *known <= revision => {
                *known = revision;
                if current.key_id.as_deref() != Some(key_id) {
                    current.key_id = Some(key_id.to_owned());
                }
                current.blob_id = blob_id;
            }
            Some(_) => {}
            None => {
                let key_id = Some(key_id.to_owned());
                let current = CurrentKey {
                    provider: provider.to_owned(),
                    key_id,
                    blob_id,
                    sources: None,
                };
                self.current
                    .insert(provider.to_owned(), (revision, current));
            }
        }
    }

    fn stale_reason(&self, class: &Class) -> Option<StaleReason> {
        let (_, provider) = self.provider_of.get(&class.resource)?;
        let (_, current) = self.current.get(provider)?;
        let origin = match class.format {
            _ if class.problem => Origin::Unreadable,
            Format::KmsV2 => Origin::KmsV2 {
                provider: class.provider.as_deref().unwrap_or_default(),
                key_id: class.key_id.as_deref().unwrap_or_default(),
                other_version: current.blob_id.is_some() && current.blob_id != class.blob_id,
                old_source: class.old_source,
            },
            format if format.is_plaintext() => Origin::Plaintext,
            _ => Origin::OtherFormat,
        };
        stale_reason_by_origin(&origin, current)
    }
}
