//! Escaping of text for terminals. Keys, kinds and messages come from etcd and from servers;
//! control characters and those that change the direction of text are escaped.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Escapes such characters as in JSON, `\u001b`, so that JSON keeps its meaning. Newlines and tabs
/// are unchanged.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    // Most text is ASCII: checking bytes is faster than checking characters.
    let plain = |byte: u8| matches!(byte, b' '..=b'~' | b'\n' | b'\t');
    if text.bytes().all(plain) || !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut displayed = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) {
            let _ = write!(displayed, "\\u{:04x}", u32::from(c));
        } else {
            displayed.push(c);
        }
    }
    Cow::Owned(displayed)
}

/// Escapes newlines as well, so that a name cannot look like a line of output.
pub(crate) fn escape_line(text: &str) -> Cow<'_, str> {
    if text.contains(['\n', '\t']) {
        Cow::Owned(
            escape(text)
                .replace('\n', "\\u000a")
                .replace('\t', "\\u0009"),
        )
    } else {
        escape(text)
    }
}

/// Control characters of ASCII and Latin 1, and those that reorder text. All of them have four hex
/// digits.
fn is_unsafe(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
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
            assert_eq!(escape(text), expected);
        }
    }

    #[test]
    fn names_are_escaped_to_one_line() {
        assert_eq!(
            escape_line("/registry/secrets/a\n0 values\t\u{1b}"),
            "/registry/secrets/a\\u000a0 values\\u0009\\u001b"
        );
        assert_eq!(escape_line("/registry/secrets/a"), "/registry/secrets/a");
    }

    #[test]
    fn escaped_json_keeps_its_meaning() {
        let json = serde_json::to_string(&["\u{1b}[2J\u{9b}\u{7f}\u{202e}\u{0}"]).unwrap();
        let again: Vec<String> = serde_json::from_str(&escape(&json)).unwrap();
        assert_eq!(again, ["\u{1b}[2J\u{9b}\u{7f}\u{202e}\u{0}"]);
    }
}
