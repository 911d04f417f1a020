//! Lists: filtered, ordered, in pages. Fields are those of the messages themselves, by their names
//! in the proto.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kmslab_googleapis::google::cloud::location::Location;
use kmslab_googleapis::kms;
use prost::{Message, Name};
use serde_json::Value;

use super::GcpError;
use super::rest::json;

/// As many as a page has when nobody says, and at most.
const DEFAULT: usize = 100;
const MOST: usize = 1000;

/// What a list asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) size: i32,
    pub(crate) token: &'a str,
    pub(crate) filter: &'a str,
    pub(crate) order_by: &'a str,
}

/// One page.
#[derive(Debug)]
pub(crate) struct Page<M> {
    pub(crate) items: Vec<M>,
    pub(crate) next: String,
    pub(crate) total: i32,
}

/// Something that lists have, which has a name.
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

/// The wanted page of all there is.
pub(crate) fn page<M: Listed>(all: Vec<M>, wanted: Wanted<'_>) -> Result<Page<M>, GcpError> {
    let size = match usize::try_from(wanted.size) {
        Err(_) => {
            return Err(GcpError::bad_field(
                "page_size",
                "The page size must not be negative.",
            ));
        }
        Ok(0) => DEFAULT,
        Ok(size) => size.min(MOST),
    };
    let rows = chosen(all, wanted.filter, wanted.order_by)?;
    let start = match wanted.token {
        "" => 0,
        token => after(&rows, token)
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

/// What a filter takes, in the order that is asked for. Only where one of them is does it cost the
/// messages' JSON.
fn chosen<M: Listed>(all: Vec<M>, filter: &str, order_by: &str) -> Result<Vec<M>, GcpError> {
    let terms = terms(filter)?;
    if terms.is_empty() && order_by.trim().is_empty() {
        return Ok(all);
    }
    let mut rows = Vec::new();
    for item in all {
        let shown = json::of(&item)?;
        let held = terms
            .iter()
            .map(|term| term.holds(&shown))
            .collect::<Result<Vec<_>, _>>()?;
        if held.into_iter().all(|holds| holds) {
            rows.push((shown, item));
        }
    }
    order(&mut rows, order_by)?;
    Ok(rows.into_iter().map(|(_, item)| item).collect())
}

/// Where the page after the one that ended with the token's name begins.
fn after<M: Listed>(rows: &[M], token: &str) -> Option<usize> {
    let last = URL_SAFE_NO_PAD.decode(token).ok()?;
    rows.iter()
        .position(|row| row.name().as_bytes() == last)
        .map(|at| at + 1)
}

/// One condition of a filter.
#[derive(Debug, PartialEq, Eq)]
struct Term<'a> {
    path: &'a str,
    equal: bool,
    value: &'a str,
}

impl Term<'_> {
    fn holds(&self, shown: &Value) -> Result<bool, GcpError> {
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

/// Conditions joined by AND: `state=ENABLED AND labels.a:b`.
fn terms(filter: &str) -> Result<Vec<Term<'_>>, GcpError> {
    let filter = filter.trim();
    if filter.is_empty() {
        return Ok(Vec::new());
    }
    filter
        .split(" AND ")
        .map(|term| self::term(term.trim()).ok_or_else(|| bad_filter(term)))
        .collect()
}

fn term(text: &str) -> Option<Term<'_>> {
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

/// Sorts by `name`, `create_time desc` and the like; without a wish they stay as they are.
fn order<M>(rows: &mut [(Value, M)], order_by: &str) -> Result<(), GcpError> {
    // The last first: each sort keeps the order of what is equal to it.
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
                Wanted {
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
    fn pages_follow_one_another_to_the_end() {
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
    fn what_is_no_page_or_filter_is_refused() {
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
                    Wanted {
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
        fn no_text_makes_it_panic(size: i32, token: String, filter: String, order_by: String) {
            let _ = page(keys(2), Wanted { size, token: &token, filter: &filter, order_by: &order_by });
        }
    }
}
