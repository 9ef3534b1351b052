//! Where members go on: at what is committed, whatever befalls that.

use std::{sync::Arc, time::Duration};

use milena::{
    Assignor, Client, Code, Commit, ConsumerBuilder, CooperativeStickyAssignor, ErrorKind, GroupProtocol,
    Offset, OffsetAndMetadata, OnOutOfRange, Position, RangeAssignor,
    testing::{Api, Fault, Rule},
};

use crate::{
    groups::settle,
    support::{LONG, cluster, error, produce, take, take_sorted, tp},
};

const PROTOCOLS: [GroupProtocol; 2] = [GroupProtocol::Classic, GroupProtocol::Consumer];

fn member(client: &Client, protocol: GroupProtocol) -> ConsumerBuilder {
    client.consumer("g").topics(["t"]).protocol(protocol)
}

/// The group has committed this offset of partition 0, and has no members.
async fn commit(client: &Client, protocol: GroupProtocol, offset: i64) {
    let member = member(client, protocol).commit(Commit::Manual).build().unwrap();
    settle(&[(&member, 1)]).await;
    member.commit_offsets([(tp(0), OffsetAndMetadata::new(offset))].into()).await.unwrap();
    member.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_read_is_committed_before_partitions_are_given_up_also_long_before_the_clock_would() {
    let range: Arc<dyn Assignor> = Arc::new(RangeAssignor);
    let cooperative: Arc<dyn Assignor> = Arc::new(CooperativeStickyAssignor);
    let kinds = [
        (GroupProtocol::Classic, range),
        (GroupProtocol::Classic, Arc::clone(&cooperative)),
        (GroupProtocol::Consumer, cooperative),
    ];
    for (protocol, assignor) in kinds {
        let kind = format!("{protocol:?} {}", assignor.name());
        let (_cluster, client) = cluster(1, 4).await;
        produce(&client, 0..40, 4).await;
        let every = Duration::from_secs(3600);
        let begun = tokio::time::Instant::now();
        let builder = member(&client, protocol).assignors([assignor]).commit(Commit::Every(every));
        let first = builder.clone().build().unwrap();
        assert_eq!(take_sorted(&first, 40).await, (0..40).collect::<Vec<_>>(), "{kind}");
        let second = builder.build().unwrap();
        assert_eq!(settle(&[(&first, 2), (&second, 2)]).await, [], "{kind}: nothing is read again");
        let committed = second.committed(&second.assignment()).await.unwrap();
        let offsets: Vec<_> = committed.values().map(|committed| committed.offset).collect();
        assert_eq!(offsets, [Offset(10); 2], "{kind}");
        assert!(begun.elapsed() < every, "{kind}: {:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_whose_epoch_is_stale_when_it_looks_up_offsets_goes_on_where_the_group_has_committed() {
    for protocol in PROTOCOLS {
        let (cluster, client) = cluster(1, 1).await;
        produce(&client, 0..10, 1).await;
        commit(&client, protocol, 6).await;
        let stale = Rule::new(Fault::Refuse(Code::STALE_MEMBER_EPOCH)).on(Api::OffsetFetch).times(2);
        let stale = cluster.fault(stale).await.unwrap();
        let member = member(&client, protocol).start_at(Position::Latest).build().unwrap();
        assert_eq!(take(&member, 4).await, [6, 7, 8, 9], "{protocol:?}");
        assert_eq!(stale.hits(), 2, "{protocol:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_whose_next_records_are_deleted_goes_on_with_the_oldest_that_is_left_and_never_at_the_end() {
    for protocol in PROTOCOLS {
        let (cluster, client) = cluster(1, 1).await;
        produce(&client, 0..100, 1).await;
        commit(&client, protocol, 10).await;
        cluster.delete_records("t", 0, 60).await.unwrap();
        // Where the group has committed nothing it would start at the end.
        let member = member(&client, protocol).start_at(Position::Latest).build().unwrap();
        assert_eq!(take(&member, 40).await, (60..100).collect::<Vec<_>>(), "{protocol:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_committed_offset_beyond_the_end_of_the_log_is_out_of_range_as_well() {
    for protocol in PROTOCOLS {
        let (_cluster, client) = cluster(1, 1).await;
        produce(&client, 0..100, 1).await;
        commit(&client, protocol, 150).await;
        let builder = member(&client, protocol).start_at(Position::Latest).commit(Commit::Manual);
        let oldest = builder.clone().build().unwrap();
        assert_eq!(take(&oldest, 100).await, (0..100).collect::<Vec<_>>(), "{protocol:?}");
        oldest.close().await.unwrap();

        let newest = builder.clone().on_out_of_range(OnOutOfRange::Latest).build().unwrap();
        let skipped = async {
            while newest.position(&tp(0)) != Some(Offset(100)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LONG, skipped).await.expect("it does not go to the end");
        produce(&client, 100..101, 1).await;
        assert_eq!(take(&newest, 1).await, [100], "{protocol:?}");
        newest.close().await.unwrap();

        let refusing = builder.on_out_of_range(OnOutOfRange::Fail).build().unwrap();
        let error = error(&refusing).await;
        let ErrorKind::OffsetOutOfRange { offset: 150, setting: "on_out_of_range", .. } = error.kind() else {
            panic!("{protocol:?}: {error}")
        };
    }
}
