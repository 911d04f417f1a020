//! The known name that a user may have meant.

/// Below this similarity, from 0 to 1, another name is not what was meant.
const MIN_SIMILARITY: f64 = 0.5;

/// The name that is the most similar to `text`.
pub(crate) fn nearest<'a>(text: &str, names: &[&'a str]) -> Option<&'a str> {
    let text = text.to_ascii_lowercase();
    let similar = names.iter().map(|name| {
        let lower = name.to_ascii_lowercase();
        let contains = lower.contains(&text);
        let similarity = strsim::sorensen_dice(&lower, &text);
        (similarity + if contains { 1.0 } else { 0.0 }, *name)
    });
    let best = similar.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (best.0 >= MIN_SIMILARITY).then_some(best.1)
}
