//! `/audit` and `/audit/stream` of the admin port.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State as Extract};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Json, Response};
use futures::stream::{self, Stream};
use kmslab_emulator_api::{AuditEvent, AuditQuery};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::problem;
use crate::audit_export::{AuditFormat, export_audit};
use crate::pipeline::audit::Audit;
use crate::state::State;

const PARAMETERS: &str = "there are since, limit, cloud, operation, key, caller and code, as in /audit?since=0&operation=Decrypt";
const OFF: &str = "no audit events are kept: start the emulator with another --audit-events than 0";

/// What a stream of events needs.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    pub(super) state: Arc<State>,
    /// Cancelled when the emulator stops.
    pub(super) stop: CancellationToken,
}

type Asked = Result<Query<AuditQuery>, QueryRejection>;

pub(super) async fn query(Extract(state): Extract<Arc<State>>, asked: Asked) -> Response {
    match parse(&state, asked) {
        Ok(query) => Json(audit(&state).query(&query)).into_response(),
        Err(response) => *response,
    }
}

/// The events of a query in a vendor's shape.
pub(super) async fn export(
    Extract(state): Extract<Arc<State>>,
    Path(format): Path<String>,
    asked: Asked,
) -> Response {
    let format: AuditFormat = match format.parse() {
        Ok(format) => format,
        Err(error) => return problem(StatusCode::NOT_FOUND, error.to_string()),
    };
    let query = match parse(&state, asked) {
        Ok(query) => query,
        Err(response) => return *response,
    };
    let page = audit(&state).query(&query);
    let records: Vec<Value> = page
        .events
        .iter()
        .filter_map(|event| export_audit(event, format))
        .collect();
    let body = json!({
        "records": records,
        "next": page.next,
        "lost": page.lost,
        "more": page.more,
    });
    Json(body).into_response()
}

/// Server-sent events: `audit` for each event, `lost` with a number where events are missing.
pub(super) async fn follow(Extract(streams): Extract<Streams>, asked: Asked) -> Response {
    match parse(&streams.state, asked) {
        Ok(query) => Sse::new(events(streams, query))
            .keep_alive(KeepAlive::default())
            .into_response(),
        Err(response) => *response,
    }
}

fn audit(state: &State) -> &Audit {
    &state.services.pipeline.audit
}

fn parse(state: &State, asked: Asked) -> Result<AuditQuery, Box<Response>> {
    if !audit(state).keeps_events() {
        return Err(Box::new(problem(StatusCode::CONFLICT, OFF)));
    }
    match asked {
        Ok(Query(query)) => Ok(query),
        Err(rejection) => {
            let message = format!(
                "not an audit query ({}); {PARAMETERS}",
                rejection.body_text()
            );
            Err(Box::new(problem(StatusCode::BAD_REQUEST, message)))
        }
    }
}

/// Where a stream is.
struct Position {
    streams: Streams,
    query: AuditQuery,
    latest: watch::Receiver<u64>,
    /// Read and not sent yet.
    pending: VecDeque<AuditEvent>,
}

fn events(
    streams: Streams,
    query: AuditQuery,
) -> impl Stream<Item = Result<Event, Infallible>> + use<> {
    let position = Position {
        latest: audit(&streams.state).subscribe(),
        streams,
        query,
        pending: VecDeque::new(),
    };
    stream::unfold(position, |mut position| async {
        let event = position.next().await?;
        Some((Ok(event), position))
    })
}

impl Position {
    /// The next event; `None` when the emulator stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                let id = event.sequence.to_string();
                let sent = Event::default().event("audit").id(id).json_data(&event);
                return sent.ok();
            }
            self.latest.borrow_and_update();
            let page = audit(&self.streams.state).query(&self.query);
            self.query.since = page.next;
            self.pending = page.events.into();
            if page.lost > 0 {
                return Some(Event::default().event("lost").data(page.lost.to_string()));
            }
            if self.pending.is_empty() {
                tokio::select! {
                    () = self.streams.stop.cancelled() => return None,
                    changed = self.latest.changed() => changed.ok()?,
                }
            }
        }
    }
}
