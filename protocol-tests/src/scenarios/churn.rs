//! 36 at length: groups of each protocol, whose members join, leave, stall and are killed while records flow.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use milena::{
    Assignor, Client, Commit, Consumer, ConsumerBuilder, GroupProtocol, RangeAssignor, Record, TopicPartition,
};
use tokio::task::JoinHandle;

use super::groups::Owners;
use crate::suite::{Stage, eventually};
use crate::target::Target;

const PARTITIONS: u32 = 12;
const PER_SECOND: usize = 5_000;
const MEMBERS: usize = 6;
/// The shortest session that a broker allows by default.
const SESSION: Duration = Duration::from_secs(6);
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(7);

/// 36, for a minute on Kafka and a third of it on the embedded cluster: every record is processed, no partition ever has two
/// owners, what is committed only grows, and nobody is left without a share.
pub(crate) async fn s36_members_of_each_protocol_come_and_go_for_a_minute(stage: Stage) {
    let is_embedded = matches!(stage.target(), Target::Embedded { .. });
    let time = Duration::from_secs(if is_embedded { 20 } else { 60 });
    let client = stage.client().await;
    let topic = stage.topic(&client, PARTITIONS).await;
    let mut eager = Group::new(&stage, "eager", &topic, GroupProtocol::Classic, true);
    let mut cooperative = Group::new(&stage, "cooperative", &topic, GroupProtocol::Classic, false);
    let mut consumer = Group::new(&stage, "consumer", &topic, GroupProtocol::Auto, false);
    let until = Instant::now() + time;
    let writing = tokio::spawn(write(client, topic.clone(), move || Instant::now() >= until));
    tokio::join!(
        eager.come_and_go(&stage, until),
        cooperative.come_and_go(&stage, until),
        consumer.come_and_go(&stage, until)
    );
    let written = writing.await.unwrap();
    assert!(written > PER_SECOND, "only {written} records were written");
    tokio::join!(eager.finish(written), cooperative.finish(written), consumer.finish(written));
}

/// 39: members of a classic group are replaced by those of the consumer protocol while records flow, and these by classic
/// ones again. Every record is processed, and no partition ever has two owners.
pub(crate) async fn s39_a_group_migrates_between_the_protocols(stage: Stage) {
    for is_eager in [false, true] {
        let client = stage.client().await;
        let topic = stage.topic(&client, PARTITIONS).await;
        let name = if is_eager { "eager" } else { "cooperative" };
        let mut group = Group::new(&stage, name, &topic, GroupProtocol::Classic, is_eager);
        let done = Arc::new(AtomicBool::new(false));
        let is_done = Arc::clone(&done);
        let writing = tokio::spawn(write(client, topic, move || is_done.load(Ordering::Relaxed)));
        for _ in 0..2 {
            group.joins(&stage).await;
            group.settles().await;
        }
        for protocol in [GroupProtocol::Consumer, GroupProtocol::Classic] {
            group.protocol = protocol;
            for _ in 0..2 {
                group.joins(&stage).await;
                group.settles().await;
                group.check().await;
            }
            for _ in 0..2 {
                group.leaves(0).await;
                group.settles().await;
                group.check().await;
            }
        }
        done.store(true, Ordering::Relaxed);
        let written = writing.await.unwrap();
        group.finish(written).await;
    }
}

/// Writes numbers, evenly in time, and says how many.
async fn write(client: Client, topic: String, is_done: impl Fn() -> bool) -> usize {
    let producer = client.producer().build().unwrap();
    let mut written = 0;
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while !is_done() {
        tick.tick().await;
        for _ in 0..PER_SECOND / 50 {
            let value = written.to_string();
            let record = Record::new(&topic, &value).partition(written as i32 % PARTITIONS.cast_signed());
            drop(producer.enqueue(record).await.unwrap());
            written += 1;
        }
    }
    producer.close().await.unwrap();
    written
}

struct Group {
    group: String,
    topic: String,
    protocol: GroupProtocol,
    is_eager: bool,
    owners: Owners,
    /// How often each number was processed.
    seen: Arc<Mutex<Vec<u8>>>,
    members: Vec<Member>,
    made: usize,
    committed: BTreeMap<TopicPartition, i64>,
    /// How many have joined, left, stalled and been killed.
    done: [usize; 4],
    dice: u64,
}

struct Member {
    name: usize,
    client: Client,
    consumer: Arc<Consumer>,
    stalls: Arc<AtomicBool>,
    works: JoinHandle<()>,
}

impl Group {
    fn new(stage: &Stage, name: &str, topic: &str, protocol: GroupProtocol, is_eager: bool) -> Self {
        Self {
            group: stage.name(name),
            topic: topic.to_owned(),
            protocol,
            is_eager,
            owners: Owners::default(),
            seen: Arc::default(),
            members: Vec::new(),
            made: 0,
            committed: BTreeMap::new(),
            done: [0; 4],
            dice: 0x9e37_79b9_7f4a_7c15 ^ u64::from(is_eager) ^ ((name.len() as u64) << 7),
        }
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        usize::try_from(self.dice >> 33).unwrap_or(0) % sides
    }

    async fn come_and_go(&mut self, stage: &Stage, until: Instant) {
        for _ in 0..3 {
            self.joins(stage).await;
        }
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(700 + 100 * self.roll(12) as u64)).await;
            match (self.roll(4), self.members.len()) {
                (0, _) if self.members.len() < MEMBERS => self.joins(stage).await,
                (1, 3..) => {
                    let place = self.roll(self.members.len());
                    self.leaves(place).await;
                }
                (2, 1..) => self.stalls(),
                (3, 3..) => self.is_killed(),
                (_, MEMBERS) => self.leaves(0).await,
                _ => self.joins(stage).await,
            }
            self.check().await;
        }
        assert!(self.done.iter().all(|count| *count > 0), "{}: {:?}", self.group, self.done);
    }

    async fn joins(&mut self, stage: &Stage) {
        self.done[0] += 1;
        self.made += 1;
        // A client of its own, so that it can die alone.
        let (name, client) = (self.made, stage.client().await);
        let builder = client.consumer(&self.group).topics([self.topic.as_str()]).protocol(self.protocol);
        let consumer = self.set(builder).on_rebalance(self.owners.listener(name)).build().unwrap();
        let (consumer, stalls) = (Arc::new(consumer), Arc::new(AtomicBool::new(false)));
        let works = tokio::spawn(work(Arc::clone(&consumer), Arc::clone(&stalls), Arc::clone(&self.seen)));
        self.members.push(Member { name, client, consumer, stalls, works });
    }

    fn set(&self, builder: ConsumerBuilder) -> ConsumerBuilder {
        let builder = builder.session_timeout(SESSION).heartbeat_interval(Duration::from_millis(500));
        let builder =
            builder.max_poll_interval(MAX_POLL_INTERVAL).commit(Commit::Every(Duration::from_millis(300)));
        let range: Arc<dyn Assignor> = Arc::new(RangeAssignor);
        if self.is_eager { builder.assignors([range]) } else { builder }
    }

    async fn leaves(&mut self, place: usize) {
        self.done[1] += 1;
        let member = self.members.remove(place);
        member.consumer.close().await.unwrap();
        member.works.await.unwrap();
        member.client.close();
    }

    /// It works on something for longer than it may.
    fn stalls(&mut self) {
        self.done[2] += 1;
        let place = self.roll(self.members.len());
        self.members[place].stalls.store(true, Ordering::Relaxed);
    }

    /// Its connections end and its group learns of it by the end of its session.
    fn is_killed(&mut self) {
        self.done[3] += 1;
        let place = self.roll(self.members.len());
        let member = self.members.remove(place);
        member.client.close();
        self.owners.forget(member.name);
    }

    async fn check(&mut self) {
        assert_eq!(self.owners.doubled(), None, "{}", self.group);
        let partitions: Vec<_> = all(&self.topic);
        let Some(member) = self.members.first() else { return };
        let told = tokio::time::timeout(Duration::from_secs(2), member.consumer.committed(&partitions)).await;
        let Ok(Ok(committed)) = told else { return };
        for (partition, offset) in committed {
            let before = self.committed.insert(partition.clone(), offset.offset.0).unwrap_or(0);
            assert!(
                offset.offset.0 >= before,
                "{}: {partition} went back from {before} to {offset:?}",
                self.group
            );
        }
    }

    async fn settles(&self) {
        eventually(&format!("everybody in {} has a share", self.group), async || {
            let shares = self.members.iter().map(|member| member.consumer.assignment().len());
            let shares: Vec<usize> = shares.collect();
            let is_whole = shares.iter().sum::<usize>() == PARTITIONS as usize;
            (is_whole && shares.iter().all(|share| *share > 0)).then_some(())
        })
        .await;
    }

    /// All that was written is processed, and the group stands.
    async fn finish(&mut self, written: usize) {
        let group = self.group.clone();
        eventually(&format!("{group} has processed everything"), async || {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            (seen.len() == written && seen.iter().all(|count| *count > 0)).then_some(())
        })
        .await;
        self.settles().await;
        self.check().await;
        for member in std::mem::take(&mut self.members) {
            member.consumer.close().await.unwrap();
            member.works.await.unwrap();
        }
    }
}

fn all(topic: &str) -> Vec<TopicPartition> {
    (0..PARTITIONS.cast_signed()).map(|index| TopicPartition::new(topic, index)).collect()
}

async fn work(consumer: Arc<Consumer>, stalls: Arc<AtomicBool>, seen: Arc<Mutex<Vec<u8>>>) {
    while let Some(next) = consumer.next_batch().await {
        let batch = match next {
            Ok(batch) => batch,
            Err(error) if error.is_fatal() => return,
            // The group goes on without a member that stalls, until it asks again.
            Err(_) => continue,
        };
        {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            for record in batch.records() {
                let number: usize =
                    std::str::from_utf8(record.unwrap().value().unwrap()).unwrap().parse().unwrap();
                if seen.len() <= number {
                    seen.resize(number + 1, 0);
                }
                seen[number] = seen[number].saturating_add(1);
            }
        }
        if stalls.swap(false, Ordering::Relaxed) {
            tokio::time::sleep(MAX_POLL_INTERVAL + Duration::from_secs(2)).await;
        }
    }
}
