//! Where a page of a range shall end, so that it holds about as many keys as it may: judged by how
//! far apart keys were so far.
//!
//! Keys are taken for numbers: the eight bytes behind those that they have in common. Nothing but
//! speed depends on the guess.

use super::KeyValue;

/// What names of objects and their folders are made of, in order.
const ALPHABET: &[u8] = b"-./0123456789:ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
/// Where most counted and random names begin.
const LOWEST: u64 = (b'0' as u64) << 56;

/// What is known of a range's keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Spacing {
    /// Bytes of the range's prefix: nothing is known of keys without it.
    least: usize,
    gap: Option<Gap>,
    step: Step,
    /// Counts what was learnt. What a page says that was guessed before the last lesson is no news.
    lesson: u64,
}

/// How far a page reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gap {
    common: usize,
    grows: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Step {
    /// On among keys with the same beginning.
    #[default]
    On,
    /// There are no more of those: to where the next beginning may have its first keys.
    Next,
    /// There are none either: over all keys with the next beginning.
    Wide,
}

/// The end of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Guess {
    steps: bool,
    lesson: u64,
}

impl Spacing {
    pub(super) fn new(least: usize) -> Self {
        Self {
            least,
            ..Self::default()
        }
    }

    /// The end of the page that begins at `from`; `None` where nothing is known.
    pub(super) fn end(&mut self, from: &[u8]) -> (Option<Vec<u8>>, Guess) {
        let guess = |steps| Guess {
            steps,
            lesson: self.lesson,
        };
        let Some(gap) = self.gap else {
            return (None, guess(false));
        };
        if self.step == Step::On
            && let Some(end) = gap.after(from)
        {
            return (Some(end), guess(false));
        }
        for common in (self.least..gap.common.min(from.len())).rev() {
            if self.step == Step::Wide {
                let wide = Gap {
                    common,
                    grows: 1 << 56,
                };
                if let Some(end) = wide.after(from) {
                    self.gap = Some(wide);
                    return (Some(end), guess(true));
                }
            } else if let Some(next) = ALPHABET.iter().find(|next| **next > from[common]) {
                let first = LOWEST.saturating_add(gap.grows).to_be_bytes();
                self.gap = Some(Gap {
                    common: common + 1,
                    ..gap
                });
                self.step = Step::On;
                return (
                    Some([&from[..common], &[*next], &first].concat()),
                    guess(true),
                );
            }
        }
        (None, guess(false))
    }

    /// A page that had no room for all keys: the next `wanted` ones begin at `from`.
    ///
    /// Of the spacings towards its end, that counts which promises the nearest end of the next
    /// page, as a page may reach from one densely filled region over a gap into another.
    pub(super) fn full(&mut self, kvs: &[KeyValue], from: &[u8], wanted: i64) {
        let gaps = [1, 2, 4, 8].into_iter().filter_map(|part| {
            let keys = kvs.len() / part;
            let (first, last) = (kvs.get(kvs.len() - keys)?, kvs.last()?);
            Gap::between(&first.key, &last.key, keys as u64, wanted.unsigned_abs())
        });
        let nearest = gaps.min_by_key(|gap| {
            gap.after(from)
                .map_or((true, Vec::new()), |end| (false, end))
        });
        if nearest.is_some() {
            self.gap = nearest;
            self.learnt(Step::On);
        }
    }

    /// A page of `guess` that had room for more than the `found` keys.
    pub(super) fn short(&mut self, guess: Guess, found: usize, limit: i64) {
        if guess.lesson != self.lesson {
            return;
        }
        match (found, &mut self.gap) {
            (_, None) => {}
            (0, Some(_)) if self.step == Step::Wide => {}
            (0, Some(_)) => self.learnt(if guess.steps { Step::Wide } else { Step::Next }),
            (found, Some(gap)) if (found as i64) < limit / 2 => {
                gap.grows = gap.grows.saturating_mul(2);
                self.learnt(Step::On);
            }
            _ => {}
        }
    }

    fn learnt(&mut self, step: Step) {
        self.step = step;
        self.lesson += 1;
    }
}

impl Gap {
    /// As far as `wanted` keys will reach where from `first` to `last` there are `keys`.
    fn between(first: &[u8], last: &[u8], keys: u64, wanted: u64) -> Option<Self> {
        let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        let apart = number(last, common).saturating_sub(number(first, common));
        let grows = u128::from(apart) * u128::from(wanted) / u128::from(keys.max(1));
        (apart > 0).then_some(Self {
            common,
            grows: u64::try_from(grows).unwrap_or(u64::MAX).max(1),
        })
    }

    /// So far behind `from`; `None` where that is beyond all keys with the common beginning.
    fn after(self, from: &[u8]) -> Option<Vec<u8>> {
        let end = number(from, self.common).checked_add(self.grows)?;
        let end = [from.get(..self.common)?, &end.to_be_bytes()].concat();
        (end.as_slice() > from).then_some(end)
    }
}

/// The eight bytes at `at` as a number, zeroes behind the end.
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
    fn a_page_ends_as_far_on_as_its_keys_reach_and_then_where_others_may_begin() {
        let mut spacing = Spacing::new(3);
        assert_eq!(spacing.end(b"/r/").0, None);
        spacing.full(&keys(&["/r/a/10", "/r/a/20"]), b"/r/a/20\0", 2);
        let (end, guess) = spacing.end(b"/r/a/20\0");
        assert_eq!(end.unwrap(), b"/r/a/30\0\0\0\0\0\0\0"[..13]);
        // None there: those of b, perhaps, else all of b.
        spacing.short(guess, 0, 2);
        let (end, guess) = spacing.end(b"/r/a/30");
        assert!(end.clone().unwrap().starts_with(b"/r/a0"), "{end:?}");
        spacing.short(guess, 0, 2);
        let (end, _) = spacing.end(b"/r/a/z");
        assert_eq!(end.unwrap(), b"/r/a0z\0\0\0\0\0\0");
    }

    #[test]
    fn what_was_guessed_before_the_last_lesson_teaches_nothing() {
        let mut spacing = Spacing::new(1);
        spacing.full(&keys(&["/a1", "/a2"]), b"/a2\0", 2);
        let (_, old) = spacing.end(b"/a2\0");
        spacing.full(&keys(&["/a3", "/a4"]), b"/a4\0", 2);
        spacing.short(old, 0, 2);
        assert_eq!(spacing.step, Step::On);
    }

    proptest! {
        #[test]
        fn a_page_ends_behind_its_beginning(
            names in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..9),
            from: Vec<u8>,
            steps in prop::collection::vec((0usize..3, 0i64..9), 0..6),
            least in 0usize..4,
        ) {
            let mut names = names;
            names.sort();
            let kvs: Vec<_> = names.into_iter().map(|key| KeyValue { key, ..KeyValue::default() }).collect();
            let mut spacing = Spacing::new(least);
            spacing.full(&kvs, &from, 3);
            for (found, limit) in steps {
                let (end, guess) = spacing.end(&from);
                prop_assert!(end.is_none_or(|end| end > from));
                spacing.short(guess, found, limit);
            }
        }
    }
}
