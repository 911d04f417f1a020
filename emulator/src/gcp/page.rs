//! Lists: filtered, sorted and paginated by the fields of the messages, with their names in the
//! proto.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kmslab_googleapis::google::cloud::location::Location;
use kmslab_googleapis::kms;
use prost::{Message, Name};
use serde_json::Value;

use super::GcpError;
use super::transcode::json;

/// Default and maximum page size.
const DEFAULT_PAGE_SIZE: usize = 100;
const MAX_PAGE_SIZE: usize = 1000;

/// The parameters of a list request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageRequest<'a> {
    pub(crate) size: i32,
    pub(crate) token: &'a str,
    pub(crate) filter: &'a str,
    pub(crate) order_by: &'a str,
}

/// A page of messages.
#[derive(Debug)]
pub(crate) struct Page<M> {
    pub(crate) items: Vec<M>,
    pub(crate) next: String,
    pub(crate) total: i32,
}

/// A message that can be listed; it has a name.
pub(crate) trait Listed: Message + Name {
    fn name(&self) -> &str;
}

macro_rules! listed {
    ($($message:ty),*) => {
        $(impl Listed for $message {
            fn name(&self) -> &str {
                &self.name
            }
        })*
    };
}

listed!(
    kms::KeyRing,
    kms::CryptoKey,
    kms::CryptoKeyVersion,
    kms::ImportJob,
    kms::RetiredResource,
    Location
);

/// Returns the requested page of `all`.
pub(crate) fn page<M: Listed>(
    all: Vec<M>,
    requested: PageRequest<'_>,
) -> Result<Page<M>, GcpError> {
    let size = match usize::try_from(requested.size) {
        Err(_) => {
            return Err(GcpError::bad_field(
                "page_size",
                "The page size must not be negative.",
            ));
        }
        Ok(0) => DEFAULT_PAGE_SIZE,
        Ok(size) => size.min(MAX_PAGE_SIZE),
    };
    let rows = filter_and_sort(all, requested.filter, requested.order_by)?;
    let start = match requested.token {
        "" => 0,
        token => start_after(&rows, token)
            .ok_or_else(|| GcpError::bad_field("page_token", "The page token is invalid."))?,
    };
    let total = i32::try_from(rows.len()).unwrap_or(i32::MAX);
    let end = rows.len().min(start + size);
    let next = match rows.get(end).and(rows[start..end].last()) {
        Some(last) => URL_SAFE_NO_PAD.encode(last.name()),
        None => String::new(),
    };
    Ok(Page {
        items: rows.into_iter().skip(start).take(size).collect(),
        next,
        total,
    })
}

/// Filters and sorts. Messages are converted to JSON only if there is a filter or an order.
fn filter_and_sort<M: Listed>(
    all: Vec<M>,
    filter: &str,
    order_by: &str,
) -> Result<Vec<M>, GcpError> {
    let terms = parse_terms(filter)?;
    if terms.is_empty() && order_by.trim().is_empty() {
        return Ok(all);
    }
    let mut rows = Vec::new();
    for item in all {
        let shown = json::to_json(&item)?;
        let held = terms
            .iter()
            .map(|term| term.matches(&shown))
            .collect::<Result<Vec<_>, _>>()?;
        if held.into_iter().all(|holds| holds) {
            rows.push((shown, item));
        }
    }
    sort(&mut rows, order_by)?;
    Ok(rows.into_iter().map(|(_, item)| item).collect())
}

/// Index of the first message after the one that the page token names.
fn start_after<M: Listed>(rows: &[M], token: &str) -> Option<usize> {
    let last = URL_SAFE_NO_PAD.decode(token).ok()?;
    rows.iter()
        .position(|row| row.name().as_bytes() == last)
        .map(|at| at + 1)
}

/// A condition of a filter.
#[derive(Debug, PartialEq, Eq)]
struct Term<'a> {
    path: &'a str,
    equal: bool,
    value: &'a str,
}

impl Term<'_> {
    fn matches(&self, shown: &Value) -> Result<bool, GcpError> {
        let found = match lookup(shown, self.path) {
            Some(Value::String(text)) => text == self.value,
            Some(Value::Bool(flag)) => self.value == if *flag { "true" } else { "false" },
            Some(Value::Number(number)) => self.value == number.to_string(),
            Some(_) => return Err(bad_filter(self.path)),
            None => self.value.is_empty(),
        };
        Ok(found == self.equal)
    }
}

fn lookup<'a>(shown: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .try_fold(shown, |value, part| value.get(part))
}

fn bad_filter(what: &str) -> GcpError {
    GcpError::bad_field("filter", format!("Invalid filter: {what}"))
}

/// Parses conditions joined by AND: `state=ENABLED AND labels.a:b`.
fn parse_terms(filter: &str) -> Result<Vec<Term<'_>>, GcpError> {
    let filter = filter.trim();
    if filter.is_empty() {
        return Ok(Vec::new());
    }
    filter
        .split(" AND ")
        .map(|term| self::parse_term(term.trim()).ok_or_else(|| bad_filter(term)))
        .collect()
}

fn parse_term(text: &str) -> Option<Term<'_>> {
    let at = text.find(['=', ':', '!'])?;
    let (path, rest) = text.split_at(at);
    let (equal, value) = match rest.strip_prefix("!=") {
        Some(value) => (false, value),
        None => (true, rest.strip_prefix(['=', ':'])?),
    };
    let (path, value) = (path.trim(), value.trim());
    let value = value
        .strip_prefix('"')
        .map_or(Some(value), |quoted| quoted.strip_suffix('"'))?;
    let is_path = !path.is_empty()
        && path
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    (is_path && !value.contains(char::is_whitespace)).then_some(Term { path, equal, value })
}

/// Sorts by `name`, `create_time desc` and so on; keeps the order if `order_by` is empty.
fn sort<M>(rows: &mut [(Value, M)], order_by: &str) -> Result<(), GcpError> {
    // From the last to the first: each stable sort keeps the order of equal elements.
    for key in order_by
        .split(',')
        .map(str::trim)
        .filter(|key| !key.is_empty())
        .rev()
    {
        let (path, descending) = match key.split_once(' ').map(|(path, way)| (path, way.trim())) {
            None => (key, false),
            Some((path, "asc")) => (path, false),
            Some((path, "desc")) => (path, true),
            Some(_) => {
                return Err(GcpError::bad_field(
                    "order_by",
                    format!("Invalid order_by: {key}"),
                ));
            }
        };
        let by = |shown: &Value| {
            lookup(shown, path).map(|value| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            })
        };
        rows.sort_by(|(a, _), (b, _)| {
            if descending {
                by(b).cmp(&by(a))
            } else {
                by(a).cmp(&by(b))
            }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kmslab_googleapis::kms::CryptoKey;
    use proptest::prelude::*;

    use super::*;

    fn keys(count: usize) -> Vec<CryptoKey> {
        let key = |n: usize| CryptoKey {
            name: format!("k{n}"),
            purpose: if n.is_multiple_of(2) { 1 } else { 5 },
            labels: [("n".to_owned(), n.to_string())].into(),
            ..CryptoKey::default()
        };
        (0..count).map(key).collect()
    }

    fn names(filter: &str, order_by: &str, size: i32) -> Vec<Vec<String>> {
        let (mut pages, mut token) = (Vec::new(), String::new());
        loop {
            let page = page(
                keys(5),
                PageRequest {
                    size,
                    token: &token,
                    filter,
                    order_by,
                },
            )
            .unwrap();
            pages.push(page.items.iter().map(|key| key.name.clone()).collect());
            token = page.next;
            if token.is_empty() {
                return pages;
            }
        }
    }

    #[test]
    fn pagination_returns_every_item_once() {
        assert_eq!(
            names("", "", 2),
            [vec!["k0", "k1"], vec!["k2", "k3"], vec!["k4"]]
        );
        assert_eq!(
            names("", "name desc", 4),
            [vec!["k4", "k3", "k2", "k1"], vec!["k0"]]
        );
        assert_eq!(names("purpose=ASYMMETRIC_SIGN", "", 0), [["k1", "k3"]]);
        assert_eq!(
            names("purpose = ENCRYPT_DECRYPT AND labels.n:\"4\"", "", 0),
            [["k4"]]
        );
        assert_eq!(
            names("name!=k0 AND purpose!=ASYMMETRIC_SIGN", "", 0),
            [["k2", "k4"]]
        );
    }

    #[test]
    fn invalid_page_tokens_and_filters_are_rejected() {
        for (size, token, filter, order_by) in [
            (-1, "", "", ""),
            (0, "!", "", ""),
            (0, "AAAA", "", ""),
            (0, "", "purpose", ""),
            (0, "", "", "name up"),
        ] {
            assert!(
                page(
                    keys(1),
                    PageRequest {
                        size,
                        token,
                        filter,
                        order_by
                    }
                )
                .is_err()
            );
        }
    }

    proptest! {
        #[test]
        fn parsing_filters_never_panics(size: i32, token: String, filter: String, order_by: String) {
            let _ = page(keys(2), PageRequest { size, token: &token, filter: &filter, order_by: &order_by });
        }
    }
}
