//! What services handled, compared with what was written.

use std::collections::{BTreeMap, BTreeSet};

use milena::{Client, Message};

use super::copies::{each_committed, text};

/// The values of each key, in their order.
pub type Keyed = BTreeMap<String, Vec<String>>;

/// What is committed in a topic, to its end as it is now.
///
/// # Errors
/// What the reader was told.
pub async fn read_keyed(client: &Client, topic: &str, partitions: u32) -> milena::Result<Keyed> {
    let mut keyed = Keyed::new();
    let take = |message: &Message| keyed.entry(text(message.key())).or_default().push(text(message.value()));
    each_committed(client, topic, partitions, take).await?;
    Ok(keyed)
}

/// The ids of the events in a topic, by their values.
///
/// # Errors
/// What the reader was told.
pub async fn read_ids(
    client: &Client,
    topic: &str,
    partitions: u32,
) -> milena::Result<BTreeMap<String, BTreeSet<String>>> {
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let take = |message: &Message| {
        let id = message.headers().last_named("ce_id").flatten();
        ids.entry(text(message.value())).or_default().insert(text(id));
    };
    each_committed(client, topic, partitions, take).await?;
    Ok(ids)
}

/// Everything in which what was handled is not what was written, each at least once and in the order of its key, where
/// the values of a key are unique. Who takes over a key may go back, to what was not committed yet; from there on it
/// goes through all of it again, without a gap, to the end.
#[must_use]
pub fn misses(written: &Keyed, handled: &Keyed) -> Vec<String> {
    let mut wrong = Vec::new();
    for key in written.keys().chain(handled.keys()).collect::<BTreeSet<_>>() {
        let [written, handled] =
            [written, handled].map(|keyed| keyed.get(key).map(Vec::as_slice).unwrap_or_default());
        let places: BTreeMap<&String, usize> = written.iter().zip(0..).collect();
        // The place of what may be handled next; what is before it may be handled again.
        let mut next = 0;
        for value in handled {
            match places.get(value) {
                None => wrong.push(format!("key {key}: {value} was never written")),
                Some(place) if *place > next => {
                    wrong.push(format!("key {key}: {value} came before {}", written[next]));
                    next = place + 1;
                }
                Some(place) => next = place + 1,
            }
        }
        if let Some(missing) = written.get(next) {
            wrong.push(format!("key {key}: it ends before {missing}"));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed(keys: &[&str]) -> Keyed {
        let values = |letters: &&str| letters.chars().map(String::from).collect();
        (0..).map(|key: u32| key.to_string()).zip(keys.iter().map(values)).collect()
    }

    #[test]
    fn a_replay_without_a_gap_is_no_miss() {
        let written = keyed(&["abcd", "ef"]);
        for handled in [["abcd", "ef"], ["aabcd", "eef"], ["abcabcbcd", "efef"], ["abcdd", "ef"]] {
            assert_eq!(misses(&written, &keyed(&handled)), Vec::<String>::new(), "{handled:?}");
        }
    }

    #[test]
    fn every_miss_is_told() {
        let written = keyed(&["abcd", "ef"]);
        for (handled, expected) in [
            (&["abc", "ef"][..], "key 0: it ends before d"),
            (&["abcd"], "key 1: it ends before e"),
            (&["abd", "ef"], "key 0: d came before c"),
            (&["bcd", "ef"], "key 0: b came before a"),
            (&["abcabdcd", "ef"], "key 0: d came before c"),
            (&["abcdb", "ef"], "key 0: it ends before c"),
            (&["abcd", "exf"], "key 1: x was never written"),
            (&["abcd", "ef", "g"], "key 2: g was never written"),
        ] {
            assert_eq!(misses(&written, &keyed(handled)).first().map(String::as_str), Some(expected));
        }
    }
}
