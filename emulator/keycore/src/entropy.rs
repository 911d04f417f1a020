//! Sources of random bytes: the system's generator, and a repeatable one for tests.

use std::cell::RefCell;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;
use zeroize::Zeroize as _;

/// A source of random bytes.
pub trait Entropy: Send + Sync + Debug {
    /// Fills `out` with random bytes.
    fn fill(&self, out: &mut [u8]);
}

/// The system's cryptographic generator. It is asked directly, since the first use of aws-lc's
/// generator takes tens of milliseconds.
///
/// Up to 16 bytes, such as nonces and request ids, come from a block that each thread asks for in
/// advance, since asking takes longer than an encryption.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) {
        if out.len() <= MAX_FROM_BLOCK {
            BLOCK.with_borrow_mut(|block| block.take(out));
        } else {
            ask(out);
        }
    }
}

fn ask(out: &mut [u8]) {
    getrandom::fill(out).expect("the system's random generator works, or nothing here is safe");
}

const MAX_FROM_BLOCK: usize = 16;
const BLOCK_LEN: usize = 512;

thread_local! {
    static BLOCK: RefCell<Block> = const {
        RefCell::new(Block {
            bytes: [0; BLOCK_LEN],
            used: BLOCK_LEN,
        })
    };
}

/// Random bytes, of which the first `used` were given out and erased.
struct Block {
    bytes: [u8; BLOCK_LEN],
    used: usize,
}

impl Block {
    fn take(&mut self, out: &mut [u8]) {
        if self.used + out.len() > BLOCK_LEN {
            ask(&mut self.bytes);
            self.used = 0;
        }
        let taken = &mut self.bytes[self.used..self.used + out.len()];
        out.copy_from_slice(taken);
        taken.zeroize();
        self.used += out.len();
    }
}

/// SHA-256 over a seed and a counter: the same bytes on every run. For tests only, never for keys.
#[derive(Debug)]
pub struct SeededEntropy {
    seed: u64,
    counter: Mutex<u64>,
}

impl SeededEntropy {
    /// Creates the stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            counter: Mutex::new(0),
        }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) {
        let mut counter = self.counter.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in out.chunks_mut(digest::SHA256_OUTPUT_LEN) {
            *counter += 1;
            let block = [self.seed.to_be_bytes(), counter.to_be_bytes()].concat();
            chunk.copy_from_slice(&digest::digest(&digest::SHA256, &block).as_ref()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_entropy_is_repeatable() {
        let draw = |entropy: &dyn Entropy| {
            let mut out = [0; 40];
            entropy.fill(&mut out);
            out
        };
        let (a, b) = (SeededEntropy::new(1), SeededEntropy::new(1));
        assert_eq!(draw(&a), draw(&b));
        assert_ne!(draw(&a), draw(&SeededEntropy::new(1)));
        assert_ne!(draw(&SeededEntropy::new(1)), draw(&SeededEntropy::new(2)));
        assert_ne!(draw(&SystemEntropy), draw(&SystemEntropy));
    }

    #[test]
    fn system_entropy_gives_out_no_bytes_twice() {
        let draw = || {
            let mut out = [0; MAX_FROM_BLOCK];
            SystemEntropy.fill(&mut out);
            out
        };
        let here = (0..3 * BLOCK_LEN / MAX_FROM_BLOCK).map(|_| draw());
        let mut seen: std::collections::HashSet<_> = here.collect();
        let there = std::thread::spawn(move || (0..3).map(|_| draw()).collect::<Vec<_>>());
        seen.extend(there.join().unwrap());
        assert_eq!(seen.len(), 3 * BLOCK_LEN / MAX_FROM_BLOCK + 3);
        assert!(!seen.contains(&[0; MAX_FROM_BLOCK]));
    }
}
