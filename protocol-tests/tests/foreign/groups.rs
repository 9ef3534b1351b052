//! Groups of the classic protocol.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use milena::{Assignor, Compression, ConsumerBuilder, GroupProtocol, Position, RangeAssignor};
use protocol_tests::foreign::Line;
use protocol_tests::suite::take;

use crate::Pair;
use crate::exchange::{lines, write};

const PARTITIONS: i32 = 4;
const EACH: i64 = 100;

/// A member alone, two that share, one that is left: each record comes to one of them once, and is committed.
pub(crate) async fn two_members_share_and_take_over(pair: &mut Pair) {
    let mut topic = Written::new("shared", pair).await;
    pair.other.ask(&["join", "a", "group", &topic.name], &[]).unwrap();
    let expected = topic.more(pair).await;
    topic.assert_polled(pair, "a", 4, &expected);

    pair.other.ask(&["join", "b", "group", &topic.name], &[]).unwrap();
    topic.assert_polled(pair, "a,b", 2, &[]);
    let expected = topic.more(pair).await;
    let by = topic.assert_polled(pair, "a,b", 2, &expected);
    assert_eq!(by, ["a", "b"].map(str::to_owned).into(), "both have something to do");

    pair.other.ask(&["leave", "a"], &[]).unwrap();
    let expected = topic.more(pair).await;
    topic.assert_polled(pair, "b", 4, &expected);
    let committed = pair.other.ask(&["committed", "group"], &[]).unwrap();
    assert_eq!(committed, (0..PARTITIONS).map(|p| format!("{p}\t{}", 3 * EACH)).collect::<Vec<_>>());
    pair.other.ask(&["leave", "b"], &[]).unwrap();

    // Who comes after them, of whatever make, begins where they ended.
    let expected = topic.more(pair).await;
    let successor = pair.milena.consumer("group").topics([topic.name.as_str()]).start_at(Position::Earliest);
    let successor = as_others_are(successor).build().unwrap();
    assert_eq!(sorted(lines(&take(&successor, expected.len()).await)), expected);
    successor.close().await.unwrap();
}

/// Members of two makers in one group share its partitions: each understands what the other says of itself, whoever leads.
pub(crate) async fn a_member_of_each_maker(pair: &mut Pair) {
    for (group, milena_leads) in [("milena-first", true), ("milena-second", false)] {
        let mut topic = Written::new(group, pair).await;
        let name = topic.name.clone();
        let ours = pair.milena.consumer(group).topics([name.as_str()]).start_at(Position::Earliest);
        let ours = as_others_are(ours);
        // It learns from a heartbeat that another has joined.
        let ours = ours.heartbeat_interval(Duration::from_millis(100));
        let before = topic.more(pair).await;
        let ours = if milena_leads {
            let ours = ours.build().unwrap();
            assert_eq!(sorted(lines(&take(&ours, before.len()).await)), before);
            ours.commit().await.unwrap();
            pair.other.ask(&["join", "c", group, &name], &[]).unwrap();
            ours
        } else {
            pair.other.ask(&["join", "c", group, &name], &[]).unwrap();
            topic.assert_polled(pair, "c", 4, &before);
            ours.build().unwrap()
        };
        let half = before.len() / 2;
        let ours = tokio::spawn(async move { (lines(&take(&ours, half).await), ours) });
        topic.assert_polled(pair, "c", 2, &[]);
        let after = topic.more(pair).await;
        let theirs = pair.other.ask(&["poll", "c", &half.to_string(), "2"], &[]).unwrap();
        let (mut read, ours) = ours.await.unwrap();
        read.extend(theirs.iter().map(|line| named(line).1));
        assert_eq!(sorted(read), after);
        ours.close().await.unwrap();
        pair.other.ask(&["leave", "c"], &[]).unwrap();
    }
}

/// A topic that grows by [`EACH`] records in each partition at a time.
struct Written {
    name: String,
    end: i64,
}

impl Written {
    async fn new(name: &str, pair: &Pair) -> Self {
        pair.create(name, PARTITIONS.unsigned_abs()).await;
        Self { name: name.to_owned(), end: 0 }
    }

    async fn more(&mut self, pair: &Pair) -> Vec<Line> {
        let offsets = self.end..self.end + EACH;
        self.end = offsets.end;
        let records: Vec<Line> = (0..PARTITIONS)
            .flat_map(|partition| offsets.clone().map(move |offset| (partition, offset)))
            .map(|(partition, offset)| Line {
                topic: self.name.clone(),
                partition,
                offset,
                timestamp: offset,
                key: None,
                value: Some(format!("{partition}/{offset}").into_bytes()),
                headers: Vec::new(),
            })
            .collect();
        write(&pair.milena, Compression::None, &records).await;
        records
    }

    /// These members get these records, each once, and have as many partitions as that; who got some.
    fn assert_polled(
        &self,
        pair: &mut Pair,
        members: &str,
        share: i32,
        expected: &[Line],
    ) -> BTreeSet<String> {
        let (count, share) = (expected.len().to_string(), share.to_string());
        let polled = pair.other.ask(&["poll", members, &count, &share], &[]).unwrap();
        let (by, read): (BTreeSet<String>, Vec<Line>) = polled.iter().map(|line| named(line)).unzip();
        assert_eq!(sorted(read), expected);
        by
    }
}

fn named(line: &str) -> (String, Line) {
    let (name, line) = line.split_once('\t').unwrap();
    (name.to_owned(), line.parse().unwrap())
}

fn sorted(mut lines: Vec<Line>) -> Vec<Line> {
    lines.sort_by_key(|line| (line.partition, line.offset));
    lines
}

/// Offers an assignor that every client offers by default.
fn as_others_are(ours: ConsumerBuilder) -> ConsumerBuilder {
    ours.protocol(GroupProtocol::Classic).assignors([Arc::new(RangeAssignor) as Arc<dyn Assignor>])
}
