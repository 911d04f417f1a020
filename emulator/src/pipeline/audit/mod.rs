//! The audit trail: an event for each request, in memory and optionally in a file.

mod audited;
mod kept;
mod record;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kmslab_emulator_api::{AuditEvent, AuditPage, AuditQuery, Cloud};
use kmslab_keycore::Clock;
use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) use audited::Audited;
use audited::MAX_TEXT_LEN;
use kept::Kept;
use record::Record;

use super::Labels;
use crate::counts::OK;

/// Default and maximum number of events of one query.
const DEFAULT_LIMIT: usize = 1000;
const MAX_LIMIT: usize = 10_000;
/// Where a request comes from, and the id of its response.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// When the request's headers were read.
    pub(crate) start: Option<Instant>,
    pub(crate) request_id: String,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) user_agent: Option<String>,
}

impl Origin {
    /// The start of a `User-Agent` header, without control characters.
    pub(crate) fn user_agent(headers: &http::HeaderMap) -> Option<String> {
        let value = headers.get(http::header::USER_AGENT)?;
        let is_short = value.len() <= MAX_TEXT_LEN;
        if is_short
            && value
                .as_bytes()
                .iter()
                .all(|byte| matches!(byte, b' '..=b'~'))
        {
            return value.to_str().ok().map(str::to_owned);
        }
        let text = String::from_utf8_lossy(value.as_bytes());
        let text = text.chars().filter(|letter| !letter.is_control());
        Some(text.take(MAX_TEXT_LEN).collect())
    }
}

/// A request that has ended.
#[derive(Debug)]
pub(crate) struct Ended<'a> {
    pub(crate) cloud: Cloud,
    pub(crate) labels: &'a Labels,
    pub(crate) code: &'a str,
    pub(crate) audited: Audited,
    pub(crate) origin: Origin,
    pub(crate) faults: Vec<String>,
}

/// A successful use of a key's material.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastUse {
    pub(crate) operation: Cow<'static, str>,
    pub(crate) lab_time: Timestamp,
    pub(crate) request_id: String,
}

/// The client's address without its port, as the services log it.
pub(crate) fn ip(event: &AuditEvent) -> Option<String> {
    let address: SocketAddr = event.address.as_ref()?.parse().ok()?;
    Some(address.ip().to_string())
}

/// The audit trail of an emulator.
#[derive(Debug)]
pub(crate) struct Audit {
    lab: Arc<dyn Clock>,
    wall: Arc<dyn Clock>,
    capacity: usize,
    has_file: bool,
    trail: Mutex<Trail>,
    /// Sequence number of the latest event.
    latest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Trail {
    kept: Kept,
    /// The latest successful use of each key.
    last_uses: HashMap<String, LastUse>,
    file: Option<(PathBuf, File)>,
}

impl Audit {
    /// Keeps the latest `capacity` events, none if it is 0, and writes all of them to `file`.
    pub(crate) fn new(
        capacity: usize,
        file: Option<(PathBuf, File)>,
        lab: Arc<dyn Clock>,
        wall: Arc<dyn Clock>,
    ) -> Self {
        Self {
            lab,
            wall,
            capacity,
            has_file: file.is_some(),
            trail: Mutex::new(Trail {
                kept: Kept::new(capacity),
                last_uses: HashMap::new(),
                file,
            }),
            latest: watch::Sender::new(0),
        }
    }

    /// Whether requests are recorded.
    pub(crate) fn is_on(&self) -> bool {
        self.capacity > 0 || self.has_file
    }

    /// Whether queries find anything.
    pub(crate) fn keeps_events(&self) -> bool {
        self.capacity > 0
    }

    /// Records a request.
    pub(crate) fn record(&self, mut ended: Ended<'_>) {
        if !self.is_on() {
            return;
        }
        ended.audited.bound();
        let lab_time = self.lab.now();
        let json = match Record::new(&ended, self.wall.now(), lab_time).to_json() {
            Ok(json) => json,
            Err(error) => {
                tracing::error!(%error, "an audit event cannot be written");
                return;
            }
        };
        let mut trail = self.lock();
        if ended.code == OK {
            trail.note_uses(&ended, lab_time);
        }
        let sequence = trail.kept.push(&json);
        trail.write(sequence, &json);
        drop(trail);
        self.latest.send_replace(sequence);
    }

    /// The events that a query selects.
    pub(crate) fn query(&self, query: &AuditQuery) -> AuditPage {
        let kept = self.lock().kept.clone();
        let recorded = kept.recorded();
        let lost = kept
            .numbers()
            .start
            .saturating_sub(query.since.min(recorded) + 1);
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
        let mut page = AuditPage {
            lost,
            next: recorded,
            ..AuditPage::default()
        };
        let events = kept.after(query.since);
        for event in events.filter_map(|(number, json)| record::parse(number, json)) {
            if !query.matches(&event) {
                continue;
            }
            if page.events.len() == limit {
                page.more = true;
                page.next = page.events.last().map_or(page.next, |last| last.sequence);
                break;
            }
            page.events.push(event);
        }
        page
    }

    /// The latest successful use of a key's material.
    pub(crate) fn last_use(&self, key: &str) -> Option<LastUse> {
        self.lock().last_uses.get(key).cloned()
    }

    /// Notifies of new events.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }

    /// Forgets all events. Their numbers are not used again.
    pub(crate) fn reset(&self) {
        let mut trail = self.lock();
        trail.kept.clear();
        trail.last_uses.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Trail> {
        self.trail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trail {
    fn note_uses(&mut self, ended: &Ended<'_>, lab_time: Timestamp) {
        for used in &ended.audited.keys {
            if used.version.is_none() {
                continue;
            }
            let last = LastUse {
                operation: ended.labels.operation.clone(),
                lab_time,
                request_id: ended.origin.request_id.clone(),
            };
            match self.last_uses.get_mut(&used.key) {
                Some(use_) => *use_ = last,
                None => {
                    self.last_uses.insert(used.key.clone(), last);
                }
            }
        }
    }

    /// Appends the latest event to the file. One write for each, so that a killed process loses
    /// none.
    fn write(&mut self, sequence: u64, json: &[u8]) {
        let Some((path, file)) = &mut self.file else {
            return;
        };
        let mut line = record::numbered(sequence, json);
        line.push(b'\n');
        if let Err(error) = file.write_all(&line) {
            tracing::error!(
                path = %path.display(), %error, sequence,
                "the audit file cannot be written and ends before this event; requests go on"
            );
            self.file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use kmslab_keycore::ManualClock;

    use super::*;

    fn audit(capacity: usize) -> Audit {
        let clock = || Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        Audit::new(capacity, None, clock(), clock())
    }

    fn record(audit: &Audit, operation: &'static str) {
        audit.record(Ended {
            cloud: Cloud::Aws,
            labels: &Labels {
                operation: operation.into(),
                caller: "test".into(),
            },
            code: "OK",
            audited: Audited::default(),
            origin: Origin::default(),
            faults: Vec::new(),
        });
    }

    fn sequences(page: &AuditPage) -> Vec<u64> {
        page.events.iter().map(|event| event.sequence).collect()
    }

    #[test]
    fn query_returns_events_after_a_number_and_says_how_many_are_lost() {
        let audit = audit(3);
        for _ in 0..5 {
            record(&audit, "Encrypt");
        }
        let all = audit.query(&AuditQuery::default());
        assert_eq!((sequences(&all), all.lost, all.next), (vec![3, 4, 5], 2, 5));
        let since = |since| AuditQuery {
            since,
            ..AuditQuery::default()
        };
        let page = audit.query(&since(4));
        assert_eq!((sequences(&page), page.lost, page.next), (vec![5], 0, 5));
        for after in [5, 99] {
            let page = audit.query(&since(after));
            assert_eq!((sequences(&page), page.lost, page.next), (vec![], 0, 5));
        }
        audit.reset();
        let page = audit.query(&since(3));
        assert_eq!((sequences(&page), page.lost, page.next), (vec![], 2, 5));
    }

    #[test]
    fn pages_continue_where_the_last_one_ended() {
        let audit = audit(100);
        for number in 0..6 {
            record(&audit, ["Encrypt", "Decrypt"][number % 2]);
        }
        let mut query = AuditQuery {
            operation: Some("Decrypt".to_owned()),
            limit: Some(2),
            ..AuditQuery::default()
        };
        let page = audit.query(&query);
        assert_eq!(
            (sequences(&page), page.more, page.next),
            (vec![2, 4], true, 4)
        );
        query.since = page.next;
        let page = audit.query(&query);
        assert_eq!(
            (sequences(&page), page.more, page.next),
            (vec![6], false, 6)
        );
    }

    #[test]
    fn nothing_is_kept_without_capacity() {
        let audit = audit(0);
        record(&audit, "Encrypt");
        assert_eq!(audit.query(&AuditQuery::default()), AuditPage::default());
    }
}
