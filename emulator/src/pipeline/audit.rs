//! The audit trail: an event for each request, in memory and optionally in a file.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kmslab_emulator_api::{AuditEvent, AuditPage, AuditQuery, Cloud, Detail, KeyUse};
use kmslab_keycore::Clock;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Labels;
use crate::counts::OK;

/// Default and maximum number of events of one query.
const DEFAULT_LIMIT: usize = 1000;
const MAX_LIMIT: usize = 10_000;
/// Maximum length in characters of what a request states about itself, and of names.
const MAX_TEXT_LEN: usize = 256;
const MAX_NAME_LEN: usize = 512;
/// Maximum length in characters of an error's message, which may repeat a part of the request.
const MAX_MESSAGE_LEN: usize = 1024;

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
        let value = headers.get(http::header::USER_AGENT)?.as_bytes();
        let text = String::from_utf8_lossy(value);
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
    pub(crate) operation: String,
    pub(crate) lab_time: Timestamp,
    pub(crate) request_id: String,
}

/// What a call tells the audit trail.
#[derive(Debug, Default)]
pub(crate) struct Audited {
    /// The keys whose material it used, as the core recorded it; else those that it names or
    /// created.
    pub(crate) keys: Vec<KeyUse>,
    pub(crate) detail: Option<Detail>,
}

impl Audited {
    /// Cuts everything that a request can make long, so that the number of events bounds the memory
    /// that they need.
    fn bounded(mut self) -> Self {
        for used in &mut self.keys {
            cut(&mut used.key, MAX_NAME_LEN);
            used.version
                .iter_mut()
                .for_each(|text| cut(text, MAX_TEXT_LEN));
        }
        let (message, names) = match &mut self.detail {
            None => return self,
            // Parameters are bounded where they are selected.
            Some(Detail::Aws(detail)) => (&mut detail.message, vec![]),
            Some(Detail::Azure(detail)) => (
                &mut detail.message,
                vec![
                    Some(&mut detail.uri),
                    Some(&mut detail.api_version),
                    detail.algorithm.as_mut(),
                ],
            ),
            Some(Detail::Gcp(detail)) => (
                &mut detail.message,
                vec![detail.permission.as_mut(), detail.resource.as_mut()],
            ),
        };
        message
            .iter_mut()
            .for_each(|text| cut(text, MAX_MESSAGE_LEN));
        for name in names.into_iter().flatten() {
            cut(name, MAX_NAME_LEN);
        }
        self
    }
}

/// Cuts a text after `length` characters.
fn cut(text: &mut String, length: usize) {
    if text.len() <= length {
        return;
    }
    if let Some((end, _)) = text.char_indices().nth(length) {
        text.truncate(end);
    }
}

/// The client's address without its port, as the services log it.
pub(crate) fn ip(event: &AuditEvent) -> Option<String> {
    let address: SocketAddr = event.address.as_ref()?.parse().ok()?;
    Some(address.ip().to_string())
}

fn duration_us(start: Option<Instant>) -> u64 {
    let duration = start.map(|start| start.elapsed()).unwrap_or_default();
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
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

/// Start of an event's JSON before it has its sequence number.
const UNNUMBERED: &[u8] = br#"{"sequence":0,"#;

#[derive(Debug, Default)]
struct Trail {
    /// The latest events as JSON after [`UNNUMBERED`], one allocation each. Their sequence numbers
    /// end with `recorded`.
    events: VecDeque<Arc<[u8]>>,
    recorded: u64,
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
                file,
                ..Trail::default()
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
    pub(crate) fn record(&self, ended: Ended<'_>) {
        if !self.is_on() {
            return;
        }
        let audited = ended.audited.bounded();
        let event = AuditEvent {
            sequence: 0,
            time: self.wall.now(),
            lab_time: self.lab.now(),
            cloud: ended.cloud,
            operation: ended.labels.operation.clone().into_owned(),
            keys: audited.keys,
            caller: {
                let mut caller = ended.labels.caller.clone().into_owned();
                cut(&mut caller, MAX_TEXT_LEN);
                caller
            },
            code: ended.code.to_owned(),
            request_id: ended.origin.request_id,
            address: ended.origin.address.map(|address| address.to_string()),
            user_agent: ended.origin.user_agent,
            faults: ended.faults,
            duration_us: duration_us(ended.origin.start),
            detail: audited.detail,
        };
        let json = match serde_json::to_vec(&event) {
            Ok(json) => json,
            Err(error) => {
                tracing::error!(%error, "an audit event cannot be written");
                return;
            }
        };
        let Some(rest) = json.strip_prefix(UNNUMBERED) else {
            return;
        };
        let kept = (self.capacity > 0).then(|| Arc::from(rest));
        let mut trail = self.lock();
        if event.code == OK {
            trail.note_uses(&event);
        }
        trail.recorded += 1;
        trail.write(rest);
        // Freed without the lock.
        let oldest = match trail.events.len() >= self.capacity {
            true => trail.events.pop_front(),
            false => None,
        };
        trail.events.extend(kept);
        let recorded = trail.recorded;
        drop(trail);
        drop(oldest);
        self.latest.send_replace(recorded);
    }

    /// The events that a query selects.
    pub(crate) fn query(&self, query: &AuditQuery) -> AuditPage {
        let (events, recorded) = {
            let trail = self.lock();
            let kept = trail.recorded - trail.events.len() as u64;
            let skipped = usize::try_from(query.since.saturating_sub(kept)).unwrap_or(usize::MAX);
            let events: Vec<_> = trail.events.iter().skip(skipped).cloned().collect();
            (events, trail.recorded)
        };
        let first = recorded + 1 - events.len() as u64;
        let lost = first.saturating_sub(query.since.min(recorded) + 1);
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
        let mut page = AuditPage {
            lost,
            next: recorded,
            ..AuditPage::default()
        };
        let numbered = (first..).zip(&events);
        for event in numbered.filter_map(|(number, rest)| parse(number, rest)) {
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
        trail.events.clear();
        trail.last_uses.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Trail> {
        self.trail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trail {
    fn note_uses(&mut self, event: &AuditEvent) {
        for used in &event.keys {
            if used.version.is_none() {
                continue;
            }
            let last = LastUse {
                operation: event.operation.clone(),
                lab_time: event.lab_time,
                request_id: event.request_id.clone(),
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
    fn write(&mut self, rest: &[u8]) {
        let sequence = self.recorded;
        let Some((path, file)) = &mut self.file else {
            return;
        };
        let mut line = numbered(sequence, rest);
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

/// The whole JSON of an event.
fn numbered(sequence: u64, rest: &[u8]) -> Vec<u8> {
    let start = format!(r#"{{"sequence":{sequence},"#);
    [start.as_bytes(), rest].concat()
}

fn parse(sequence: u64, rest: &[u8]) -> Option<AuditEvent> {
    serde_json::from_slice(&numbered(sequence, rest)).ok()
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
