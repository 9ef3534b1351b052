//! Members of groups under the consumer protocol (KIP-848).

use std::time::Duration;

use milena::{
    Client, Code, Commit, Consumer, ConsumerBuilder, ErrorKind, GroupProtocol, Offset,
    testing::{Api, Cluster, Fault, Rule},
};

use crate::{
    groups::{Diary, settle},
    support::{LONG, cluster, error, produce, take, take_different, take_sorted, tp},
};

fn member(client: &Client, protocol: GroupProtocol) -> ConsumerBuilder {
    client.consumer("g").topics(["t"]).protocol(protocol)
}

async fn asked(cluster: &Cluster, api: Api) -> usize {
    cluster.journal().await.unwrap().iter().filter(|entry| entry.api == api).count()
}

#[tokio::test(start_paused = true)]
async fn only_what_changes_is_given_up_and_taken_on() {
    let (_cluster, client) = cluster(1, 4).await;
    produce(&client, 0..40, 4).await;
    let diary = Diary::default();
    let builder = member(&client, GroupProtocol::Consumer);
    let first = builder.clone().on_rebalance(diary.clone()).build().unwrap();
    assert_eq!(take_sorted(&first, 40).await, (0..40).collect::<Vec<_>>());
    let second = builder.build().unwrap();
    settle(&[(&first, 2), (&second, 2)]).await;
    assert_eq!(diary.entries(), ["assigned 4", "revoking 2"], "two were read on all the while");
    produce(&client, 40..80, 4).await;
    let both: &[&Consumer] = &[&first, &second];
    let mut read = Vec::new();
    for consumer in both {
        read.extend(take(consumer, 20).await);
    }
    read.sort_unstable();
    assert_eq!(read, (40..80).collect::<Vec<_>>(), "each from where the group has committed, and once");
    second.close().await.unwrap();
    settle(&[(&first, 4)]).await;
    assert_eq!(diary.entries()[2..], ["assigned 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_listener_takes_its_time_and_its_commit_counts() {
    let (_cluster, client) = cluster(1, 4).await;
    produce(&client, 0..40, 4).await;
    let diary = Diary { pace: Duration::from_secs(100), commit: true, ..Diary::default() };
    let builder = member(&client, GroupProtocol::Consumer).commit(Commit::Manual);
    let first = builder.clone().on_rebalance(diary.clone()).build().unwrap();
    take(&first, 40).await;
    let second = builder.build().unwrap();
    settle(&[(&first, 2), (&second, 2)]).await;
    assert_eq!(diary.entries(), ["assigned 4", "revoking 2"], "nothing was lost");
    let all: Vec<_> = (0..4).map(tp).collect();
    let committed = second.committed(&all).await.unwrap();
    assert!(committed.values().all(|committed| committed.offset == Offset(10)), "{committed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_the_group_has_forgotten_loses_its_partitions_and_joins_again() {
    for code in [Code::UNKNOWN_MEMBER_ID, Code::FENCED_MEMBER_EPOCH] {
        let (cluster, client) = cluster(1, 2).await;
        produce(&client, 0..20, 2).await;
        let diary = Diary::default();
        let builder = member(&client, GroupProtocol::Consumer).on_rebalance(diary.clone());
        let member = builder.build().unwrap();
        take(&member, 20).await;
        member.commit().await.unwrap();
        let refused = Rule::new(Fault::Refuse(code)).on(Api::ConsumerGroupHeartbeat).times(1);
        let refused = cluster.fault(refused).await.unwrap();
        let lost = async {
            while diary.entries().len() < 3 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(LONG, lost).await.expect("it is back");
        assert_eq!(
            (diary.entries(), refused.hits()),
            (["assigned 2", "lost 2", "assigned 2"].map(String::from).to_vec(), 1)
        );
        produce(&client, 20..40, 2).await;
        assert_eq!(take_sorted(&member, 20).await, (20..40).collect::<Vec<_>>(), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_moved_coordinators_cost_nothing() {
    let (cluster, client) = cluster(3, 4).await;
    let rule = |fault| Rule::new(fault).on(Api::ConsumerGroupHeartbeat).chance(0.3);
    for fault in [Fault::CloseAfter, Fault::CloseBefore, Fault::Refuse(Code::COORDINATOR_LOAD_IN_PROGRESS)] {
        cluster.fault(rule(fault)).await.unwrap();
    }
    let builder = member(&client, GroupProtocol::Consumer);
    let members = [builder.clone().build().unwrap(), builder.build().unwrap()];
    settle(&[(&members[0], 2), (&members[1], 2)]).await;
    for round in 0..3 {
        let coordinator = cluster.coordinator("g").await.unwrap().unwrap();
        cluster.stop_node(coordinator).await.unwrap();
        produce(&client, round * 40..round * 40 + 40, 4).await;
        let read = (take_different(&members[0], 20).await, take_different(&members[1], 20).await);
        assert_eq!(read.0.union(&read.1).count(), 40);
        cluster.start_node(coordinator).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_protocol_is_the_newest_that_the_coordinator_speaks() {
    let (cluster, client) = cluster(1, 4).await;
    produce(&client, 0..40, 4).await;
    let consumer = member(&client, GroupProtocol::Auto).build().unwrap();
    take(&consumer, 40).await;
    assert!(asked(&cluster, Api::ConsumerGroupHeartbeat).await > 0);
    assert_eq!(asked(&cluster, Api::JoinGroup).await, 0);
}

#[tokio::test(start_paused = true)]
async fn where_the_coordinator_speaks_the_classic_protocol_alone_so_does_the_member() {
    let cluster = Cluster::builder().topic("t", 4).settings(|settings| settings.group_version = 0);
    let cluster = cluster.in_memory().start().await.unwrap();
    let client = crate::support::connect(&cluster).await;
    produce(&client, 0..40, 4).await;
    let consumer = member(&client, GroupProtocol::Auto).build().unwrap();
    assert_eq!(take_sorted(&consumer, 40).await, (0..40).collect::<Vec<_>>());
    assert_eq!(asked(&cluster, Api::ConsumerGroupHeartbeat).await, 1, "it is decided once");
    let refused = error(&member(&client, GroupProtocol::Consumer).build().unwrap()).await;
    assert_eq!(refused.code(), Some(Code::UNSUPPORTED_VERSION), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn an_assignor_that_the_coordinator_does_not_have_is_refused_with_those_that_it_has() {
    let (_cluster, client) = cluster(1, 4).await;
    let builder = member(&client, GroupProtocol::Consumer).server_assignor("nearest");
    let refused = error(&builder.build().unwrap()).await;
    assert_eq!(refused.code(), Some(Code::UNSUPPORTED_ASSIGNOR));
    assert!(refused.to_string().contains("uniform, range"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn who_may_not_join_is_told_of_the_group() {
    let (cluster, client) = cluster(1, 1).await;
    let denied = Rule::new(Fault::Refuse(Code::GROUP_AUTHORIZATION_FAILED)).on(Api::ConsumerGroupHeartbeat);
    cluster.fault(denied.times(1)).await.unwrap();
    let member = member(&client, GroupProtocol::Consumer).build().unwrap();
    let told = error(&member).await;
    assert!(matches!(told.kind(), ErrorKind::NotAuthorized { name, .. } if name == "g"), "{told}");
}
