//! The latest events, as JSON without their sequence numbers.
//!
//! They lie one after the other in blocks that are used again, so that an event costs a copy. One
//! allocation for each event, freed ten thousand events later by another thread, cost more than
//! its encoding.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// Maximum number of events of a block.
const BLOCK_EVENTS: usize = 256;

/// The latest events, with their sequence numbers.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    /// Maximum number of events.
    capacity: usize,
    /// Sequence number of the latest event, or of the one before if none is kept.
    recorded: u64,
    /// Full blocks, oldest first. The oldest may begin with events beyond `capacity`.
    full: VecDeque<Arc<Block>>,
    /// The block that is being filled.
    last: Block,
}

#[derive(Debug, Clone, Default)]
struct Block {
    bytes: Vec<u8>,
    /// End of each event in `bytes`.
    ends: Vec<usize>,
}

impl Block {
    fn events(&self) -> impl Iterator<Item = &[u8]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        let ranges = starts.zip(&self.ends);
        ranges.filter_map(|(start, end)| self.bytes.get(start..*end))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

impl Kept {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            recorded: 0,
            full: VecDeque::new(),
            last: Block::default(),
        }
    }

    /// Appends an event and returns its sequence number.
    pub(super) fn push(&mut self, json: &[u8]) -> u64 {
        self.recorded += 1;
        if self.capacity == 0 {
            return self.recorded;
        }
        self.last.bytes.extend_from_slice(json);
        self.last.ends.push(self.last.bytes.len());
        if self.last.ends.len() >= BLOCK_EVENTS {
            // A query may still read the block; then another one is allocated.
            let unused = self.pop_unneeded().and_then(Arc::into_inner);
            let mut empty = unused.unwrap_or_default();
            empty.clear();
            let full = std::mem::replace(&mut self.last, empty);
            self.full.push_back(Arc::new(full));
        }
        self.recorded
    }

    /// Removes the oldest block if the capacity is kept without it.
    fn pop_unneeded(&mut self) -> Option<Arc<Block>> {
        let others = self.stored().checked_sub(BLOCK_EVENTS)?;
        (others >= self.capacity).then(|| self.full.pop_front())?
    }

    /// Sequence numbers of the kept events.
    pub(super) fn numbers(&self) -> Range<u64> {
        let end = self.recorded + 1;
        end - self.stored().min(self.capacity) as u64..end
    }

    /// Sequence number of the latest event.
    pub(super) fn recorded(&self) -> u64 {
        self.recorded
    }

    /// The kept events after a sequence number, with theirs, oldest first.
    pub(super) fn after(&self, since: u64) -> impl Iterator<Item = (u64, &[u8])> {
        let Range { start, end } = self.numbers();
        let from = since.saturating_add(1).clamp(start, end);
        let first = end - self.stored() as u64;
        let skipped = usize::try_from(from - first).unwrap_or(usize::MAX);
        let blocks = self.full.iter().map(Arc::as_ref).chain([&self.last]);
        let rest = blocks.skip(skipped / BLOCK_EVENTS).flat_map(Block::events);
        (from..).zip(rest.skip(skipped % BLOCK_EVENTS))
    }

    /// Number of events in the blocks.
    fn stored(&self) -> usize {
        self.full.len() * BLOCK_EVENTS + self.last.ends.len()
    }

    /// Forgets all events. Their numbers are not used again.
    pub(super) fn clear(&mut self) {
        self.full.clear();
        self.last.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers_after(kept: &Kept, since: u64) -> Vec<u64> {
        let events: Vec<_> = kept.after(since).collect();
        for (number, json) in &events {
            assert_eq!(json, &number.to_string().as_bytes());
        }
        events.into_iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn the_latest_events_are_kept_with_their_numbers() {
        for capacity in [1, 3, 255, 256, 257, 600, 1024] {
            let mut kept = Kept::new(capacity);
            for number in 1..=3000_u64 {
                assert_eq!(kept.push(number.to_string().as_bytes()), number);
                let first = number.saturating_sub(capacity as u64) + 1;
                assert_eq!(kept.numbers(), first..number + 1, "{capacity}");
                if number % 97 == 0 {
                    let all: Vec<u64> = (first..=number).collect();
                    assert_eq!(numbers_after(&kept, 0), all, "{capacity}");
                    for since in [first, number - 1, number, number + 1, u64::MAX] {
                        let later: Vec<u64> = (first..=number).filter(|of| *of > since).collect();
                        assert_eq!(numbers_after(&kept, since), later, "{capacity} {since}");
                    }
                }
            }
            assert!(kept.full.len() <= capacity.div_ceil(BLOCK_EVENTS) + 1);
            kept.clear();
            assert_eq!(kept.push(b"3001"), 3001);
            assert_eq!(numbers_after(&kept, 0), [3001]);
        }
    }

    #[test]
    fn a_copy_keeps_its_events_while_others_are_recorded() {
        let mut kept = Kept::new(BLOCK_EVENTS);
        for number in 1..=500_u64 {
            kept.push(number.to_string().as_bytes());
        }
        let copy = kept.clone();
        for number in 501..=2000_u64 {
            kept.push(number.to_string().as_bytes());
        }
        assert_eq!(numbers_after(&copy, 0), (245..=500).collect::<Vec<_>>());
    }
}
