//! What a verifiable producer and a verifiable consumer said about one topic, and whether it can be.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;

/// Where a record is: partition and offset.
type Place = (i64, i64);

/// When acknowledgements were printed.
#[derive(Debug, Default)]
struct Pace {
    count: u64,
    first: i64,
    last: i64,
    longest_stall: i64,
}

impl Pace {
    fn step(&mut self, now: i64) {
        if self.count == 0 {
            (self.first, self.last) = (now, now);
        }
        self.longest_stall = self.longest_stall.max(now - self.last);
        self.last = now;
        self.count += 1;
    }
}

/// Collects lines. The values are `n` or `prefix.n`, with rising n.
#[derive(Debug, Default)]
pub struct Ledger {
    acked: BTreeMap<u64, Place>,
    failed: BTreeMap<u64, String>,
    read: BTreeMap<Place, u64>,
    read_again: u64,
    committed: BTreeMap<i64, i64>,
    commits: u64,
    commits_failed: u64,
    acks: Pace,
    acks_of_partitions: BTreeMap<i64, Pace>,
    producer_closed: bool,
    wrong: Vec<String>,
}

impl Ledger {
    /// Takes a line of the producer.
    pub fn produced(&mut self, line: &Value) {
        match name(line) {
            "producer_send_success" => self.acked(line),
            "producer_send_error" => {
                let (Some(number), message) = (number(line), line["message"].to_string()) else {
                    return self.note(format!("a failure of no value: {line}"));
                };
                if self.failed.insert(number, message).is_some() || self.acked.contains_key(&number) {
                    self.note(format!("value {number} has two outcomes"));
                }
            }
            "shutdown_complete" => self.producer_closed = true,
            "tool_data" => self.check_count(line),
            "startup_complete" => {}
            _ => self.note(format!("the producer said {line}")),
        }
    }

    fn acked(&mut self, line: &Value) {
        let (Some(number), Some(place)) = (number(line), place(line)) else {
            return self.note(format!("an acknowledgement of nothing: {line}"));
        };
        if self.producer_closed {
            self.note(format!("value {number} was acknowledged after the producer had closed"));
        }
        if self.acked.insert(number, place).is_some() || self.failed.contains_key(&number) {
            self.note(format!("value {number} has two outcomes"));
        }
        let at = line["timestamp"].as_i64().unwrap_or_default();
        self.acks.step(at);
        self.acks_of_partitions.entry(place.0).or_default().step(at);
    }

    fn check_count(&mut self, line: &Value) {
        let outcomes = self.acked.len() + self.failed.len();
        if line["sent"].as_u64() != u64::try_from(outcomes).ok() {
            self.note(format!("{outcomes} values have an outcome, and {} were sent", line["sent"]));
        }
    }

    /// Takes a line of the consumer, which must be verbose.
    pub fn consumed(&mut self, line: &Value) {
        match name(line) {
            "record_data" => {
                let (Some(number), Some(place)) = (number(line), place(line)) else {
                    return self.note(format!("a record without a value: {line}"));
                };
                match self.read.insert(place, number) {
                    Some(before) if before == number => self.read_again += 1,
                    Some(before) => self.note(format!("{place:?} was read as {before} and as {number}")),
                    None => {}
                }
            }
            "offsets_committed" if line["success"] == true => {
                self.commits += 1;
                for committed in line["offsets"].as_array().into_iter().flatten() {
                    self.committed(committed);
                }
            }
            "offsets_committed" => self.commits_failed += 1,
            "fatal" => self.note(format!("the consumer said {line}")),
            _ => {}
        }
    }

    fn committed(&mut self, committed: &Value) {
        let Some((partition, offset)) = place(committed) else {
            return self.note(format!("a commit of nothing: {committed}"));
        };
        let before = self.committed.insert(partition, offset).unwrap_or(0);
        if offset < before {
            self.note(format!("partition {partition} was committed at {before} and then at {offset}"));
        }
        // What is committed was read: one behind the last.
        if !self.read.contains_key(&(partition, offset - 1)) {
            self.note(format!("partition {partition} was committed at {offset}, which was not read yet"));
        }
    }

    /// How many values of each partition are acknowledged.
    #[must_use]
    pub fn acked_by_partition(&self) -> BTreeMap<i64, u64> {
        self.acks_of_partitions.iter().map(|(partition, pace)| (*partition, pace.count)).collect()
    }

    /// How many acknowledged values the consumer has not read.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.acked.values().filter(|place| !self.read.contains_key(place)).count()
    }

    /// Everything that breaks a promise. `idempotent` says that no value may be in the log twice.
    #[must_use]
    pub fn violations(&self, idempotent: bool) -> Vec<String> {
        let mut wrong = self.wrong.clone();
        for (number, place) in &self.acked {
            match self.read.get(place) {
                Some(read) if read == number => {}
                Some(read) => wrong.push(format!("value {number} is acked at {place:?}, where {read} is")),
                None => wrong.push(format!("value {number} is acked at {place:?} and was never read")),
            }
        }
        let mut seen = BTreeSet::new();
        let mut newest: BTreeMap<i64, u64> = BTreeMap::new();
        for ((partition, offset), number) in &self.read {
            let first = seen.insert(*number);
            if idempotent && !first {
                wrong.push(format!("value {number} is in the log twice, again at {:?}", (partition, offset)));
            }
            let before = newest.insert(*partition, *number);
            if first && before.is_some_and(|before| before > *number) {
                let before = before.unwrap_or_default();
                wrong.push(format!("partition {partition} has {before} before {number}, at {offset}"));
            }
        }
        wrong
    }

    /// The figures.
    #[must_use]
    pub fn report(&self) -> Report {
        let of_partitions = self.acks_of_partitions.values().map(|pace| pace.longest_stall);
        Report {
            acked: self.acked.len(),
            failed: self.failed.values().fold(BTreeMap::new(), |mut counts, message| {
                *counts.entry(message.clone()).or_default() += 1;
                counts
            }),
            read: self.read.len(),
            read_again: self.read_again,
            commits: self.commits,
            commits_failed: self.commits_failed,
            took_ms: self.acks.last - self.acks.first,
            longest_stall_ms: self.acks.longest_stall,
            longest_stall_of_a_partition_ms: of_partitions.max().unwrap_or_default(),
        }
    }

    fn note(&mut self, what: String) {
        self.wrong.push(what);
    }
}

/// How much was done, and how smoothly.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Values acknowledged.
    pub acked: usize,
    /// Values that failed, by message.
    pub failed: BTreeMap<String, usize>,
    /// Records read, each counted once.
    pub read: usize,
    /// Records read another time.
    pub read_again: u64,
    /// Commits that succeeded.
    pub commits: u64,
    /// Commits that failed.
    pub commits_failed: u64,
    /// From the first to the last acknowledgement, in milliseconds.
    pub took_ms: i64,
    /// The longest time between two acknowledgements, in milliseconds.
    pub longest_stall_ms: i64,
    /// The same, of the partition that waited longest.
    pub longest_stall_of_a_partition_ms: i64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.acked as f64 * 1000.0 / self.took_ms.max(1) as f64;
        write!(
            f,
            "{} acked in {} ms ({rate:.0}/s, longest stall {} ms, of one partition {} ms), {} failed {:?}; {} read, {} of them again; \
             {} commits, {} failed",
            self.acked,
            self.took_ms,
            self.longest_stall_ms,
            self.longest_stall_of_a_partition_ms,
            self.failed.values().sum::<usize>(),
            self.failed,
            self.read,
            self.read_again,
            self.commits,
            self.commits_failed
        )
    }
}

fn name(line: &Value) -> &str {
    line["name"].as_str().unwrap_or_default()
}

/// The n of a value.
fn number(line: &Value) -> Option<u64> {
    line["value"].as_str()?.rsplit('.').next()?.parse().ok()
}

fn place(of: &Value) -> Option<Place> {
    Some((of["partition"].as_i64()?, of["offset"].as_i64()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ack(ledger: &mut Ledger, number: u64, (partition, offset): Place) {
        let value = format!("p.{number}");
        ledger.produced(&json!({"timestamp": number, "name": "producer_send_success", "value": value,
            "partition": partition, "offset": offset}));
    }

    fn read(ledger: &mut Ledger, number: u64, (partition, offset): Place) {
        let value = format!("p.{number}");
        ledger.consumed(&json!({"name": "record_data", "value": value, "partition": partition,
            "offset": offset}));
    }

    fn commit(ledger: &mut Ledger, partition: i64, offset: i64) {
        ledger.consumed(&json!({"name": "offsets_committed", "success": true,
            "offsets": [{"topic": "t", "partition": partition, "offset": offset}]}));
    }

    /// Two partitions, all well.
    fn good() -> Ledger {
        let mut ledger = Ledger::default();
        for (number, place) in [(0, (0, 0)), (1, (1, 0)), (2, (0, 1)), (3, (1, 1))] {
            ack(&mut ledger, number, place);
            read(&mut ledger, number, place);
        }
        commit(&mut ledger, 0, 2);
        ledger.produced(&json!({"name": "tool_data", "sent": 4}));
        ledger.produced(&json!({"name": "shutdown_complete"}));
        ledger
    }

    fn only_violation(break_it: impl FnOnce(&mut Ledger)) -> String {
        let mut ledger = good();
        break_it(&mut ledger);
        let violations = ledger.violations(true);
        assert_eq!(violations.len(), 1, "{violations:?}");
        violations.concat()
    }

    #[test]
    fn what_is_promised_passes() {
        let mut ledger = good();
        read(&mut ledger, 2, (0, 1));
        assert_eq!(ledger.violations(true), Vec::<String>::new());
        assert_eq!((ledger.unread(), ledger.report().read_again), (0, 1));
        assert_eq!(ledger.acked_by_partition(), BTreeMap::from([(0, 2), (1, 2)]));
    }

    #[test]
    fn every_broken_promise_is_found() {
        let broken = only_violation(|l| {
            l.producer_closed = false;
            ack(l, 4, (0, 2));
        });
        assert!(broken.contains("never read"), "{broken}");
        let broken = only_violation(|l| read(l, 3, (1, 2)));
        assert!(broken.contains("twice"), "{broken}");
        let broken = only_violation(|l| {
            read(l, 9, (0, 2));
            read(l, 8, (0, 3));
        });
        assert!(broken.contains("9 before 8"), "{broken}");
        let broken = only_violation(|l| commit(l, 0, 1));
        assert!(broken.contains("committed at 2 and then at 1"), "{broken}");
        let broken = only_violation(|l| commit(l, 1, 7));
        assert!(broken.contains("not read yet"), "{broken}");
        let broken = only_violation(|l| {
            l.produced(&json!({"name": "producer_send_error", "value": "p.2", "message": "m"}));
        });
        assert!(broken.contains("two outcomes"), "{broken}");
        let broken = only_violation(|l| l.produced(&json!({"name": "tool_data", "sent": 5})));
        assert!(broken.contains("5 were sent"), "{broken}");
        let broken = only_violation(|l| l.produced(&json!({"name": "fatal", "message": "m"})));
        assert!(broken.contains("fatal"), "{broken}");
        let mut ledger = good();
        read(&mut ledger, 7, (0, 1));
        assert!(ledger.violations(true).iter().any(|v| v.contains("as 2 and as 7")));
    }

    #[test]
    fn without_idempotence_a_value_may_be_there_twice() {
        let mut ledger = good();
        read(&mut ledger, 3, (1, 2));
        assert_eq!(ledger.violations(false), Vec::<String>::new());
    }
}
