//! What a call tells the audit trail, and its bounds.

use kmslab_emulator_api::{Detail, KeyUse};

/// Maximum length in characters of what a request states about itself, and of names.
pub(super) const MAX_TEXT_LEN: usize = 256;
const MAX_NAME_LEN: usize = 512;
/// Maximum length in characters of an error's message, which may repeat a part of the request.
const MAX_MESSAGE_LEN: usize = 1024;

/// What a call tells the audit trail.
#[derive(Debug, Default)]
pub(crate) struct Audited {
    /// The keys whose material it used, as the core recorded it; else those that it names or
    /// created.
    pub(crate) keys: Vec<KeyUse>,
    pub(crate) detail: Option<Detail>,
}

impl Audited {
    /// Cuts everything that a request can make long, so that the number of events bounds the memory
    /// that they need.
    pub(super) fn bound(&mut self) {
        for used in &mut self.keys {
            cut(&mut used.key, MAX_NAME_LEN);
            used.version
                .iter_mut()
                .for_each(|text| cut(text, MAX_TEXT_LEN));
        }
        let (message, names) = match &mut self.detail {
            None => return,
            // Parameters are bounded where they are selected.
            Some(Detail::Aws(detail)) => (&mut detail.message, vec![]),
            Some(Detail::Azure(detail)) => (
                &mut detail.message,
                vec![
                    Some(&mut detail.uri),
                    Some(&mut detail.api_version),
                    detail.algorithm.as_mut(),
                ],
            ),
            Some(Detail::Gcp(detail)) => (
                &mut detail.message,
                vec![detail.permission.as_mut(), detail.resource.as_mut()],
            ),
        };
        message
            .iter_mut()
            .for_each(|text| cut(text, MAX_MESSAGE_LEN));
        for name in names.into_iter().flatten() {
            cut(name, MAX_NAME_LEN);
        }
    }
}

/// Cuts a text after `length` characters.
fn cut(text: &mut String, length: usize) {
    text.truncate(start(text, length).len());
}

/// The first `length` characters of a text.
pub(super) fn start(text: &str, length: usize) -> &str {
    if text.len() <= length {
        return text;
    }
    let end = text.char_indices().nth(length);
    end.and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}
