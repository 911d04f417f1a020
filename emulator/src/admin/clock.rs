//! `GET /clock` returns both clocks, `POST /clock` advances the lab clock.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use jiff::{Span, SpanRelativeTo, Timestamp};
use kmslab_emulator_api::{ClockMoved, Clocks};
use kmslab_keycore::Clock;
use serde::Deserialize;
use serde_json::Value;

use super::{Admin, problem};

const EXAMPLES: &str = r#"for example {"advance":"365d"}, {"advance":"PT36H"}, {"advance":90} (seconds) or {"set":"2027-01-01T00:00:00Z"}"#;

const SKIPPED: &str = "one move makes at most the newest 32 versions of an RSA key and 1000 of another; older ones that were due are left out: move \
                       the clock in smaller steps to have them all";

/// The body of `POST /clock`: one of the two members.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum ClockMove {
    Advance(Value),
    Set(Timestamp),
}

pub(super) async fn read(State(state): State<Arc<Admin>>) -> Json<Clocks> {
    Json(clocks(&state))
}

pub(super) async fn change(State(state): State<Arc<Admin>>, body: Bytes) -> Response {
    let lab = Arc::clone(&state.lab);
    let moved = move || match serde_json::from_slice(&body) {
        Ok(ClockMove::Advance(by)) => parse_duration(&by).and_then(|by| match lab.advance(by) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }),
        Ok(ClockMove::Set(to)) => lab.set(to).map_err(|error| error.to_string()),
        Err(error) => Err(format!("not a move of the clock ({error}); {EXAMPLES}")),
    };
    let applied = match state.apply_due(moved).await {
        Ok(applied) => applied,
        Err(message) => return problem(StatusCode::BAD_REQUEST, message),
    };
    Json(ClockMoved {
        clocks: clocks(&state),
        rotated: applied.rotated,
        deleted: applied.deleted,
        skipped: applied.skipped,
        note: (applied.skipped > 0).then(|| SKIPPED.to_owned()),
    })
    .into_response()
}

fn clocks(state: &Admin) -> Clocks {
    Clocks {
        lab: state.lab.now(),
        wall: state.wall.now(),
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
