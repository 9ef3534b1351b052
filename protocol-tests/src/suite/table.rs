//! The list of scenarios as a table, which the README shows.

use super::{Needs, SCENARIOS, Scenario, State};

/// The table in Markdown: one line for each scenario.
#[must_use]
pub fn table() -> String {
    let mut table = "| number | scenario | needs | state |\n| --- | --- | --- | --- |\n".to_owned();
    for scenario in SCENARIOS {
        let Scenario { name, needs, .. } = scenario;
        let number = scenario.number.map_or_else(String::new, |number| number.to_string());
        let state = match scenario.state {
            State::Ready(_) => "here".to_owned(),
            State::Pending(awaits) => format!("pending ({awaits})"),
        };
        table += &format!("| {number} | `{name}` | {} | {state} |\n", needs_of(*needs));
    }
    table
}

fn needs_of(needs: Needs) -> String {
    let words = [
        (needs.nodes > 1, "three nodes"),
        (needs.kills, "kills"),
        (needs.pauses, "pauses"),
        (needs.faults, "fault rules"),
        (needs.migrates, "Kafka 4.0 or newer"),
    ];
    words.into_iter().filter(|(is_needed, _)| *is_needed).map(|(_, word)| word).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_readme_shows_the_table() {
        let readme = include_str!("../../README.md");
        assert!(readme.contains(&table()), "README.md needs this table:\n\n{}", table());
    }

    #[test]
    fn all_forty_are_listed_under_their_numbers_and_no_name_comes_twice() {
        let numbers: BTreeSet<u8> = SCENARIOS.iter().filter_map(|scenario| scenario.number).collect();
        assert_eq!(numbers, (1..=40).collect());
        let names: BTreeSet<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        for Scenario { number, name, .. } in SCENARIOS {
            assert!(number.is_none_or(|number| name.starts_with(&format!("s{number:02}_"))), "{name}");
        }
    }
}
