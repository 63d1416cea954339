//! The known name nearest to an unknown one, for the hint beside a refusal.

/// Edits that still make a hint; beyond it a hint would only confuse.
const EDITS_MAX: usize = 6;

/// The nearest of `names`, unless none is near.
pub fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Names are at most some 60 bytes long; a longer question is no slip of the finger.
    if wrong.len() > 128 {
        return None;
    }
    let wrong = wrong.to_ascii_lowercase().replace('_', ".");
    let limit = EDITS_MAX.min(wrong.len() / 3);
    names
        .map(|name| (edits(wrong.as_bytes(), name.as_bytes()), name))
        .filter(|(count, _)| *count <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein distance.
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
