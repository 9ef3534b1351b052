use crate::schema::Versions;

/// When something holds, among the versions in which a struct exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Always,
    Never,
    /// Expressions over `version` for the condition and for its opposite.
    When {
        yes: String,
        no: String,
    },
}

/// When `version` is in `range`, given that it is in `within`.
pub(super) fn condition(range: Versions, within: Versions) -> Condition {
    let both = range.intersect(within);
    if both.is_empty() {
        return Condition::Never;
    }
    let (Versions { min, max }, from_start, to_end) = (both, both.min == within.min, both.max == within.max);
    let (yes, no) = match (from_start, to_end) {
        (true, true) => return Condition::Always,
        (false, true) => (format!("version >= {min}"), format!("version < {min}")),
        (true, false) => (format!("version <= {max}"), format!("version > {max}")),
        (false, false) if min == max => (format!("version == {min}"), format!("version != {min}")),
        (false, false) => {
            (format!("({min}..={max}).contains(&version)"), format!("!({min}..={max}).contains(&version)"))
        }
    };
    Condition::When { yes, no }
}

/// `range` in words, unless it is all of `within`.
pub(super) fn range_text(range: Versions, within: Versions) -> Option<String> {
    let both = range.intersect(within);
    if both == within {
        return None;
    }
    Some(match both {
        Versions { min, max } if min == max => format!("version {min} only"),
        Versions { min, max } if max == within.max => format!("versions {min} and later"),
        Versions { min, max } => format!("versions {min} to {max}"),
    })
}

/// A field's name as an identifier.
pub(super) fn ident(name: &str) -> String {
    if matches!(name, "type" | "match" | "move" | "ref" | "use" | "where" | "loop" | "fn") {
        format!("r#{name}")
    } else {
        name.to_owned()
    }
}

/// Whether `code` uses the identifier `name`.
pub(super) fn mentions(code: &str, name: &str) -> bool {
    let in_identifier = |c: char| c.is_ascii_alphanumeric() || c == '_';
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (code.get(..at).unwrap_or(""), code.get(at + name.len()..).unwrap_or(""));
        !before.ends_with(in_identifier) && !after.starts_with(in_identifier)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_no_more_than_needed() {
        let range = |min, max| Versions { min, max };
        let yes = |c| match c {
            Condition::When { yes, .. } => yes,
            other => format!("{other:?}"),
        };
        assert_eq!(condition(range(0, i16::MAX), range(3, 5)), Condition::Always);
        assert_eq!(condition(range(0, 2), range(3, 5)), Condition::Never);
        assert_eq!(yes(condition(range(4, i16::MAX), range(3, 5))), "version >= 4");
        assert_eq!(yes(condition(range(0, 4), range(3, 5))), "version <= 4");
        assert_eq!(yes(condition(range(4, 4), range(3, 5))), "version == 4");
        assert_eq!(yes(condition(range(4, 5), range(3, 6))), "(4..=5).contains(&version)");
    }

    #[test]
    fn an_identifier_is_found_as_a_whole_only() {
        assert!(mentions("Vec<Str>", "Str"));
        assert!(!mentions("StrList, MyStr", "Str"));
    }
}
