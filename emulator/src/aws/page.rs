//! Pagination by `Limit`, `Marker` and `NextMarker`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::AwsError;
use super::wire::Input;

/// Returns the requested page of `items` as the response of a list operation: `member`,
/// `Truncated`, and `NextMarker` if truncated. The items are in a stable order and `position` is
/// unique.
///
/// A marker is the position after which the page starts, so it stays valid when items are deleted.
pub(crate) fn page<T>(
    input: &Input,
    member: &str,
    (default, most): (usize, i64),
    items: &[T],
    position: impl Fn(&T) -> String,
    entry: impl Fn(&T) -> Value,
) -> Result<Value, AwsError> {
    let limit = input
        .integer("Limit", 1..=most)?
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(default);
    let start = match input.string("Marker", 1..=1024)? {
        Some(marker) => {
            let after = decode(marker).ok_or_else(invalid_marker)?;
            items
                .iter()
                .take_while(|item| position(item) <= after)
                .count()
        }
        None => 0,
    };
    let rest = &items[start..];
    let listed = &rest[..limit.min(rest.len())];
    let truncated = listed.len() < rest.len();
    let mut answer = Map::new();
    answer.insert(member.to_owned(), listed.iter().map(entry).collect());
    answer.insert("Truncated".to_owned(), truncated.into());
    if let Some(last) = listed.last().filter(|_| truncated) {
        answer.insert(
            "NextMarker".to_owned(),
            URL_SAFE_NO_PAD.encode(position(last)).into(),
        );
    }
    Ok(answer.into())
}

fn decode(marker: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(marker).ok()?).ok()
}

fn invalid_marker() -> AwsError {
    AwsError::bare("InvalidMarkerException")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Operation;
    use super::*;

    fn ask(request: &Value, items: &[u32]) -> Result<Value, AwsError> {
        let input = Input::parse(
            Operation::find("ListKeys").unwrap(),
            request.to_string().as_bytes(),
        )
        .unwrap();
        page(
            &input,
            "Items",
            (2, 1000),
            items,
            |n| format!("{n:02}"),
            |n| json!(n),
        )
    }

    #[test]
    fn pagination_continues_after_items_are_deleted() {
        let first = ask(&json!({}), &[1, 2, 3, 4]).unwrap();
        assert_eq!(
            (&first["Items"], &first["Truncated"]),
            (&json!([1, 2]), &json!(true))
        );
        let next = json!({ "Marker": first["NextMarker"], "Limit": 1 });
        assert_eq!(ask(&next, &[1, 3, 4]).unwrap()["Items"], json!([3]));
        let last = ask(&json!({ "Marker": first["NextMarker"] }), &[1, 2, 3, 4]).unwrap();
        assert_eq!(last, json!({ "Items": [3, 4], "Truncated": false }));
    }

    #[test]
    fn limits_and_markers_are_validated() {
        assert_eq!(
            ask(&json!({ "Marker": "!" }), &[1]).unwrap_err().kind,
            "InvalidMarkerException"
        );
        let error = ask(&json!({ "Limit": 1001 }), &[1]).unwrap_err();
        assert!(
            error
                .message
                .unwrap()
                .ends_with("Member must have value less than or equal to 1000")
        );
        assert_eq!(
            ask(&json!({ "Limit": 0 }), &[1]).unwrap_err().kind,
            "ValidationException"
        );
    }
}
