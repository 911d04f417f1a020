//! `GET /clock` returns both clocks, `POST /clock` advances the lab clock.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use jiff::{Span, SpanRelativeTo, Timestamp};
use kmslab_emulator_api::Clocks;
use serde::Deserialize;
use serde_json::Value;

use super::problem;
use crate::state::State;

const EXAMPLES: &str = r#"for example {"advance":"365d"}, {"advance":"PT36H"}, {"advance":90} (seconds) or {"set":"2027-01-01T00:00:00Z"}"#;

/// The body of `POST /clock`: one of the two members.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum ClockMove {
    Advance(Value),
    Set(Timestamp),
}

pub(super) async fn read(Extract(state): Extract<Arc<State>>) -> Json<Clocks> {
    Json(state.clocks())
}

pub(super) async fn change(Extract(state): Extract<Arc<State>>, body: Bytes) -> Response {
    let moved = match serde_json::from_slice(&body) {
        Ok(ClockMove::Advance(by)) => match parse_duration(&by) {
            Ok(by) => state.advance_clock(by).await,
            Err(message) => return problem(StatusCode::BAD_REQUEST, message),
        },
        Ok(ClockMove::Set(to)) => state.set_clock(to).await,
        Err(error) => {
            let message = format!("not a move of the clock ({error}); {EXAMPLES}");
            return problem(StatusCode::BAD_REQUEST, message);
        }
    };
    match moved {
        Ok(moved) => Json(moved).into_response(),
        Err(error) => problem(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

/// Seconds as a number, or a duration: `365d`, `2h 30m`, ISO 8601. Days have 24 hours; months and
/// years have no fixed length and are rejected.
fn parse_duration(value: &Value) -> Result<Duration, String> {
    let wrong = |reason: &str| format!("cannot advance by {value}: {reason}; {EXAMPLES}");
    match value {
        Value::Number(seconds) => {
            let seconds = seconds.as_f64().unwrap_or(f64::NAN);
            Duration::try_from_secs_f64(seconds).map_err(|error| wrong(&error.to_string()))
        }
        Value::String(text) => {
            let span: Span = text
                .parse()
                .map_err(|error: jiff::Error| wrong(&error.to_string()))?;
            let exact = span.to_duration(SpanRelativeTo::days_are_24_hours());
            let exact = exact.map_err(|error| wrong(&error.to_string()))?;
            Duration::try_from(exact).map_err(|_| wrong("the clock never goes back"))
        }
        _ => Err(wrong("neither a number of seconds nor a duration")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_parse_in_every_documented_form() {
        let day = Duration::from_secs(86_400);
        for (given, expected) in [
            (json!("365d"), day * 365),
            (json!("PT36H"), day * 3 / 2),
            (json!(90), Duration::from_secs(90)),
            (json!("1d 12h"), day * 3 / 2),
        ] {
            assert_eq!(parse_duration(&given).unwrap(), expected, "{given}");
        }
        for given in [
            json!("-1d"),
            json!(-5),
            json!("1mo"),
            json!("soon"),
            json!(true),
            json!(1e300),
            json!([1]),
        ] {
            assert!(parse_duration(&given).is_err(), "{given}");
        }
    }
}
