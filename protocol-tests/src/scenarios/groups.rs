//! What is promised to the members of groups.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use milena::{
    Assignor, Client, Code, Commit, Consumer, ConsumerBuilder, ConsumerHandle, CooperativeStickyAssignor,
    ErrorKind, GroupProtocol, NewTopic, NodeId, OffsetAndMetadata, RangeAssignor, RebalanceListener,
    RoundRobinAssignor, StickyAssignor, TopicPartition,
};

use crate::suite::{Stage, eventually, take, text};

/// The shortest session that a broker allows by default.
const SESSION: Duration = Duration::from_secs(6);

/// 36, eager: members join, leave and die while records flow. Every record is processed, no partition ever has two
/// owners, and what is committed only grows.
pub(crate) async fn s36_members_come_and_go_and_every_record_is_processed(stage: Stage) {
    let eager: Arc<dyn Assignor> = Arc::new(RangeAssignor);
    let member = move |builder: ConsumerBuilder| {
        builder.protocol(GroupProtocol::Classic).assignors([Arc::clone(&eager)])
    };
    come_and_go(stage, member).await;
}

/// 36, cooperative (KIP-429).
pub(crate) async fn s36_members_of_a_cooperative_group_come_and_go(stage: Stage) {
    come_and_go(stage, |builder| builder.protocol(GroupProtocol::Classic)).await;
}

/// 36 under the consumer protocol (KIP-848).
pub(crate) async fn s36_members_of_the_consumer_protocol_come_and_go(stage: Stage) {
    come_and_go(stage, |builder| builder.protocol(GroupProtocol::Consumer)).await;
}

async fn come_and_go(stage: Stage, as_member: impl Fn(ConsumerBuilder) -> ConsumerBuilder) {
    const PARTITIONS: u32 = 6;
    const ROUNDS: usize = 8;
    const PER_ROUND: usize = 60;
    let client = stage.client().await;
    let topic = stage.topic(&client, PARTITIONS).await;
    let group = stage.name("group");
    let owners = Owners::default();
    let mut crew = Crew { processed: BTreeSet::new(), members: Vec::new() };
    let mut committed = BTreeMap::new();
    for round in 0..ROUNDS {
        let numbers: Vec<String> =
            (round * PER_ROUND..(round + 1) * PER_ROUND).map(|number| number.to_string()).collect();
        for (index, values) in (0..).zip(numbers.chunks(PER_ROUND / 6)) {
            stage.write(&client, &TopicPartition::new(topic.as_str(), index), values).await;
        }
        match round {
            // One leaves, one dies without a word, and in every other round one joins.
            3 => crew.members.remove(0).consumer.close().await.unwrap(),
            5 => crew.members.remove(0).die(&owners),
            _ => {
                // A client of its own, so that it can die alone.
                let client = stage.client().await;
                let name = crew.members.len() + 10 * round;
                let builder = client.consumer(&group).topics([topic.as_str()]).session_timeout(SESSION);
                let builder = builder.heartbeat_interval(Duration::from_millis(500)).commit(Commit::Manual);
                let consumer = as_member(builder).on_rebalance(owners.listener(name)).build().unwrap();
                crew.members.push(Member { name, client, consumer });
            }
        }
        crew.work(&numbers, &owners).await;
        let now = all_committed(&crew.members[0].consumer, &topic, PARTITIONS).await;
        for (partition, offset) in &now {
            let before = committed.insert(partition.clone(), *offset).unwrap_or(0);
            assert!(*offset >= before, "{partition} went back from {before} to {offset}");
        }
    }
    assert_eq!(crew.processed.len(), ROUNDS * PER_ROUND);
    for member in &crew.members {
        member.consumer.close().await.unwrap();
    }
}

/// Who owns what, as the members' listeners say.
#[derive(Clone, Default)]
pub(super) struct Owners(Arc<Mutex<BTreeMap<TopicPartition, usize>>>);

impl Owners {
    pub(super) fn listener(&self, member: usize) -> Owner {
        Owner { owners: self.clone(), member }
    }

    /// A member is there no more.
    pub(super) fn forget(&self, member: usize) {
        self.with(|owners| owners.retain(|_, owner| *owner != member));
    }

    /// Who two owned the same partition at once.
    pub(super) fn doubled(&self) -> Option<TopicPartition> {
        self.with(|owners| owners.keys().find(|partition| partition.topic.contains(' ')).cloned())
    }

    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<TopicPartition, usize>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) struct Owner {
    owners: Owners,
    member: usize,
}

impl Owner {
    fn give_up(&self, partitions: &[TopicPartition]) {
        self.owners.with(|owners| {
            for partition in partitions {
                if owners.get(partition) == Some(&self.member) {
                    owners.remove(partition);
                }
            }
        });
    }
}

impl RebalanceListener for Owner {
    fn assigned<'a>(
        &'a self,
        _: &'a ConsumerHandle,
        partitions: &'a [TopicPartition],
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.owners.with(|owners| {
            for partition in partitions {
                if let Some(other) = owners.insert(partition.clone(), self.member) {
                    // Checked by whoever works: a panic here would only end the listener's task.
                    owners.insert(TopicPartition::new(format!("two owners: {other} and"), 0), self.member);
                }
            }
        });
        Box::pin(std::future::ready(()))
    }

    fn revoking<'a>(
        &'a self,
        _: &'a ConsumerHandle,
        partitions: &'a [TopicPartition],
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.give_up(partitions);
        Box::pin(std::future::ready(()))
    }

    fn lost(&self, partitions: &[TopicPartition]) {
        self.give_up(partitions);
    }
}

struct Member {
    name: usize,
    client: Client,
    consumer: Consumer,
}

impl Member {
    /// Its connections end and its group learns of it by the end of its session.
    fn die(self, owners: &Owners) {
        self.client.close();
        owners.forget(self.name);
    }
}

struct Crew {
    processed: BTreeSet<String>,
    members: Vec<Member>,
}

impl Crew {
    /// Processes and commits until all these were processed.
    async fn work(&mut self, wanted: &[String], owners: &Owners) {
        let work = async {
            while !wanted.iter().all(|value| self.processed.contains(value)) {
                for member in &self.members {
                    let next = tokio::time::timeout(Duration::from_millis(10), member.consumer.next()).await;
                    let Ok(Some(next)) = next else { continue };
                    let message = next.unwrap_or_else(|error| panic!("member {}: {error}", member.name));
                    self.processed.insert(text(&message));
                    let next = OffsetAndMetadata::new(message.offset().0 + 1);
                    let commit = [(message.topic_partition().clone(), next)].into();
                    // The group may have moved on: then the record comes again, to whoever has the partition now.
                    let _ = member.consumer.commit_offsets(commit).await;
                }
                assert_eq!(owners.doubled(), None);
            }
        };
        tokio::time::timeout(Duration::from_secs(60), work).await.expect("not every record was processed");
    }
}

async fn all_committed(consumer: &Consumer, topic: &str, partitions: u32) -> BTreeMap<TopicPartition, i64> {
    let partitions: Vec<_> =
        (0..partitions.cast_signed()).map(|index| TopicPartition::new(topic, index)).collect();
    let committed =
        eventually("the commits are told", async || consumer.committed(&partitions).await.ok()).await;
    committed.into_iter().map(|(partition, committed)| (partition, committed.offset.0)).collect()
}

/// 37: a static member that comes back within its session has its partitions, and nobody rebalances; one with the same
/// name fences the first.
pub(crate) async fn s37_a_static_member_comes_back_unnoticed_and_a_double_fences(stage: Stage) {
    let client = stage.client().await;
    let topic = stage.topic(&client, 4).await;
    let group = stage.name("group");
    let member = |name: &str| {
        let builder = client.consumer(&group).topics([topic.as_str()]).group_instance_id(name);
        builder.protocol(GroupProtocol::Classic)
    };
    let (_first, second) = come_back(&member).await;

    let double = member("b").build().unwrap();
    settle(&[(&double, 2)]).await;
    let fenced = eventually("the first is fenced", async || {
        let next = tokio::time::timeout(Duration::from_millis(50), second.next()).await;
        next.ok()??.err().filter(milena::Error::is_fatal)
    })
    .await;
    assert!(matches!(fenced.kind(), ErrorKind::Fenced { .. }), "{fenced}");
}

/// 37 under the consumer protocol: there it is the second of two with one name that is refused, for as long as the first
/// lives.
pub(crate) async fn s37_a_static_double_is_refused_by_the_consumer_protocol(stage: Stage) {
    let client = stage.client().await;
    let topic = stage.topic(&client, 4).await;
    let group = stage.name("group");
    let member = |name: &str| {
        let builder = client.consumer(&group).topics([topic.as_str()]).group_instance_id(name);
        builder.protocol(GroupProtocol::Consumer)
    };
    let (first, second) = come_back(&member).await;
    let double = member("b").build().unwrap();
    let refused = tokio::time::timeout(Duration::from_secs(30), double.next()).await.expect("it is told");
    assert_eq!(refused.unwrap().unwrap_err().code(), Some(Code::UNRELEASED_INSTANCE_ID));
    settle(&[(&first, 2), (&second, 2), (&double, 0)]).await;
    // It goes on trying, and succeeds when the first has left.
    second.close().await.unwrap();
    settle(&[(&first, 2), (&double, 2)]).await;
}

/// Two static members, of which the second goes and comes back, in the same generation.
async fn come_back(member: &impl Fn(&str) -> ConsumerBuilder) -> (Consumer, Consumer) {
    let first = member("a").build().unwrap();
    let second = member("b").build().unwrap();
    settle(&[(&first, 2), (&second, 2)]).await;
    let agreed = async || generation(&first).filter(|_| generation(&first) == generation(&second));
    let before = eventually("both are in one generation", agreed).await;
    let share = second.assignment();
    second.close().await.unwrap();
    let second = member("b").build().unwrap();
    settle(&[(&first, 2), (&second, 2)]).await;
    assert_eq!(second.assignment(), share);
    assert_eq!([generation(&first), generation(&second)], [Some(before); 2], "nobody has rebalanced");
    (first, second)
}

/// In which generation a member is that has not read anything.
fn generation(member: &Consumer) -> Option<i32> {
    let metadata = member.group_metadata().ok()?;
    metadata.member().map(|(_, generation)| generation)
}

/// 38: a member that works on one record for longer than it may leaves its group, commits nothing of what it has lost,
/// and joins again.
pub(crate) async fn s38_a_member_that_works_too_long_loses_its_share_and_comes_back(stage: Stage) {
    work_too_long(stage, GroupProtocol::Classic).await;
}

/// 38 under the consumer protocol.
pub(crate) async fn s38_a_member_of_the_consumer_protocol_that_works_too_long_comes_back(stage: Stage) {
    work_too_long(stage, GroupProtocol::Consumer).await;
}

async fn work_too_long(stage: Stage, protocol: GroupProtocol) {
    let client = stage.client().await;
    let partition = TopicPartition::new(stage.topic(&client, 1).await, 0);
    stage.write(&client, &partition, &["0", "1", "2"].map(str::to_owned)).await;
    let group = stage.name("group");
    let member = || -> ConsumerBuilder {
        let builder = client.consumer(&group).topics([partition.topic.as_str()]).session_timeout(SESSION);
        builder.commit(Commit::Manual).max_poll_interval(SESSION).protocol(protocol)
    };
    let diary = Diary::default();
    let slow = member().on_rebalance(diary.clone()).build().unwrap();
    let in_hand = take(&slow, 2).await.remove(1);
    // It asks for nothing now, until it is out.
    eventually("its share is lost", async || diary.entries().contains(&"lost 1".to_owned()).then_some(()))
        .await;
    let other = member().build().unwrap();
    settle(&[(&other, 1)]).await;
    assert_eq!(diary.entries(), ["assigned 1", "lost 1"]);
    let done = [(partition.clone(), OffsetAndMetadata::new(in_hand.offset().0 + 1))].into();
    let refused = slow.commit_offsets(done).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::NotAssigned { .. }), "{refused}");
    assert_eq!(text(&take(&other, 1).await[0]), "0", "nothing was committed");
    let error = slow.next().await.unwrap().unwrap_err();
    let ErrorKind::Timeout { setting: "max_poll_interval", .. } = error.kind() else { panic!("{error}") };
    other.close().await.unwrap();
    settle(&[(&slow, 1)]).await;
    assert_eq!(text(&take(&slow, 1).await[0]), "0");
}

/// 39: the coordinator dies, and moves; commits and heartbeats find the new one, and nobody loses anything.
pub(crate) async fn s39_the_coordinator_moves_and_commits_follow(stage: Stage) {
    follow_the_coordinator(stage, GroupProtocol::Classic).await;
}

/// 39 under the consumer protocol.
pub(crate) async fn s39_the_coordinator_moves_and_members_of_the_consumer_protocol_follow(stage: Stage) {
    follow_the_coordinator(stage, GroupProtocol::Consumer).await;
}

async fn follow_the_coordinator(stage: Stage, protocol: GroupProtocol) {
    let client = stage.client().await;
    let partition = TopicPartition::new(stage.topic(&client, 1).await, 0);
    let group = stage.name("group");
    let diary = Diary::default();
    let builder = client.consumer(&group).topics([partition.topic.as_str()]).commit(Commit::Manual);
    let member = builder.protocol(protocol).on_rebalance(diary.clone()).build().unwrap();
    for round in 0..2 {
        let numbers: Vec<String> =
            (round * 10..round * 10 + 10).map(|number: i32| number.to_string()).collect();
        stage.write(&client, &partition, &numbers).await;
        // After a crash a record may come again, if its commit was not answered; here each commit is awaited.
        assert_eq!(take(&member, 10).await.iter().map(text).collect::<Vec<_>>(), numbers);
        let coordinator = stage.cluster().coordinator(&group).await.unwrap().expect("the group has one");
        stage.cluster().kill(coordinator).await.unwrap();
        eventually("the commit succeeds", async || member.commit().await.ok()).await;
        let committed = member.committed(std::slice::from_ref(&partition)).await.unwrap();
        assert_eq!(committed[&partition].offset.0, i64::from(round + 1) * 10);
        stage.cluster().start_again(coordinator).await.unwrap();
    }
    assert!(!diary.entries().iter().any(|entry| entry.starts_with("lost")), "{:?}", diary.entries());
}

/// 40, the part with the same addresses: every node is stopped and started in turn, while records flow. Nobody is told
/// an error, nothing is lost and nothing is written twice.
pub(crate) async fn s40_nodes_restart_one_by_one_and_nobody_notices(stage: Stage) {
    let client = stage.client().await;
    let topic = stage.topic(&client, 3).await;
    let member = client.consumer(stage.name("group")).topics([topic.as_str()]).build().unwrap();
    let producer = client.producer().build().unwrap();
    let mut read = BTreeMap::new();
    let mut written = 0..;
    for node in 1..=3 {
        stage.cluster().stop(node).await.unwrap();
        write_and_read(&producer, &topic, &member, &mut written, &mut read).await;
        stage.cluster().start_again(node).await.unwrap();
        write_and_read(&producer, &topic, &member, &mut written, &mut read).await;
    }
    assert_eq!(read.len(), 600);
    assert!(read.values().all(|times| *times == 1), "none came twice: {read:?}");
}

pub(super) async fn write_and_read(
    producer: &milena::Producer,
    topic: &str,
    member: &Consumer,
    numbers: &mut std::ops::RangeFrom<i32>,
    read: &mut BTreeMap<String, usize>,
) {
    let mut deliveries = Vec::new();
    for number in numbers.take(100) {
        let value = number.to_string();
        let record = milena::Record::new(topic, &value).partition(number % 3);
        deliveries.push(producer.enqueue(record).await.unwrap());
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    for message in take(member, 100).await {
        *read.entry(text(&message)).or_insert(0) += 1;
    }
}

/// Writes down what a listener is told.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, what: &str, partitions: &[TopicPartition]) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push(format!("{what} {}", partitions.len()));
    }

    fn entries(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl RebalanceListener for Diary {
    fn assigned<'a>(
        &'a self,
        _: &'a ConsumerHandle,
        partitions: &'a [TopicPartition],
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.note("assigned", partitions);
        Box::pin(std::future::ready(()))
    }

    fn revoking<'a>(
        &'a self,
        _: &'a ConsumerHandle,
        partitions: &'a [TopicPartition],
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.note("revoking", partitions);
        Box::pin(std::future::ready(()))
    }

    fn lost(&self, partitions: &[TopicPartition]) {
        self.note("lost", partitions);
    }
}

/// Members by the classic protocol use an assignor that all of them have, and whoever has none in common is refused.
pub(crate) async fn members_agree_on_an_assignor(stage: Stage) {
    let client = stage.client().await;
    let topic = stage.topic(&client, 5).await;
    let group = stage.name("group");
    let member = |assignors: Vec<Arc<dyn Assignor>>| {
        let builder = client.consumer(&group).topics([topic.as_str()]).protocol(GroupProtocol::Classic);
        let builder = builder.heartbeat_interval(Duration::from_millis(500)).assignors(assignors);
        builder.build().unwrap()
    };
    let numbers = |member: &Consumer| member.assignment().iter().map(|p| p.partition.0).collect::<Vec<_>>();
    let first = member(vec![Arc::new(RoundRobinAssignor), Arc::new(StickyAssignor), Arc::new(RangeAssignor)]);
    settle(&[(&first, 5)]).await;
    let second = member(vec![Arc::new(RoundRobinAssignor), Arc::new(StickyAssignor)]);
    let shares = async || {
        let mut shares = [numbers(&first), numbers(&second)];
        shares.sort();
        (shares == [vec![0, 2, 4], vec![1, 3]]).then_some(())
    };
    eventually("turn by turn", shares).await;
    let before = [numbers(&first), numbers(&second)];
    let third = member(vec![Arc::new(StickyAssignor), Arc::new(CooperativeStickyAssignor)]);
    settle(&[(&third, 1), (&first, 2), (&second, 2)]).await;
    for (member, before) in [&first, &second].into_iter().zip(before) {
        assert!(numbers(member).iter().all(|number| before.contains(number)), "who stays keeps what it can");
    }

    let stranger = member(vec![Arc::new(RangeAssignor)]);
    let refused = stranger.next().await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Some(Code::INCONSISTENT_GROUP_PROTOCOL), "{refused}");
}

/// Waits until each member has as many partitions; the members are not asked for records, so that none is lost here.
pub(super) async fn settle(members: &[(&Consumer, usize)]) {
    let has_settled =
        async || members.iter().all(|(member, count)| member.assignment().len() == *count).then_some(());
    eventually(&format!("the group settles: {members:?}"), has_settled).await;
}

/// What tasks side by side have acknowledged, in no order, is committed as far as it is contiguous. A partition goes to
/// another member once the work on it is acknowledged: nothing is read twice, and what never was is read again.
pub(crate) async fn acknowledged_work_goes_over_to_others_once(stage: Stage) {
    const EACH: usize = 30;
    let client = stage.client().await;
    for protocol in [GroupProtocol::Classic, GroupProtocol::Auto] {
        let topic = stage.topic(&client, 2).await;
        for index in 0..2 {
            let values: Vec<String> = (0..EACH).map(|number| format!("{index} {number}")).collect();
            stage.write(&client, &TopicPartition::new(topic.as_str(), index), &values).await;
        }
        let group = stage.name(&format!("group-{protocol:?}"));
        let member = || {
            let member = client.consumer(&group).topics([topic.as_str()]).protocol(protocol);
            let member = member.commit(Commit::Acknowledged(Duration::from_millis(200)));
            member.heartbeat_interval(Duration::from_millis(500)).build().unwrap()
        };
        let first = member();
        let mut read = take(&first, 2 * EACH).await;
        // It is dropped, so that nobody waits for it.
        let place = |message: milena::Message| (message.topic_partition().clone(), message.offset());
        let dropped = place(read.remove(EACH / 2));
        let second = member();
        let works = tokio::spawn(async move {
            for message in read.iter().rev() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                message.ack();
            }
        });
        settle(&[(&first, 1), (&second, 1)]).await;
        works.await.unwrap();
        // Nothing was handed out meanwhile: `settle` would have lost it.
        first.close().await.unwrap();
        second.close().await.unwrap();

        let third = member();
        let again = take(&third, 1).await.remove(0);
        assert_eq!(place(again), dropped);
        third.close().await.unwrap();
    }
}

/// Members by the classic protocol that say where they stand get the partitions that have a replica there (KIP-881).
pub(crate) async fn members_get_what_is_near_them(stage: Stage) {
    let client = stage.client().await;
    let assignors: [Arc<dyn Assignor>; 3] =
        [Arc::new(RangeAssignor), Arc::new(StickyAssignor), Arc::new(CooperativeStickyAssignor)];
    for assignor in assignors {
        // Each on one node; brokers do not spread them quite evenly.
        let topic = NewTopic::new(stage.name(assignor.name())).partitions(6).replication(1);
        stage.create(&client, topic).await;
        let topic = stage.name(assignor.name());
        let description = stage.described(&client, &topic).await;
        let mut members = Vec::new();
        for node in 1..=3 {
            let near = Client::connect(stage.config().client_rack(format!("rack-{node}"))).await.unwrap();
            let member = near.consumer(&topic).topics([topic.as_str()]).protocol(GroupProtocol::Classic);
            let member =
                member.heartbeat_interval(Duration::from_millis(500)).assignors([Arc::clone(&assignor)]);
            members.push((NodeId(node), member.build().unwrap()));
        }
        eventually("each has what is near", async || {
            for (_, member) in &members {
                let _ = tokio::time::timeout(Duration::from_millis(20), member.next()).await;
            }
            let is_right = |(node, member): &(NodeId, Consumer)| {
                let near = description.partitions.iter().filter(|p| p.replicas.contains(node));
                let near: Vec<_> = near.map(|p| TopicPartition::new(topic.as_str(), p.partition)).collect();
                let share = member.assignment();
                let count = near.iter().filter(|partition| share.contains(partition)).count();
                share.len() == 2 && count == near.len().min(2)
            };
            members.iter().all(is_right).then_some(())
        })
        .await;
    }
}
