//! A large range in pages that cost what they hold.
//!
//! etcd counts all keys of a range for each page of it (etcd#11057): pages that all end where the range ends cost the square of its
//! length. etcd 3.7 streams a range, which has no such cost. From older servers, a page ends where about as many keys are expected as it
//! takes, judged by how far apart keys were so far.

use tokio::time::timeout;
use tonic::{Code, Request, Streaming};

use super::{CALL_TIMEOUT, EtcdClient, EtcdError, KeyValue, end_of_prefix, non_empty, pb, request, revision};

/// Bytes that a page shall have about.
const PAGE_BYTES: usize = 4 << 20;
/// Keys of the first page, when nothing is known of their size: etcd takes values of 1.5 MiB.
const FIRST: i64 = 64;
/// Keys of a page at the most.
const MOST: i64 = 10_000;

/// The keys under a prefix at one revision, page by page.
#[derive(Debug)]
pub struct Pages {
    client: EtcdClient,
    prefix: String,
    from: Vec<u8>,
    end: Vec<u8>,
    revision: i64,
    limit: i64,
    spacing: Option<Spacing>,
    /// Whether the server is etcd itself. kine, which k3s has instead, takes the end of a prefix for a range's end and nothing else; it is
    /// known by its answers, which are of no cluster.
    is_etcd: bool,
    call: Call,
    done: bool,
}

/// By which call keys are read.
#[derive(Debug)]
enum Call {
    /// Not known yet.
    Any,
    RangeStream(Box<Streaming<pb::RangeStreamResponse>>),
    Range,
}

/// How far apart keys are: the bytes that they have in common, and how much the next eight grow over a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spacing {
    common: usize,
    grows: u64,
}

impl EtcdClient {
    /// The keys under `prefix` at the newest revision, page by page.
    pub fn pages(&self, prefix: &str) -> Pages {
        Pages {
            client: self.clone(),
            prefix: prefix.to_owned(),
            from: non_empty(prefix.as_bytes()),
            end: end_of_prefix(prefix.as_bytes()),
            revision: 0,
            limit: FIRST,
            spacing: None,
            is_etcd: false,
            call: Call::Any,
            done: false,
        }
    }
}

impl Pages {
    /// The next page, never an empty one; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<KeyValue>>, EtcdError> {
        if matches!(self.call, Call::Any) {
            self.call = self.open_stream().await?;
        }
        while !self.done {
            let page = match &mut self.call {
                Call::RangeStream(stream) => {
                    let next = timeout(CALL_TIMEOUT, stream.message()).await;
                    let next = next.unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("nothing came for 30 s")));
                    self.streamed(next.map_err(|status| self.failed("RangeStream", status))?)
                }
                Call::Any | Call::Range => self.range().await?,
            };
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    async fn open_stream(&self) -> Result<Call, EtcdError> {
        let range = self.request(self.end.clone(), 0);
        // No deadline: the stream as a whole takes as long as the range is large.
        match timeout(CALL_TIMEOUT, self.client.kv.clone().range_stream(Request::new(range))).await {
            Ok(Ok(stream)) => Ok(Call::RangeStream(Box::new(stream.into_inner()))),
            Ok(Err(status)) if status.code() == Code::Unimplemented => Ok(Call::Range),
            Ok(Err(status)) => Err(self.failed("RangeStream", status)),
            Err(_) => Err(self.failed("RangeStream", tonic::Status::deadline_exceeded("no answer for 30 s"))),
        }
    }

    fn streamed(&mut self, chunk: Option<pb::RangeStreamResponse>) -> Vec<KeyValue> {
        self.done = chunk.is_none();
        let range = chunk.and_then(|chunk| chunk.range_response).unwrap_or_default();
        if range.header.is_some() {
            self.revision = revision(range.header.as_ref());
        }
        range.kvs
    }

    async fn range(&mut self) -> Result<Vec<KeyValue>, EtcdError> {
        let upper = self.upper();
        let answer = self.client.kv.clone().range(request(self.request(upper.clone(), self.limit))).await;
        let answer = answer.map_err(|status| self.failed("Range", status))?.into_inner();
        if self.revision == 0 {
            self.revision = revision(answer.header.as_ref());
            self.is_etcd = answer.header.as_ref().is_some_and(|header| header.cluster_id != 0);
        }
        self.go_on(upper, &answer);
        Ok(answer.kvs)
    }

    fn request(&self, range_end: Vec<u8>, limit: i64) -> pb::RangeRequest {
        pb::RangeRequest { key: self.from.clone(), range_end, limit, revision: self.revision, ..Default::default() }
    }

    fn failed(&self, call: &str, status: tonic::Status) -> EtcdError {
        self.client.failed(&format!("{call} of {}", self.prefix), status)
    }

    /// The revision of all pages; known after the last.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Where this page shall end.
    fn upper(&self) -> Vec<u8> {
        let guess = self.spacing.filter(|_| self.is_etcd).and_then(|spacing| spacing.after(&self.from));
        // A zero byte alone as the end means every later key.
        guess.filter(|guess| self.end == [0] || *guess < self.end).unwrap_or_else(|| self.end.clone())
    }

    fn go_on(&mut self, upper: Vec<u8>, answer: &pb::RangeResponse) {
        let full = answer.more;
        if let (Some(first), Some(last)) = (answer.kvs.first(), answer.kvs.last()) {
            if full || self.spacing.is_none() {
                self.spacing = Spacing::between(&first.key, &last.key);
            }
            let bytes: usize = answer.kvs.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
            let each = (bytes / answer.kvs.len()).max(1);
            let fits = i64::try_from(PAGE_BYTES / each).unwrap_or(MOST);
            // Larger step by step: the next values may be others.
            self.limit = fits.min(self.limit * 4).clamp(1, MOST);
            if full {
                self.from = [&last.key[..], &[0]].concat();
                return;
            }
        }
        if upper == self.end {
            self.done = true;
            return;
        }
        self.from = upper;
        // Fewer than expected: the next page reaches further.
        if (answer.kvs.len() as i64) < self.limit / 2
            && let Some(spacing) = &mut self.spacing
        {
            spacing.widen();
        }
    }
}

impl Spacing {
    fn between(first: &[u8], last: &[u8]) -> Option<Self> {
        let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        let grows = number(last, common).saturating_sub(number(first, common));
        (grows > 0).then_some(Self { common, grows })
    }

    /// About a page after `from`; `None` where that is beyond the keys with the common beginning, and nothing is known of others.
    fn after(self, from: &[u8]) -> Option<Vec<u8>> {
        let common = from.get(..self.common)?;
        // A little more, so that a page is full rather than short.
        let end = number(from, self.common).checked_add(self.grows)?.checked_add(self.grows / 4)?;
        let upper = [common, &end.to_be_bytes()].concat();
        (upper.as_slice() > from).then_some(upper)
    }

    /// After some times the range has no end but its own.
    fn widen(&mut self) {
        self.grows = self.grows.saturating_mul(4);
    }
}

/// The eight bytes at `at` as a number, zeroes behind the end.
fn number(key: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(key.iter().skip(at)) {
        *to = *from;
    }
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_page_ends_about_as_far_on_as_the_one_before() {
        let spacing = Spacing::between(b"/registry/secrets/a/s0100", b"/registry/secrets/a/s0200").unwrap();
        assert_eq!(spacing.common, "/registry/secrets/a/s0".len());
        let upper = spacing.after(b"/registry/secrets/a/s0200\0").unwrap();
        assert!(
            (b"/registry/secrets/a/s0299".to_vec()..b"/registry/secrets/a/s0400".to_vec()).contains(&upper),
            "{upper:?}"
        );
        assert_eq!(Spacing::between(b"/a", b"/a"), None);
        assert_eq!(Spacing { common: 9, grows: 1 }.after(b"/a"), None);
        assert_eq!(Spacing { common: 1, grows: u64::MAX }.after(b"/a"), None);
    }

    proptest! {
        #[test]
        fn the_end_of_a_page_is_behind_its_beginning(first: Vec<u8>, last: Vec<u8>, from: Vec<u8>, times in 0u8..40) {
            if let Some(mut spacing) = Spacing::between(&first, &last) {
                for _ in 0..times {
                    spacing.widen();
                }
                if let Some(upper) = spacing.after(&from) {
                    prop_assert!(upper > from);
                }
            }
        }
    }
}
