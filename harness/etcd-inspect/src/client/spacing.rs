//! Estimates where a page should end to hold about as many keys as allowed, from the distances
//! between the keys so far.
//!
//! Keys are treated as numbers: the eight bytes after their common prefix. Only speed depends on
//! the estimate.

use super::KeyValue;

/// Characters of object and directory names, sorted.
const ALPHABET: &[u8] = b"-./0123456789:ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
/// Where most numbered and random names start.
const LOWEST_SUFFIX: u64 = (b'0' as u64) << 56;

/// What is known about the keys of a range.
#[derive(Debug, Clone, Default)]
pub(super) struct KeySpacing {
    /// Length of the range's prefix in bytes; shorter prefixes are not considered.
    least: usize,
    gap: Option<Gap>,
    step: PageReach,
    /// Counts updates. A page whose end was estimated before the last update teaches nothing.
    generation: u64,
}

/// How far a page reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gap {
    common: usize,
    grows: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum PageReach {
    /// Further among keys with the same prefix.
    #[default]
    On,
    /// There are no more of those: to where keys with the next prefix are likely to start.
    Next,
    /// There are none of those either: over all keys with the next prefix.
    Wide,
}

/// The estimated end of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Guess {
    steps: bool,
    lesson: u64,
}

impl KeySpacing {
    pub(super) fn new(least: usize) -> Self {
        Self {
            least,
            ..Self::default()
        }
    }

    /// Returns the end of the page that begins at `from`; `None` if nothing is known.
    pub(super) fn page_end(&mut self, from: &[u8]) -> (Option<Vec<u8>>, Guess) {
        let guess = |steps| Guess {
            steps,
            lesson: self.generation,
        };
        let Some(gap) = self.gap else {
            return (None, guess(false));
        };
        if self.step == PageReach::On
            && let Some(end) = gap.after(from)
        {
            return (Some(end), guess(false));
        }
        for common in (self.least..gap.common.min(from.len())).rev() {
            if self.step == PageReach::Wide {
                let wide = Gap {
                    common,
                    grows: 1 << 56,
                };
                if let Some(end) = wide.after(from) {
                    self.gap = Some(wide);
                    return (Some(end), guess(true));
                }
            } else if let Some(next) = ALPHABET.iter().find(|next| **next > from[common]) {
                let first = LOWEST_SUFFIX.saturating_add(gap.grows).to_be_bytes();
                self.gap = Some(Gap {
                    common: common + 1,
                    ..gap
                });
                self.step = PageReach::On;
                return (
                    Some([&from[..common], &[*next], &first].concat()),
                    guess(true),
                );
            }
        }
        (None, guess(false))
    }

    /// Records a page that did not hold all keys: the next `wanted` ones begin at `from`.
    ///
    /// The distance near its end that gives the shortest next page is used, since a page may reach
    /// from one dense region over a gap into another.
    pub(super) fn record_full_page(&mut self, kvs: &[KeyValue], from: &[u8], expected: i64) {
        let gaps = [1, 2, 4, 8].into_iter().filter_map(|part| {
            let keys = kvs.len() / part;
            let (first, last) = (kvs.get(kvs.len() - keys)?, kvs.last()?);
            Gap::between(&first.key, &last.key, keys as u64, expected.unsigned_abs())
        });
        let nearest = gaps.min_by_key(|gap| {
            gap.after(from)
                .map_or((true, Vec::new()), |end| (false, end))
        });
        if nearest.is_some() {
            self.gap = nearest;
            self.record(PageReach::On);
        }
    }

    /// Records a page of `guess` that could have held more than its `found` keys.
    pub(super) fn record_short_page(&mut self, guess: Guess, found: usize, limit: i64) {
        if guess.lesson != self.generation {
            return;
        }
        match (found, &mut self.gap) {
            (_, None) => {}
            (0, Some(_)) if self.step == PageReach::Wide => {}
            (0, Some(_)) => self.record(if guess.steps {
                PageReach::Wide
            } else {
                PageReach::Next
            }),
            (found, Some(gap)) if (found as i64) < limit / 2 => {
                gap.grows = gap.grows.saturating_mul(2);
                self.record(PageReach::On);
            }
            _ => {}
        }
    }

    fn record(&mut self, step: PageReach) {
        self.step = step;
        self.generation += 1;
    }
}

impl Gap {
    /// The distance that `wanted` keys take if there are `keys` between `first` and `last`.
    fn between(first: &[u8], last: &[u8], keys: u64, expected: u64) -> Option<Self> {
        let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        let apart = number(last, common).saturating_sub(number(first, common));
        let grows = u128::from(apart) * u128::from(expected) / u128::from(keys.max(1));
        (apart > 0).then_some(Self {
            common,
            grows: u64::try_from(grows).unwrap_or(u64::MAX).max(1),
        })
    }

    /// The key at that distance after `from`; `None` if that is after all keys with the common
    /// prefix.
    fn after(self, from: &[u8]) -> Option<Vec<u8>> {
        let end = number(from, self.common).checked_add(self.grows)?;
        let end = [from.get(..self.common)?, &end.to_be_bytes()].concat();
        (end.as_slice() > from).then_some(end)
    }
}

/// The eight bytes at `at` as a number, padded with zeros.
fn number(key: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(key.iter().skip(at)) {
        *to = *from;
    }
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(names: &[&str]) -> Vec<KeyValue> {
        names
            .iter()
            .map(|name| KeyValue {
                key: name.as_bytes().to_vec(),
                ..KeyValue::default()
            })
            .collect()
    }

    #[test]
    fn page_end_follows_the_distance_of_keys_and_skips_gaps() {
        let mut spacing = KeySpacing::new(3);
        assert_eq!(spacing.page_end(b"/r/").0, None);
        spacing.record_full_page(&keys(&["/r/a/10", "/r/a/20"]), b"/r/a/20\0", 2);
        let (end, guess) = spacing.page_end(b"/r/a/20\0");
        assert_eq!(end.unwrap(), b"/r/a/30\0\0\0\0\0\0\0"[..13]);
        // None there: next the likely start of keys below b, then all of b.
        spacing.record_short_page(guess, 0, 2);
        let (end, guess) = spacing.page_end(b"/r/a/30");
        assert!(end.clone().unwrap().starts_with(b"/r/a0"), "{end:?}");
        spacing.record_short_page(guess, 0, 2);
        let (end, _) = spacing.page_end(b"/r/a/z");
        assert_eq!(end.unwrap(), b"/r/a0z\0\0\0\0\0\0");
    }

    #[test]
    fn outdated_estimates_are_ignored() {
        let mut spacing = KeySpacing::new(1);
        spacing.record_full_page(&keys(&["/a1", "/a2"]), b"/a2\0", 2);
        let (_, old) = spacing.page_end(b"/a2\0");
        spacing.record_full_page(&keys(&["/a3", "/a4"]), b"/a4\0", 2);
        spacing.record_short_page(old, 0, 2);
        assert_eq!(spacing.step, PageReach::On);
    }

    proptest! {
        #[test]
        fn page_ends_after_its_start(
            names in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..9),
            from: Vec<u8>,
            steps in prop::collection::vec((0usize..3, 0i64..9), 0..6),
            least in 0usize..4,
        ) {
            let mut names = names;
            names.sort();
            let kvs: Vec<_> = names.into_iter().map(|key| KeyValue { key, ..KeyValue::default() }).collect();
            let mut spacing = KeySpacing::new(least);
            spacing.record_full_page(&kvs, &from, 3);
            for (found, limit) in steps {
                let (end, guess) = spacing.page_end(&from);
                prop_assert!(end.is_none_or(|end| end > from));
                spacing.record_short_page(guess, found, limit);
            }
        }
    }
}
