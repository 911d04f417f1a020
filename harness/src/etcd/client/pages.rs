//! A large range in pages that cost what they hold.
//!
//! etcd counts all keys of a range for each page of it (etcd#11057): pages that all end where the
//! range ends cost the square of its length. etcd 3.7 streams a range, which has no such cost. From
//! older servers, a page ends where about as many keys are expected as it takes, and some are asked
//! for at once.

use std::collections::VecDeque;

use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Request, Response, Status, Streaming};

use super::spacing::{Guess, Spacing};
use super::{
    CALL_TIMEOUT, EtcdClient, EtcdError, KeyValue, end_of_prefix, non_empty, pb, request, revision,
};

/// Pages on their way at once: etcd uses one processor for each.
const AT_ONCE: usize = 3;
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
    end: Vec<u8>,
    revision: i64,
    limit: i64,
    pub(super) page_bytes: usize,
    spacing: Spacing,
    /// What is left of the range, in order: pages that are asked for, and what is between and
    /// behind them.
    segments: VecDeque<Segment>,
    /// Whether the server is etcd itself. kine, which k3s has instead, takes the end of a prefix
    /// for a range's end and nothing else; it is known by its answers, which are of no cluster.
    is_etcd: bool,
    call: Call,
    done: bool,
}

#[derive(Debug)]
struct Segment {
    from: Vec<u8>,
    end: Vec<u8>,
    asked: Option<Asked>,
}

/// A page on its way.
#[derive(Debug)]
struct Asked {
    answer: AbortOnDropHandle<Result<Response<pb::RangeResponse>, Status>>,
    guess: Guess,
    limit: i64,
}

/// By which call keys are read.
#[derive(Debug)]
enum Call {
    /// Not known yet.
    Any,
    RangeStream {
        stream: Box<Streaming<pb::RangeStreamResponse>>,
        begun: bool,
    },
    Range,
}

impl EtcdClient {
    /// The keys under `prefix` at the newest revision, page by page.
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
            limit: FIRST,
            page_bytes: PAGE_BYTES,
            spacing: Spacing::new(prefix.len()),
            segments: [whole].into(),
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
                Call::RangeStream { stream, begun } => {
                    let next = timeout(CALL_TIMEOUT, stream.message()).await;
                    let next = next.unwrap_or_else(|_| {
                        Err(Status::deadline_exceeded("nothing came for 30 s"))
                    });
                    match next {
                        // Over TLS, etcd 3.6 says so behind the headers of an answer.
                        Err(status) if status.code() == Code::Unimplemented && !*begun => {
                            self.call = Call::Range;
                            continue;
                        }
                        Err(status) => return Err(self.failed("RangeStream", status)),
                        Ok(chunk) => {
                            *begun = true;
                            self.streamed(chunk)
                        }
                    }
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
        let range = pb::RangeRequest {
            key: non_empty(self.prefix.as_bytes()),
            range_end: self.end.clone(),
            ..Default::default()
        };
        // No deadline: the stream as a whole takes as long as the range is large.
        match timeout(
            CALL_TIMEOUT,
            self.client.kv.clone().range_stream(Request::new(range)),
        )
        .await
        {
            Ok(Ok(stream)) => Ok(Call::RangeStream {
                stream: Box::new(stream.into_inner()),
                begun: false,
            }),
            Ok(Err(status)) if status.code() == Code::Unimplemented => Ok(Call::Range),
            Ok(Err(status)) => Err(self.failed("RangeStream", status)),
            Err(_) => Err(self.failed(
                "RangeStream",
                Status::deadline_exceeded("no answer for 30 s"),
            )),
        }
    }

    fn streamed(&mut self, chunk: Option<pb::RangeStreamResponse>) -> Vec<KeyValue> {
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
        self.ask();
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
            let fits = i64::try_from(self.page_bytes / (bytes / kvs.len()).max(1)).unwrap_or(MOST);
            // Larger step by step: the next values may be others.
            self.limit = fits.min(self.limit * 4).clamp(1, MOST);
            if answer.more {
                let from = [&last.key[..], &[0]].concat();
                self.spacing.full(&kvs, &from, self.limit);
                // What follows may not be asked for yet: then it is one piece with this rest.
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
        self.spacing.short(asked.guess, kvs.len(), asked.limit);
        Ok(kvs)
    }

    /// Asks for the next pages, as long as it is known where they begin.
    fn ask(&mut self) {
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
            if under_way >= AT_ONCE {
                return;
            }
            let Segment { from, end, .. } = &self.segments[at];
            let (guessed, guess) = self.spacing.end(from);
            // A zero byte alone as the end means every later key.
            let fits = |guessed: &Vec<u8>| self.is_etcd && (*end == [0] || guessed < end);
            let upper = guessed.filter(fits).unwrap_or_else(|| end.clone());
            if upper == self.end && under_way > 0 {
                // The whole rest, of which more will be known.
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
            let asked = Some(Asked {
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
