//! What copiers made of a topic, compared with the topic, and what they said of their transactions.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use milena::{Client, Isolation, Message, TopicPartition};
use serde_json::Value;

/// How long nothing must come before a reader is asked whether it is at the end.
const QUIET: Duration = Duration::from_millis(200);

/// The values of each partition, in their order.
pub type Log = BTreeMap<i32, Vec<String>>;

/// What is committed in a topic, to its end as it is now.
///
/// # Errors
/// What the reader was told.
pub async fn read_committed(client: &Client, topic: &str, partitions: u32) -> milena::Result<Log> {
    let mut log = Log::new();
    let take = |message: &Message| log.entry(message.partition().0).or_default().push(text(message.value()));
    each_committed(client, topic, partitions, take).await?;
    Ok(log)
}

/// Takes what is committed in a topic, to its end as it is now.
pub(super) async fn each_committed(
    client: &Client,
    topic: &str,
    partitions: u32,
    mut take: impl FnMut(&Message),
) -> milena::Result<()> {
    let reader = client.reader().topics([topic]).isolation(Isolation::ReadCommitted).build()?;
    let all: Vec<TopicPartition> =
        (0..partitions.cast_signed()).map(|index| TopicPartition::new(topic, index)).collect();
    loop {
        match tokio::time::timeout(QUIET, reader.next()).await {
            Ok(Some(message)) => take(&message?),
            Ok(None) => return Ok(()),
            Err(_) if all.iter().all(|partition| reader.lag(partition) == Some(0)) => return Ok(()),
            Err(_) => {}
        }
    }
}

pub(super) fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

/// Everything in which a copy is not its original, where every value is unique: what is missing, what is there twice or
/// was never in the original, and what is in another place of its partition.
#[must_use]
pub fn differences(original: &Log, copy: &Log) -> Vec<String> {
    let mut wrong = Vec::new();
    for partition in original.keys().chain(copy.keys()).collect::<BTreeSet<_>>() {
        let [from, to] =
            [original, copy].map(|log| log.get(partition).map(Vec::as_slice).unwrap_or_default());
        if from == to {
            continue;
        }
        let before = wrong.len();
        let (values, mut seen) = (from.iter().collect::<BTreeSet<_>>(), BTreeSet::new());
        for value in to {
            if !values.contains(value) {
                wrong.push(format!("partition {partition}: {value} is nobody's copy"));
            } else if !seen.insert(value) {
                wrong.push(format!("partition {partition}: {value} is there twice"));
            }
        }
        wrong.extend(
            values.difference(&seen).map(|value| format!("partition {partition}: {value} is missing")),
        );
        if wrong.len() == before {
            let moved = from.iter().zip(to).find(|(from, to)| from != to);
            wrong.push(format!("partition {partition}: another order, from {moved:?} on"));
        }
    }
    wrong
}

/// How the transactions of copiers ended, as their lines say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transactions {
    /// How many were committed.
    pub committed: u64,
    /// How many were aborted because they were told to.
    pub aborted: u64,
    /// How many failed, and were aborted, for each reason, without the numbers in it.
    pub failed: BTreeMap<String, u64>,
    /// The records in those that were committed.
    pub records: u64,
    /// After which errors copiers have ended, without the numbers in them.
    pub fatal: BTreeMap<String, u64>,
}

impl Transactions {
    /// Takes a line of a copier.
    pub fn take(&mut self, line: &Value) {
        let reason = |line: &Value| {
            let message = line["message"].as_str().unwrap_or_default();
            message.chars().filter(|c| !c.is_ascii_digit()).collect::<String>()
        };
        match line["name"].as_str() {
            Some("transaction_end") if line["outcome"] == "committed" => {
                self.committed += 1;
                self.records += line["records"].as_u64().unwrap_or_default();
            }
            Some("transaction_end") if line["message"].is_null() => self.aborted += 1,
            Some("transaction_end") => *self.failed.entry(reason(line)).or_default() += 1,
            Some("fatal") => *self.fatal.entry(reason(line)).or_default() += 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn log(partitions: &[&str]) -> Log {
        let values = |letters: &&str| letters.chars().map(String::from).collect();
        (0..).zip(partitions.iter().map(values)).collect()
    }

    #[test]
    fn every_difference_is_told() {
        let original = log(&["abc", "de"]);
        assert_eq!(differences(&original, &original), Vec::<String>::new());
        assert_eq!(differences(&log(&["abc", ""]), &log(&["abc"])), Vec::<String>::new());
        for (copy, expected) in [
            (&["abc", "d"][..], "partition 1: e is missing"),
            (&["abc"], "partition 1: d is missing"),
            (&["abcb", "de"], "partition 0: b is there twice"),
            (&["abc", "dex"], "partition 1: x is nobody's copy"),
            (&["acb", "de"], "partition 0: another order, from Some((\"b\", \"c\")) on"),
            (&["abc", "de", "a"], "partition 2: a is nobody's copy"),
        ] {
            assert_eq!(differences(&original, &log(copy)).first().map(String::as_str), Some(expected));
        }
    }

    #[test]
    fn ends_are_counted_by_their_reasons() {
        let mut ends = Transactions::default();
        for (name, outcome, message) in [
            ("transaction_end", "committed", None),
            ("transaction_end", "aborted", None),
            ("transaction_end", "aborted", Some("after 12 ms")),
            ("transaction_end", "aborted", Some("after 7 ms")),
            ("fatal", "", Some("fenced")),
            ("progress", "", None),
        ] {
            ends.take(&json!({"name": name, "outcome": outcome, "message": message, "records": 3}));
        }
        let failed = [("after  ms".to_owned(), 2)].into();
        let fatal = [("fenced".to_owned(), 1)].into();
        assert_eq!(ends, Transactions { committed: 1, aborted: 1, failed, records: 3, fatal });
    }
}
