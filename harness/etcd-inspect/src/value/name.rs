//! Finds the end of the name in a prefix. Names of local keys and of KMS v1 providers may contain
//! colons; only the configuration distinguishes those from the final one. k3s and RKE2 write
//! `aescbckey-2022-08-04T20:37:15Z`.

/// Maximum length of a name in bytes; Kubernetes has no limit.
const MAX_NAME_LEN: usize = 1024;

/// All possible splits into name and rest, the shortest name first.
///
/// A name extends past a colon if what follows looks like the rest of a name: two or more name
/// characters and another colon. Random bytes look like that once in 3,000 values.
fn candidates(rest: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    let colons = rest
        .iter()
        .enumerate()
        .take(MAX_NAME_LEN)
        .filter(|(_, byte)| **byte == b':')
        .map(|(at, _)| at);
    let mut before = None;
    colons
        .take_while(move |at| {
            let goes_on = before.is_none_or(|before: usize| is_name(&rest[before + 1..*at]));
            before = Some(*at);
            goes_on
        })
        .filter_map(|at| Some((str::from_utf8(&rest[..at]).ok()?, &rest[at + 1..])))
}

fn is_name(segment: &[u8]) -> bool {
    segment.len() > 1
        && segment
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._+/@ ".contains(byte))
}

/// Parses a payload after the longest name with which it is valid. If there is none, returns the
/// most likely name and the error for it.
pub(super) fn split<'a, T>(
    rest: &'a [u8],
    read: impl Fn(&'a str, &'a [u8]) -> Result<T, String>,
) -> Result<T, (Option<&'a str>, String)> {
    if !rest.contains(&b':') {
        return Err((None, "the prefix ends without `<name>:`".to_owned()));
    }
    let mut found: Vec<_> = candidates(rest).collect();
    if let Some(("", _)) = found.first() {
        return Err((None, "the name in the prefix is empty".to_owned()));
    }
    let mut rejected = None;
    while let Some((name, payload)) = found.pop() {
        match read(name, payload) {
            Ok(value) => return Ok(value),
            Err(reason) => rejected.get_or_insert((Some(name), reason)),
        };
    }
    Err(rejected.unwrap_or_else(|| (None, "the name in the prefix is not UTF-8".to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(rest: &[u8]) -> Vec<&str> {
        candidates(rest).map(|(name, _)| name).collect()
    }

    #[test]
    fn provider_name_extends_past_colons() {
        let time = b"aescbckey-2022-08-04T20:37:15Z:\x8a\x01:data";
        assert_eq!(
            names(time),
            [
                "aescbckey-2022-08-04T20",
                "aescbckey-2022-08-04T20:37",
                "aescbckey-2022-08-04T20:37:15Z"
            ]
        );
        assert_eq!(names(b"key1:\x01\x02ab:cd:"), ["key1"]);
        assert_eq!(
            names(b"key1:a:data"),
            ["key1"],
            "one character is too likely by chance"
        );
        assert_eq!(names(b"key1::data"), ["key1"]);
        assert_eq!(names(b"key1"), [""; 0]);
        assert_eq!(names(b"\xff:x"), [""; 0]);
    }

    #[test]
    fn longest_name_with_a_valid_payload_is_used() {
        let even = |name: &'static str, payload: &[u8]| {
            if payload.len().is_multiple_of(2) {
                Ok(name)
            } else {
                Err(format!("{} bytes", payload.len()))
            }
        };
        assert_eq!(split(b"a:bc:12", even), Ok("a:bc"));
        assert_eq!(
            split(b"a:bc:123", even),
            Ok("a"),
            "bc:123 has an even number, 123 has not"
        );
        assert_eq!(
            split(b"a:bcd:123", even),
            Err((Some("a:bcd"), "3 bytes".to_owned()))
        );
        assert_eq!(
            split(b":12", even),
            Err((None, "the name in the prefix is empty".to_owned()))
        );
        assert_eq!(
            split(b"\xff:12", even),
            Err((None, "the name in the prefix is not UTF-8".to_owned()))
        );
        assert_eq!(
            split(b"abc", even),
            Err((None, "the prefix ends without `<name>:`".to_owned()))
        );
    }
}
