//! Reads a large range in pages whose cost depends on their own size only.
//!
//! For each page, etcd counts all keys up to the end of the range (etcd#11057), so pages that all
//! end with the range take quadratic time. etcd 3.7 can stream a range without that cost. On older
//! servers, each page ends where about as many keys are expected as it may hold, and several pages
//! are requested at once.

use std::collections::VecDeque;

use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Request, Response, Status, Streaming};

use super::spacing::{Guess, KeySpacing};
use super::{
    CALL_TIMEOUT, EtcdClient, EtcdError, KeyValue, end_of_prefix, non_empty, pb, request, revision,
};

/// Concurrent page requests: etcd uses one processor for each.
const MAX_CONCURRENT_PAGES: usize = 3;
/// Approximate size of a page in bytes.
const TARGET_PAGE_BYTES: usize = 4 << 20;
/// Keys of the first page, while value sizes are unknown: etcd accepts values of 1.5 MiB.
const FIRST_PAGE_KEYS: i64 = 64;
/// Maximum number of keys in a page.
const MAX_PAGE_KEYS: i64 = 10_000;

/// The keys under a prefix at one revision, page by page.
#[derive(Debug)]
pub struct Pages {
    client: EtcdClient,
    prefix: String,
    end: Vec<u8>,
    revision: i64,
    limit: i64,
    pub(super) page_bytes: usize,
    spacing: KeySpacing,
    /// The rest of the range in order: requested pages, and what is between and after them.
    segments: VecDeque<Segment>,
    /// Whether the server is etcd. kine, used by k3s, supports only the end of the prefix as the
    /// end of a range; its responses have cluster id 0.
    is_etcd: bool,
    call: RangeCall,
    done: bool,
}

#[derive(Debug)]
struct Segment {
    from: Vec<u8>,
    end: Vec<u8>,
    asked: Option<PendingPage>,
}

/// A requested page.
#[derive(Debug)]
struct PendingPage {
    answer: AbortOnDropHandle<Result<Response<pb::RangeResponse>, Status>>,
    guess: Guess,
    limit: i64,
}

/// The call that reads keys.
#[derive(Debug)]
enum RangeCall {
    /// Not known yet.
    Any,
    RangeStream {
        stream: Box<Streaming<pb::RangeStreamResponse>>,
        begun: bool,
    },
    Range,
}

impl EtcdClient {
    /// Returns the keys under `prefix` at the newest revision, page by page.
    pub fn pages(&self, prefix: &str) -> Pages {
        let end = end_of_prefix(prefix.as_bytes());
        let whole = Segment {
            from: non_empty(prefix.as_bytes()),
            end: end.clone(),
            asked: None,
        };
        Pages {
            client: self.clone(),
            prefix: prefix.to_owned(),
            end,
            revision: 0,
            limit: FIRST_PAGE_KEYS,
            page_bytes: TARGET_PAGE_BYTES,
            spacing: KeySpacing::new(prefix.len()),
            segments: [whole].into(),
            is_etcd: false,
            call: RangeCall::Any,
            done: false,
        }
    }
}

impl Pages {
    /// Returns the next page, never an empty one; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<KeyValue>>, EtcdError> {
        if matches!(self.call, RangeCall::Any) {
            self.call = self.open_stream().await?;
        }
        while !self.done {
            let page = match &mut self.call {
                RangeCall::RangeStream { stream, begun } => {
                    let next = timeout(CALL_TIMEOUT, stream.message()).await;
                    let next = next.unwrap_or_else(|_| {
                        Err(Status::deadline_exceeded("nothing came for 30 s"))
                    });
                    match next {
                        // Over TLS, etcd 3.6 reports this after the headers of a response.
                        Err(status) if status.code() == Code::Unimplemented && !*begun => {
                            self.call = RangeCall::Range;
                            continue;
                        }
                        Err(status) => return Err(self.failed("RangeStream", status)),
                        Ok(chunk) => {
                            *begun = true;
                            self.next_streamed(chunk)
                        }
                    }
                }
                RangeCall::Any | RangeCall::Range => self.range().await?,
            };
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    async fn open_stream(&self) -> Result<RangeCall, EtcdError> {
        let range = pb::RangeRequest {
            key: non_empty(self.prefix.as_bytes()),
            range_end: self.end.clone(),
            ..Default::default()
        };
        // No timeout of the whole: a stream takes as long as the range is large.
        match timeout(
            CALL_TIMEOUT,
            self.client.kv.clone().range_stream(Request::new(range)),
        )
        .await
        {
            Ok(Ok(stream)) => Ok(RangeCall::RangeStream {
                stream: Box::new(stream.into_inner()),
                begun: false,
            }),
            Ok(Err(status)) if status.code() == Code::Unimplemented => Ok(RangeCall::Range),
            Ok(Err(status)) => Err(self.failed("RangeStream", status)),
            Err(_) => Err(self.failed(
                "RangeStream",
                Status::deadline_exceeded("no answer for 30 s"),
            )),
        }
    }

    fn next_streamed(&mut self, chunk: Option<pb::RangeStreamResponse>) -> Vec<KeyValue> {
        self.done = chunk.is_none();
        let range = chunk
            .and_then(|chunk| chunk.range_response)
            .unwrap_or_default();
        if range.header.is_some() {
            self.revision = revision(range.header.as_ref());
        }
        range.kvs
    }

    async fn range(&mut self) -> Result<Vec<KeyValue>, EtcdError> {
        self.request_pages();
        let Some(Segment {
            end,
            asked: Some(asked),
            ..
        }) = self.segments.pop_front()
        else {
            self.done = true;
            return Ok(Vec::new());
        };
        let answer = asked
            .answer
            .await
            .unwrap_or_else(|_| Err(Status::cancelled("the client ends")));
        let answer = answer
            .map_err(|status| self.failed("Range", status))?
            .into_inner();
        if self.revision == 0 {
            self.revision = revision(answer.header.as_ref());
            self.is_etcd = answer
                .header
                .as_ref()
                .is_some_and(|header| header.cluster_id != 0);
        }
        let kvs = answer.kvs;
        if let Some(last) = kvs.last() {
            let bytes: usize = kvs.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
            let fits = i64::try_from(self.page_bytes / (bytes / kvs.len()).max(1))
                .unwrap_or(MAX_PAGE_KEYS);
            // Increased step by step: the next values may be larger.
            self.limit = fits.min(self.limit * 4).clamp(1, MAX_PAGE_KEYS);
            if answer.more {
                let from = [&last.key[..], &[0]].concat();
                self.spacing.record_full_page(&kvs, &from, self.limit);
                // If the next segment is not requested yet, it is merged with this rest.
                let end = match self.segments.pop_front_if(|next| next.asked.is_none()) {
                    Some(next) => next.end,
                    None => end,
                };
                self.segments.push_front(Segment {
                    from,
                    end,
                    asked: None,
                });
                return Ok(kvs);
            }
        }
        self.spacing
            .record_short_page(asked.guess, kvs.len(), asked.limit);
        Ok(kvs)
    }

    /// Requests the next pages as far as their starts are known.
    fn request_pages(&mut self) {
        while let Some(at) = self
            .segments
            .iter()
            .position(|segment| segment.asked.is_none())
        {
            let under_way = self
                .segments
                .iter()
                .filter(|segment| segment.asked.is_some())
                .count();
            if under_way >= MAX_CONCURRENT_PAGES {
                return;
            }
            let Segment { from, end, .. } = &self.segments[at];
            let (guessed, guess) = self.spacing.page_end(from);
            // A zero byte as the end means all later keys.
            let fits = |guessed: &Vec<u8>| self.is_etcd && (*end == [0] || guessed < end);
            let upper = guessed.filter(fits).unwrap_or_else(|| end.clone());
            if upper == self.end && under_way > 0 {
                // The whole rest, of which more will be known later.
                return;
            }
            let (from, rest) = (
                from.clone(),
                (upper != *end).then(|| (upper.clone(), end.clone())),
            );
            let range = pb::RangeRequest {
                key: from.clone(),
                range_end: upper.clone(),
                limit: self.limit,
                revision: self.revision,
                ..Default::default()
            };
            let mut kv = self.client.kv.clone();
            let answer =
                AbortOnDropHandle::new(tokio::spawn(async move { kv.range(request(range)).await }));
            let asked = Some(PendingPage {
                answer,
                guess,
                limit: self.limit,
            });
            self.segments[at] = Segment {
                from,
                end: upper,
                asked,
            };
            if let Some((from, end)) = rest {
                self.segments.insert(
                    at + 1,
                    Segment {
                        from,
                        end,
                        asked: None,
                    },
                );
            }
        }
    }

    fn failed(&self, call: &str, status: Status) -> EtcdError {
        self.client
            .failed(&format!("{call} of {}", self.prefix), status)
    }

    /// The revision of all pages; known after the last.
    pub fn revision(&self) -> i64 {
        self.revision
    }
}
