//! How the topics are called that a service makes for itself.

use milena::TopicName;

/// The longest name that Kafka lets a topic have.
const LONGEST: usize = 249;

/// How the topics are called that a service makes for itself. The group is a part of the name, because a topic that two
/// groups share would give each the failures of the other.
///
/// Topics may hold letters, digits, `.`, `_` and `-`, and have 249 characters at most; groups may be called anything. What
/// is not allowed becomes `_`, and whatever was changed or cut gets a suffix that tells it from others.
///
/// ```
/// use milena_service::Naming;
///
/// let naming = Naming::default();
/// assert_eq!(naming.dead_letters("orders", "billing").as_str(), "orders.billing.dlq");
/// assert_eq!(Naming::new("-dlt").dead_letters("orders", "billing").as_str(), "orders.billing-dlt");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    suffix: String,
}

impl Naming {
    /// Names of dead-letter topics that end so, with the separator.
    #[must_use]
    pub fn new(suffix: impl Into<String>) -> Self {
        Self { suffix: suffix.into() }
    }

    /// The dead-letter topic of a topic, for a group: `{topic}.{group}.dlq`.
    #[must_use]
    pub fn dead_letters(&self, topic: &str, group: &str) -> TopicName {
        legal(&format!("{topic}.{group}{}", self.suffix), &self.suffix)
    }
}

impl Default for Naming {
    fn default() -> Self {
        Self::new(".dlq")
    }
}

/// `name` in characters that a topic may have, and no more than it may have. `suffix` is kept.
fn legal(name: &str, suffix: &str) -> TopicName {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let allowed = |text: &str| text.chars().map(|c| if is_legal(c) { c } else { '_' }).collect::<String>();
    let clean = allowed(name);
    if clean == name && name.len() <= LONGEST {
        return clean.into();
    }
    let end = format!(".{:08x}{}", crc32fast::hash(name.as_bytes()), allowed(suffix));
    let kept = clean.strip_suffix(&allowed(suffix)).unwrap_or(&clean);
    let kept: String = kept.chars().take(LONGEST.saturating_sub(end.len())).collect();
    format!("{kept}{end}").chars().take(LONGEST).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_changed_is_told_from_others() {
        let naming = Naming::default();
        let names = ["a b", "a_b", "a/b", "a\u{e9}b", &"g".repeat(300), &format!("{}x", "g".repeat(299))];
        let named: BTreeSet<TopicName> =
            names.iter().map(|group| naming.dead_letters("orders", group)).collect();
        assert_eq!(named.len(), names.len(), "{named:?}");
        assert_eq!(naming.dead_letters("orders", "a_b").as_str(), "orders.a_b.dlq");
        assert!(named.iter().all(|name| name.ends_with(".dlq")), "{named:?}");
        assert!(naming.dead_letters("orders", "a b").starts_with("orders.a_b."));
    }

    /// Instances of different builds must agree on the name.
    #[test]
    fn a_suffix_is_the_same_in_every_build() {
        assert_eq!(Naming::default().dead_letters("orders", "a b").as_str(), "orders.a_b.240584b1.dlq");
    }

    proptest! {
        #[test]
        fn every_name_is_legal(topic in "[a-z.]{1,249}", group in ".{0,300}", suffix in ".{0,12}") {
            let name = Naming::new(suffix).dead_letters(&topic, &group);
            prop_assert!(TopicName::check(&name).is_ok(), "{}", name);
        }
    }
}
