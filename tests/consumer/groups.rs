//! Members of groups.

use std::{
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use milena::{
    Assignor, Client, Code, Commit, Consumer, ConsumerBuilder, ConsumerHandle, ErrorKind, GroupMember,
    GroupProtocol, Offset, OffsetAndMetadata, Position, RangeAssignor, RebalanceListener, RoundRobinAssignor,
    StickyAssignor, SubscribedTopics, TopicPartition,
    testing::{Api, Fault, Rule},
};
use tokio::task::JoinSet;

use crate::support::{cluster, connect, error, number, produce, take, take_different, take_sorted, tp};

/// An eager member by the classic protocol, for what is done differently there.
fn classic(client: &Client) -> ConsumerBuilder {
    let member = client.consumer("g").topics(["t"]).protocol(GroupProtocol::Classic);
    member.assignors([Arc::new(RangeAssignor) as Arc<dyn Assignor>])
}

#[tokio::test(start_paused = true)]
async fn a_group_goes_on_where_it_has_committed() {
    let (_cluster, client) = cluster(3, 4).await;
    produce(&client, 0..100, 4).await;
    let first = client.consumer("g").topics(["t"]).build().unwrap();
    let read = take_sorted(&first, 60).await;
    first.commit().await.unwrap();
    first.close().await.unwrap();
    assert!(first.next().await.is_none(), "after close");
    assert!(matches!(first.close().await.unwrap_err().kind(), ErrorKind::Closed { .. }), "a second close");

    let second = client.consumer("g").topics(["t"]).build().unwrap();
    let mut all = [read, take(&second, 40).await].concat();
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
    let committed = second.committed(&[tp(0), tp(1), tp(2), tp(3)]).await.unwrap();
    assert_eq!(committed.values().map(|committed| committed.offset.0).sum::<i64>(), 60);
    let partition = second.assignment()[0].clone();
    let offsets = [(partition.clone(), OffsetAndMetadata::new(5))].into();
    second.commit_offsets(offsets).await.unwrap();
    assert_eq!(
        second.committed(std::slice::from_ref(&partition)).await.unwrap()[&partition].offset,
        Offset(5)
    );
    let foreign = second.commit_offsets([(tp(77), OffsetAndMetadata::new(5))].into()).await.unwrap_err();
    assert!(matches!(foreign.kind(), ErrorKind::NotAssigned { .. }));
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_nothing_where_nothing_is_to_be_said() {
    let (_cluster, client) = cluster(1, 1).await;
    // A static member does not leave its group, and a reader is in none.
    let member = client.consumer("g").topics(["t"]).group_instance_id("a").build().unwrap();
    let reader = client.reader().topics(["t"]).build().unwrap();
    settle(&[(&member, 1), (&reader, 1)]).await;
    for consumer in [member, reader] {
        let start = tokio::time::Instant::now();
        consumer.close().await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO, "{consumer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_later_call_has_superseded_is_committed_on_close_and_by_the_clock() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..10, 1).await;
    let consumer = client.consumer("g").topics(["t"]).build().unwrap();
    take(&consumer, 5).await;
    consumer.close().await.unwrap();
    let consumer = client.consumer("g").topics(["t"]).build().unwrap();
    assert_eq!(take(&consumer, 3).await, [4, 5, 6], "the last one was not done with");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(consumer.committed(&[tp(0)]).await.unwrap()[&tp(0)].offset, Offset(6));
    drop(consumer);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let consumer = client.consumer("g").topics(["t"]).build().unwrap();
    assert_eq!(take(&consumer, 1).await, [6]);
}

#[tokio::test(start_paused = true)]
async fn two_members_share_the_partitions_and_take_over_from_each_other() {
    let (_cluster, client) = cluster(3, 6).await;
    let first = client.consumer("g").topics(["t"]).build().unwrap();
    produce(&client, 0..60, 6).await;
    assert_eq!(take_sorted(&first, 60).await, (0..60).collect::<Vec<_>>());
    first.commit().await.unwrap();

    let second = client.consumer("g").topics(["t"]).build().unwrap();
    let share = |consumer: &Consumer| consumer.assignment().len();
    while (share(&first), share(&second)) != (3, 3) {
        let _ = tokio::time::timeout(Duration::from_secs(1), first.next()).await;
        let _ = tokio::time::timeout(Duration::from_secs(1), second.next()).await;
    }
    produce(&client, 60..120, 6).await;
    let mut all = [take(&first, 30).await, take(&second, 30).await].concat();
    all.sort_unstable();
    assert_eq!(all, (60..120).collect::<Vec<_>>());

    second.commit().await.unwrap();
    second.close().await.unwrap();
    produce(&client, 120..180, 6).await;
    assert_eq!(take_sorted(&first, 60).await, (120..180).collect::<Vec<_>>());
}

/// Writes down what it is told.
#[derive(Clone, Default)]
pub(crate) struct Diary {
    pub(crate) entries: Arc<Mutex<Vec<String>>>,
    /// How long each entry takes.
    pub(crate) pace: Duration,
    /// Where to seek to when partitions are assigned.
    pub(crate) seek: Option<i64>,
    pub(crate) commit: bool,
}

impl Diary {
    fn note(&self, what: &str, partitions: &[TopicPartition]) {
        self.entries.lock().unwrap().push(format!("{what} {}", partitions.len()));
    }

    pub(crate) fn entries(&self) -> Vec<String> {
        self.entries.lock().unwrap().clone()
    }
}

impl RebalanceListener for Diary {
    fn assigned<'a>(
        &'a self,
        consumer: &'a ConsumerHandle,
        partitions: &'a [TopicPartition],
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            self.note("assigned", partitions);
            tokio::time::sleep(self.pace).await;
            if let Some(offset) = self.seek {
                let to = partitions.iter().map(|partition| (partition.clone(), Position::At(Offset(offset))));
                consumer.seek(&to.collect::<Vec<_>>()).await.unwrap();
            }
        })
    }

    fn revoking<'a>(
        &'a self,
        consumer: &'a ConsumerHandle,
        partitions: &'a [TopicPartition],
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            self.note("revoking", partitions);
            tokio::time::sleep(self.pace).await;
            if self.commit {
                consumer.commit().await.unwrap();
            }
        })
    }

    fn lost(&self, partitions: &[TopicPartition]) {
        self.note("lost", partitions);
    }
}

/// Reads until the member has as many partitions, and returns what it read.
pub(crate) async fn settle(members: &[(&Consumer, usize)]) -> Vec<i32> {
    let mut numbers = Vec::new();
    for _ in 0..10_000 {
        if members.iter().all(|(member, count)| member.assignment().len() == *count) {
            return numbers;
        }
        for (member, _) in members {
            if let Ok(Some(Ok(message))) =
                tokio::time::timeout(Duration::from_millis(100), member.next()).await
            {
                numbers.push(number(&message));
            }
        }
    }
    panic!("the group does not settle: {members:?}");
}

#[tokio::test(start_paused = true)]
async fn a_listener_is_told_in_order_and_may_seek_and_commit() {
    let (_cluster, client) = cluster(1, 4).await;
    produce(&client, 0..40, 4).await;
    let diary = Diary { seek: Some(5), commit: true, ..Diary::default() };
    let builder = classic(&client).commit(Commit::Manual);
    let first = builder.clone().on_rebalance(diary.clone()).build().unwrap();
    assert_eq!(
        take_sorted(&first, 20).await,
        (20..40).collect::<Vec<_>>(),
        "from where the listener sought to"
    );
    let second = builder.build().unwrap();
    settle(&[(&first, 2), (&second, 2)]).await;
    assert_eq!(diary.entries(), ["assigned 4", "revoking 4", "assigned 2"]);
    let all: Vec<_> = (0..4).map(tp).collect();
    let committed = second.committed(&all).await.unwrap();
    assert!(committed.values().all(|committed| committed.offset == Offset(10)), "{committed:?}");
    first.close().await.unwrap();
    assert_eq!(diary.entries()[3..], ["revoking 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_listener_may_commit_while_the_consumer_closes() {
    let (_cluster, client) = cluster(1, 1).await;
    produce(&client, 0..10, 1).await;
    let builder = client.consumer("g").topics(["t"]).commit(Commit::Manual);
    let member = builder.clone().on_rebalance(Diary { commit: true, ..Diary::default() }).build().unwrap();
    take(&member, 5).await;
    let start = tokio::time::Instant::now();
    member.close().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(take(&builder.build().unwrap(), 1).await, [5]);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_thrown_out_while_it_closes_is_closed() {
    let (cluster, client) = cluster(1, 1).await;
    produce(&client, 0..10, 1).await;
    let diary = Diary { pace: Duration::from_secs(25), ..Diary::default() };
    let member = classic(&client).on_rebalance(diary).build().unwrap();
    take(&member, 5).await;
    let refused = Rule::new(Fault::Refuse(Code::UNKNOWN_MEMBER_ID)).on(Api::Heartbeat).times(1);
    let refused = cluster.fault(refused).await.unwrap();
    let start = tokio::time::Instant::now();
    member.close().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(refused.hits(), 1);
}

#[tokio::test(start_paused = true)]
async fn offsets_of_a_topic_that_is_gone_are_not_committed_to_its_successor() {
    let (cluster, client) = cluster(1, 1).await;
    produce(&client, 0..10, 1).await;
    let builder = client.consumer("g").topics(["t"]);
    let member = builder.commit(Commit::Every(Duration::from_secs(3600))).build().unwrap();
    take(&member, 10).await;
    cluster.delete_topic("t").await.unwrap();
    cluster.create_topic("t", 1).await.unwrap();
    produce(&connect(&cluster).await, 50..70, 1).await;
    let gone = error(&member).await;
    assert!(matches!(gone.kind(), ErrorKind::TopicRecreated { setting: "on_recreated", .. }), "{gone}");
    member.commit().await.unwrap();
    let refused = member.commit_offsets([(tp(0), OffsetAndMetadata::new(10))].into()).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::TopicRecreated { .. }), "{refused}");
    assert!(member.committed(&[tp(0)]).await.unwrap().is_empty());
    member.seek(&[(tp(0), Position::Earliest)]).await.unwrap();
    assert_eq!(take(&member, 2).await, [50, 51]);
    member.commit().await.unwrap();
    assert_eq!(member.committed(&[tp(0)]).await.unwrap()[&tp(0)].offset, Offset(2));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_go_on_while_a_listener_takes_longer_than_a_session() {
    let (_cluster, client) = cluster(1, 4).await;
    produce(&client, 0..40, 4).await;
    let diary = Diary { pace: Duration::from_secs(100), ..Diary::default() };
    let builder = classic(&client);
    let first = builder.clone().on_rebalance(diary.clone()).build().unwrap();
    take(&first, 40).await;
    let second = builder.build().unwrap();
    settle(&[(&first, 2), (&second, 2)]).await;
    assert_eq!(diary.entries(), ["assigned 4", "revoking 4", "assigned 2"], "nothing was lost");
}

#[tokio::test(start_paused = true)]
async fn members_that_come_and_go_lose_nothing() {
    const COUNT: i32 = 600;
    let (_cluster, client) = cluster(3, 6).await;
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let mut tasks = JoinSet::new();
    for index in 0..4_u64 {
        let (client, seen) = (client.clone(), Arc::clone(&seen));
        tasks.spawn(async move {
            for round in 0..6 {
                let member = client.consumer("g").topics(["t"]).build().unwrap();
                let stay = tokio::time::sleep(Duration::from_secs(5 + (index * 7 + round * 3) % 11));
                tokio::pin!(stay);
                loop {
                    tokio::select! {
                        () = &mut stay => break,
                        message = member.next() => {
                            let message = message.unwrap().unwrap();
                            // Worked on for a while, and noted when it is done.
                            tokio::time::sleep(Duration::from_millis(20)).await;
                            seen.lock().unwrap().insert(number(&message));
                        }
                    }
                }
                if index % 2 == 0 { member.close().await.unwrap() } else { drop(member) }
            }
        });
    }
    for start in (0..COUNT).step_by(20) {
        produce(&client, start..start + 20, 6).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    while tasks.join_next().await.transpose().unwrap().is_some() {}
    let last = client.consumer("g").topics(["t"]).build().unwrap();
    while let Ok(message) = tokio::time::timeout(Duration::from_secs(60), last.next()).await {
        seen.lock().unwrap().insert(number(&message.unwrap().unwrap()));
    }
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let missing: Vec<_> = (0..COUNT).filter(|number| !seen.contains(number)).collect();
    assert!(missing.is_empty(), "never processed: {missing:?}");
}

#[tokio::test(start_paused = true)]
async fn who_stops_asking_leaves_and_comes_back() {
    let (_cluster, client) = cluster(1, 2).await;
    produce(&client, 0..20, 2).await;
    let diary = Diary::default();
    let builder = client.consumer("g").topics(["t"]).max_poll_interval(Duration::from_secs(60));
    let slow = builder.clone().on_rebalance(diary.clone()).build().unwrap();
    take(&slow, 5).await;
    tokio::time::sleep(Duration::from_secs(70)).await;
    let other = builder.build().unwrap();
    settle(&[(&other, 2)]).await;
    assert_eq!(diary.entries(), ["assigned 2", "lost 2"]);
    let error = error(&slow).await;
    let ErrorKind::Timeout { setting: "max_poll_interval", after, .. } = error.kind() else {
        panic!("{error}")
    };
    assert!(*after > Duration::from_secs(60));
    settle(&[(&slow, 1), (&other, 1)]).await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_the_group_has_forgotten_loses_its_partitions_and_joins_again() {
    for (code, api) in [
        (Code::UNKNOWN_MEMBER_ID, Api::Heartbeat),
        (Code::ILLEGAL_GENERATION, Api::Heartbeat),
        (Code::UNKNOWN_MEMBER_ID, Api::JoinGroup),
        (Code::REBALANCE_IN_PROGRESS, Api::SyncGroup),
        (Code::NOT_COORDINATOR, Api::JoinGroup),
        (Code::COORDINATOR_LOAD_IN_PROGRESS, Api::SyncGroup),
        (Code::COORDINATOR_NOT_AVAILABLE, Api::FindCoordinator),
        (Code::UNSTABLE_OFFSET_COMMIT, Api::OffsetFetch),
        (Code::NOT_COORDINATOR, Api::OffsetCommit),
    ] {
        let (cluster, client) = cluster(1, 2).await;
        let rule = cluster.fault(Rule::new(Fault::Refuse(code)).on(api).times(2)).await.unwrap();
        let diary = Diary::default();
        let builder = classic(&client).on_rebalance(diary.clone());
        let member = builder.build().unwrap();
        for round in 0..10 {
            produce(&client, round * 10..(round + 1) * 10, 2).await;
            take_different(&member, 10).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        assert_eq!(rule.hits(), 2, "{code} to {api:?}");
        let lost = diary.entries().iter().filter(|entry| entry.starts_with("lost")).count();
        assert_eq!(
            lost,
            if api == Api::Heartbeat { 2 } else { 0 },
            "{code} to {api:?}: {:?}",
            diary.entries()
        );
        member.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_coordinator_moves_and_nobody_notices() {
    let (cluster, client) = cluster(3, 2).await;
    let diary = Diary::default();
    let member = client.consumer("g").topics(["t"]).on_rebalance(diary.clone()).build().unwrap();
    produce(&client, 0..10, 2).await;
    take(&member, 10).await;
    let coordinator = cluster.coordinator("g").await.unwrap().unwrap();
    cluster.stop_node(coordinator).await.unwrap();
    produce(&client, 10..20, 2).await;
    take_different(&member, 10).await;
    member.commit().await.unwrap();
    let committed = member.committed(&[tp(0), tp(1)]).await.unwrap();
    assert_eq!(committed.values().map(|committed| committed.offset.0).collect::<Vec<_>>(), [10, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_static_member_comes_back_unnoticed_and_a_double_fences_the_first() {
    let (_cluster, client) = cluster(1, 4).await;
    let diary = Diary::default();
    let member = |id: &str| classic(&client).group_instance_id(id);
    let first = member("a").on_rebalance(diary.clone()).build().unwrap();
    let second = member("b").build().unwrap();
    settle(&[(&first, 2), (&second, 2)]).await;
    let before = diary.entries();
    second.close().await.unwrap();
    let second = member("b").build().unwrap();
    settle(&[(&first, 2), (&second, 2)]).await;
    assert_eq!(diary.entries(), before, "no rebalance");

    let double = member("b").build().unwrap();
    settle(&[(&double, 2)]).await;
    for _ in 0..3 {
        let error = error(&second).await;
        let ErrorKind::Fenced { identity, .. } = error.kind() else { panic!("{error}") };
        assert!(identity.contains("\"b\"") && error.is_fatal(), "{identity}");
    }
}

#[tokio::test(start_paused = true)]
async fn partitions_that_are_gone_are_not_committed() {
    let (_cluster, client) = cluster(1, 4).await;
    produce(&client, 0..40, 4).await;
    let builder = client.consumer("g").topics(["t"]).commit(Commit::Manual);
    let first = builder.clone().build().unwrap();
    take(&first, 40).await;
    let second = builder.build().unwrap();
    settle(&[(&first, 2), (&second, 2)]).await;
    let gone = second.assignment()[0].clone();
    let error = first.commit_offsets([(gone.clone(), OffsetAndMetadata::new(10))].into()).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::NotAssigned { partition, .. } if *partition == gone),
        "{error}"
    );
    assert!(second.committed(&[gone]).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn committed_offsets_that_cannot_be_looked_up_are_not_guessed() {
    let (cluster, client) = cluster(1, 1).await;
    produce(&client, 0..10, 1).await;
    let member = client.consumer("g").topics(["t"]).build().unwrap();
    take(&member, 6).await;
    member.commit().await.unwrap();
    member.close().await.unwrap();
    let refused = Rule::new(Fault::Refuse(Code::UNKNOWN_SERVER_ERROR)).on(Api::OffsetFetch).times(3);
    let refused = cluster.fault(refused).await.unwrap();
    let member = client.consumer("g").topics(["t"]).build().unwrap();
    assert_eq!(take_different(&member, 1).await, [6].into());
    assert_eq!(refused.hits(), 3);
}

#[tokio::test(start_paused = true)]
async fn two_groups_of_one_client_do_not_hold_each_other_up() {
    let (_cluster, client) = cluster(1, 1).await;
    let groups = ["a", "b", "c"].map(|group| client.consumer(group).topics(["t"]).build().unwrap());
    produce(&client, 0..1, 1).await;
    for group in &groups {
        assert_eq!(take(group, 1).await, [0]);
    }
    let start = tokio::time::Instant::now();
    for _ in 0..50 {
        produce(&client, 0..1, 1).await;
        for group in &groups {
            take(group, 1).await;
        }
    }
    assert!(start.elapsed() < Duration::from_millis(600), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn members_agree_on_an_assignor() {
    /// Everything to whoever is first.
    #[derive(Debug)]
    struct OneReader;
    impl Assignor for OneReader {
        fn name(&self) -> &'static str {
            "one-reader"
        }

        fn assign(&self, members: &[GroupMember], topics: &SubscribedTopics) -> Vec<Vec<TopicPartition>> {
            let mut shares = vec![Vec::new(); members.len()];
            shares[0] = topics.partitions().collect();
            shares
        }
    }

    let (_cluster, client) = cluster(1, 5).await;
    let member = |assignors: Vec<Arc<dyn Assignor>>| classic(&client).assignors(assignors).build().unwrap();
    let first = member(vec![Arc::new(OneReader), Arc::new(StickyAssignor), Arc::new(RangeAssignor)]);
    settle(&[(&first, 5)]).await;
    let second = member(vec![Arc::new(OneReader), Arc::new(StickyAssignor)]);
    let (all, none) = loop {
        let counts = [first.assignment().len(), second.assignment().len()];
        if counts == [5, 0] || counts == [0, 5] {
            break if counts[0] == 5 { (&first, &second) } else { (&second, &first) };
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let before = [all, none].map(|member| member.assignment().into_iter().collect::<BTreeSet<_>>());
    let third = member(vec![Arc::new(StickyAssignor)]);
    settle(&[(&third, 1), (all, 2), (none, 2)]).await;
    assert!(all.assignment().iter().all(|partition| before[0].contains(partition)), "it keeps what it can");

    let refused = error(&member(vec![Arc::new(RoundRobinAssignor)])).await;
    assert_eq!(refused.code(), Some(Code::INCONSISTENT_GROUP_PROTOCOL));
    assert!(refused.to_string().contains("assignors"), "{refused}");
    let range: Arc<dyn Assignor> = Arc::new(RangeAssignor);
    for wrong in [vec![], vec![Arc::clone(&range), range]] {
        let refused = classic(&client).assignors(wrong).build().unwrap_err();
        assert!(refused.to_string().contains("assignors"), "{refused}");
    }
}
