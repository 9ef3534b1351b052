//! What somebody may have meant.

/// The name that is most like `wrong`; the first of those that are equally like it.
pub(crate) fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names.into_iter().min_by_key(|name| distance(wrong, name))
}

/// How many characters must be inserted, removed or replaced to make one text of the other.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (removed, from) in left.chars().enumerate() {
        let mut diagonal = removed;
        row[0] = removed + 1;
        for (column, to) in right.chars().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_name() {
        let names = ["linger.ms", "batch.size", "buffer.memory"];
        assert_eq!(nearest("lingre.ms", names), Some("linger.ms"));
        assert_eq!(nearest("buffermemory", names), Some("buffer.memory"));
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
