//! Text for a terminal. Keys, kinds and messages come from etcd and from servers: what would move
//! the cursor, colour the screen or turn the direction of writing is shown and not obeyed.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` with every such character written as in JSON, `\u001b`, so that JSON stays what it is.
/// Lines and tabs stay.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    // Most text is ASCII: bytes are looked at faster than characters.
    let plain = |byte: u8| matches!(byte, b' '..=b'~' | b'\n' | b'\t');
    if text.bytes().all(plain) || !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) {
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// The same in one line: what somebody names must not look like lines of ours.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    if text.contains(['\n', '\t']) {
        Cow::Owned(
            shown(text)
                .replace('\n', "\\u000a")
                .replace('\t', "\\u0009"),
        )
    } else {
        shown(text)
    }
}

/// Control characters of ASCII and Latin 1, and those that reorder text. All of them have four hex
/// digits.
fn acts(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        for (text, expected) in [
            (
                "\u{1b}[2J\u{1b}]0;title\u{7}",
                "\\u001b[2J\\u001b]0;title\\u0007",
            ),
            ("\u{9b}31mred", "\\u009b31mred"),
            ("a\rb\u{8}c\u{7f}", "a\\u000db\\u0008c\\u007f"),
            ("abc\u{202e}fed", "abc\\u202efed"),
            ("line\n\ttab é 日本", "line\n\ttab é 日本"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn a_name_is_one_line() {
        assert_eq!(
            line("/registry/secrets/a\n0 values\t\u{1b}"),
            "/registry/secrets/a\\u000a0 values\\u0009\\u001b"
        );
        assert_eq!(line("/registry/secrets/a"), "/registry/secrets/a");
    }

    #[test]
    fn json_says_the_same_as_before() {
        let json = serde_json::to_string(&["\u{1b}[2J\u{9b}\u{7f}\u{202e}\u{0}"]).unwrap();
        let again: Vec<String> = serde_json::from_str(&shown(&json)).unwrap();
        assert_eq!(again, ["\u{1b}[2J\u{9b}\u{7f}\u{202e}\u{0}"]);
    }
}
