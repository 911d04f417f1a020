//! A live stream of audit events, from the server-sent events of an admin port.

use crate::{AdminError, AuditEvent};

/// Maximum length of one event in bytes. The emulator's have about 500.
const MAX_EVENT_BYTES: usize = 64 * 1024;

/// What a stream delivers.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// An event.
    Event(Box<AuditEvent>),
    /// This many events are missing: they came faster than they were read, or before the oldest one
    /// that is kept.
    Lost(u64),
}

/// Audit events as they happen, from [`AdminClient::follow_audit`](crate::AdminClient::follow_audit).
#[derive(Debug)]
pub struct AuditStream {
    url: String,
    response: reqwest::Response,
    /// Received and not parsed yet.
    buffer: Vec<u8>,
}

impl AuditStream {
    pub(crate) fn new(url: String, response: reqwest::Response) -> Self {
        Self {
            url,
            response,
            buffer: Vec::new(),
        }
    }

    /// Waits for the next event; `None` when the emulator stops.
    pub async fn next(&mut self) -> Result<Option<Followed>, AdminError> {
        loop {
            if let Some(block) = self.take_block() {
                match self.parse(&block)? {
                    Some(followed) => return Ok(Some(followed)),
                    // A comment that keeps the connection alive.
                    None => continue,
                }
            }
            if self.buffer.len() > MAX_EVENT_BYTES {
                return Err(AdminError::NotAnEvent {
                    url: self.url.clone(),
                });
            }
            let chunk = self.response.chunk().await;
            match chunk.map_err(|source| self.no_response(source))? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }

    /// Takes the lines before the next empty line.
    fn take_block(&mut self) -> Option<Vec<u8>> {
        let end = self.buffer.windows(2).position(|pair| pair == b"\n\n")?;
        let rest = self.buffer.split_off(end + 2);
        Some(std::mem::replace(&mut self.buffer, rest))
    }

    fn parse(&self, block: &[u8]) -> Result<Option<Followed>, AdminError> {
        let text = String::from_utf8_lossy(block);
        let field = |name: &str| {
            let mut lines = text.lines();
            lines.find_map(|line| line.strip_prefix(name).map(str::trim_start))
        };
        let Some(data) = field("data:") else {
            return Ok(None);
        };
        let unknown = |source| AdminError::UnknownForm {
            url: self.url.clone(),
            source,
        };
        match field("event:") {
            Some("audit") => {
                let event = serde_json::from_str(data).map_err(unknown)?;
                Ok(Some(Followed::Event(event)))
            }
            Some("lost") => {
                let lost = serde_json::from_str(data).map_err(unknown)?;
                Ok(Some(Followed::Lost(lost)))
            }
            _ => Ok(None),
        }
    }

    fn no_response(&self, source: reqwest::Error) -> AdminError {
        AdminError::NoResponse {
            url: self.url.clone(),
            source,
        }
    }
}
