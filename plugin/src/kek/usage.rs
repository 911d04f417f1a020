//! How often a key was asked for something, as the SDK and the cloud's responses tell.

use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers of requests to the cloud and of uses of the key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Requests sent to the cloud, including retries.
    pub requests: u64,
    /// Successful responses to requests to encrypt, probes included.
    pub encrypts: u64,
    /// Successful responses to requests to decrypt, probes included.
    pub decrypts: u64,
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            encrypts: self.encrypts + other.encrypts,
            decrypts: self.decrypts + other.decrypts,
        }
    }
}

/// Counts the usage of a key.
#[derive(Debug, Default)]
pub(super) struct UsageCounter {
    /// Shared with the SDK's hooks.
    pub(super) requests: Arc<AtomicU64>,
    encrypts: AtomicU64,
    decrypts: AtomicU64,
}

impl UsageCounter {
    /// A counter over the number of requests that an SDK counts.
    pub(super) fn new(requests: Arc<AtomicU64>) -> Self {
        Self {
            requests,
            ..Self::default()
        }
    }

    /// Counts a request.
    pub(super) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a successful response to a request to encrypt.
    pub(super) fn encrypted(&self) {
        self.encrypts.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a successful response to a request to decrypt.
    pub(super) fn decrypted(&self) {
        self.decrypts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            requests: self.requests.load(Ordering::Relaxed),
            encrypts: self.encrypts.load(Ordering::Relaxed),
            decrypts: self.decrypts.load(Ordering::Relaxed),
        }
    }
}
