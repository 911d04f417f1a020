//! One fault with its counters: which requests it selects, and which of them it hits.

use fastrand::Rng;
use jiff::Timestamp;
use kmslab_emulator_api::{Cloud, Fault, FaultStatus};
use tokio_util::sync::CancellationToken;

/// A request that a fault may select.
pub(super) struct Candidate<'a> {
    pub(super) cloud: Cloud,
    pub(super) operation: &'a str,
    pub(super) caller: &'a str,
}

/// The key and the version that a request uses. Each has several names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    /// Names of the key, such as id, ARN and alias.
    pub(crate) key: Vec<String>,
    /// Names of the version; empty if the request uses none.
    pub(crate) version: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Entry {
    /// Distinguishes faults of the same name that follow each other.
    pub(super) id: u64,
    pub(super) fault: Fault,
    from: Timestamp,
    until: Timestamp,
    selected: u64,
    hits: u64,
    rng: Rng,
    bucket: Option<Bucket>,
    /// Cancelled when the fault is removed.
    pub(super) removed: CancellationToken,
}

impl Entry {
    /// `added` is the time on the lab clock.
    pub(super) fn new(id: u64, fault: Fault, rng: Rng, added: Timestamp) -> Self {
        let on_clock = |moment: kmslab_emulator_api::Moment| moment.on_clock(added);
        Self {
            id,
            from: fault.from.map_or(Timestamp::MIN, on_clock),
            until: fault.until.map_or(Timestamp::MAX, on_clock),
            bucket: fault.rate.map(Bucket::new),
            fault,
            selected: 0,
            hits: 0,
            rng,
            removed: CancellationToken::new(),
        }
    }

    pub(super) fn status(&self) -> FaultStatus {
        FaultStatus {
            fault: self.fault.clone(),
            selected: self.selected,
            hits: self.hits,
        }
    }

    pub(super) fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Reports whether all fields but those about the key match.
    pub(super) fn matches(&self, candidate: &Candidate<'_>, lab_now: Timestamp) -> bool {
        let fault = &self.fault;
        fault.cloud.is_none_or(|cloud| cloud == candidate.cloud)
            && fault.effect.applies_to(candidate.cloud)
            && (fault.operations.is_empty()
                || fault
                    .operations
                    .iter()
                    .any(|name| name == candidate.operation))
            && fault
                .caller
                .as_deref()
                .is_none_or(|caller| caller == candidate.caller)
            && (self.from..self.until).contains(&lab_now)
            && fault.count.is_none_or(|count| self.hits < count)
    }

    /// Reports whether [`Entry::matches_subject`] needs a subject.
    pub(super) fn selects_by_subject(&self) -> bool {
        self.fault.key.is_some() || self.fault.version.is_some()
    }

    /// Reports whether the key and the version match.
    pub(super) fn matches_subject(&self, subject: Option<&Subject>) -> bool {
        let matches = |wanted: Option<&String>, names: &[String]| {
            wanted.is_none_or(|wanted| names.iter().any(|name| name.eq_ignore_ascii_case(wanted)))
        };
        let none = Subject::default();
        let subject = subject.unwrap_or(&none);
        matches(self.fault.key.as_ref(), &subject.key)
            && matches(self.fault.version.as_ref(), &subject.version)
    }

    /// Counts a selected request and decides whether it is hit.
    pub(super) fn draw(&mut self, wall_now: Timestamp) -> bool {
        self.selected += 1;
        let Some(considered) = self.selected.checked_sub(self.fault.skip.unwrap_or(0)) else {
            return false;
        };
        let hit = considered > 0
            && considered.is_multiple_of(self.fault.every.unwrap_or(1))
            && self
                .bucket
                .as_mut()
                .is_none_or(|bucket| !bucket.take(wall_now))
            && self.fault.share.is_none_or(|share| self.rng.f64() < share);
        self.hits += u64::from(hit);
        hit
    }

    /// Uncounts a hit that could change nothing.
    pub(super) fn take_back(&mut self) {
        self.hits = self.hits.saturating_sub(1);
    }
}

/// A token bucket: requests per second that are let through. A second's worth may come at once.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    tokens: f64,
    filled: Option<Timestamp>,
}

impl Bucket {
    fn new(rate: f64) -> Self {
        Self {
            rate,
            tokens: rate.max(1.0),
            filled: None,
        }
    }

    /// Takes a token if there is one.
    fn take(&mut self, now: Timestamp) -> bool {
        if let Some(filled) = self.filled {
            let seconds = now.duration_since(filled).as_secs_f64().max(0.0);
            self.tokens = (self.tokens + seconds * self.rate).min(self.rate.max(1.0));
        }
        self.filled = Some(now);
        let has = self.tokens >= 1.0;
        if has {
            self.tokens -= 1.0;
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use kmslab_emulator_api::{Effect, Moment};

    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn entry(change: impl FnOnce(&mut Fault)) -> Entry {
        let mut fault = Fault::new(Effect::TokenExpired);
        change(&mut fault);
        Entry::new(1, fault, Rng::with_seed(7), START)
    }

    /// Numbers of the hit requests among `requests`, from 1.
    fn hits(entry: &mut Entry, requests: u64) -> Vec<u64> {
        let candidate = Candidate {
            cloud: Cloud::Aws,
            operation: "Encrypt",
            caller: "test",
        };
        (1..=requests)
            .filter(|_| entry.matches(&candidate, START) && entry.draw(START))
            .collect()
    }

    #[test]
    fn skip_every_and_count_select_by_number() {
        assert_eq!(hits(&mut entry(|_| {}), 3), [1, 2, 3]);
        assert_eq!(hits(&mut entry(|fault| fault.skip = Some(2)), 5), [3, 4, 5]);
        assert_eq!(hits(&mut entry(|fault| fault.every = Some(2)), 5), [2, 4]);
        assert_eq!(hits(&mut entry(|fault| fault.count = Some(2)), 5), [1, 2]);
        let mut all = entry(|fault| {
            (fault.skip, fault.every, fault.count) = (Some(1), Some(3), Some(2));
        });
        assert_eq!(hits(&mut all, 20), [4, 7]);
        assert_eq!(
            (all.status().selected, all.status().hits),
            (7, 2),
            "a fault that is used up selects no more"
        );
    }

    #[test]
    fn share_is_the_same_for_the_same_seed() {
        let half = || entry(|fault| fault.share = Some(0.5));
        let first = hits(&mut half(), 1000);
        assert_eq!(first, hits(&mut half(), 1000));
        assert!((400..600).contains(&first.len()), "{}", first.len());
        assert_eq!(
            hits(&mut entry(|fault| fault.share = Some(1.0)), 4).len(),
            4
        );
    }

    #[test]
    fn rate_hits_the_requests_beyond_it() {
        let mut limited = entry(|fault| fault.rate = Some(2.0));
        let at = |millis| START + SignedDuration::from_millis(millis);
        let hit: Vec<bool> = [0, 0, 0, 400, 500, 1000, 9000, 9000, 9000]
            .map(|millis| limited.draw(at(millis)))
            .into();
        let expected = [false, false, true, true, false, false, false, false, true];
        assert_eq!(hit, expected);
        // A clock that is set back refills nothing.
        assert!(limited.draw(at(0)));
    }

    #[test]
    fn window_is_on_the_lab_clock_and_ends_before_its_end() {
        let second = SignedDuration::from_secs(1);
        let window = entry(|fault| {
            fault.from = Some(Moment::After(second));
            fault.until = Some(Moment::After(second * 3));
        });
        let candidate = Candidate {
            cloud: Cloud::Gcp,
            operation: "Decrypt",
            caller: "",
        };
        let inside: Vec<bool> = (0..5)
            .map(|n| window.matches(&candidate, START + second * n))
            .collect();
        assert_eq!(inside, [false, true, true, false, false]);
    }

    #[test]
    fn all_fields_must_match() {
        let candidate = Candidate {
            cloud: Cloud::Azure,
            operation: "KeyWrap",
            caller: "app",
        };
        for (change, expected) in [
            (&(|_: &mut Fault| {}) as &dyn Fn(&mut Fault), true),
            (&|fault| fault.cloud = Some(Cloud::Azure), true),
            (&|fault| fault.cloud = Some(Cloud::Gcp), false),
            (
                &|fault| fault.operations = vec!["A".into(), "KeyWrap".into()],
                true,
            ),
            (&|fault| fault.operations = vec!["KeyUnwrap".into()], false),
            (&|fault| fault.caller = Some("app".into()), true),
            (&|fault| fault.caller = Some("other".into()), false),
        ] {
            let entry = entry(change);
            assert_eq!(
                entry.matches(&candidate, START),
                expected,
                "{:?}",
                entry.fault
            );
        }
        let subject = Subject {
            key: vec!["k".into(), "vault/k".into()],
            version: vec!["ab12".into()],
        };
        for (key, version, expected) in [
            (None, None, true),
            (Some("vault/k"), None, true),
            (Some("VAULT/K"), Some("ab12"), true),
            (Some("other"), None, false),
            (Some("k"), Some("cd"), false),
            (None, Some("AB12"), true),
        ] {
            let entry = entry(|fault| {
                fault.key = key.map(str::to_owned);
                fault.version = version.map(str::to_owned);
            });
            assert_eq!(entry.matches_subject(Some(&subject)), expected);
            assert_eq!(
                entry.matches_subject(None),
                key.is_none() && version.is_none(),
                "a request that uses no key"
            );
        }
    }
}
