//! Partitions that members read beside what their group assigns.

use std::collections::BTreeMap;
use std::time::Duration;

use milena::{Commit, GroupProtocol, OffsetAndMetadata, Position, TopicPartition};

use super::groups::settle;
use crate::suite::{Stage, take, text};

/// A member reads a partition of a topic that its group does not know, and commits it under the group; rebalances leave it
/// alone, and whoever reads it next goes on there.
pub(crate) async fn companions_are_committed_under_their_group(stage: Stage) {
    let client = stage.client().await;
    for protocol in [GroupProtocol::Classic, GroupProtocol::Auto] {
        let topic = stage.topic(&client, 2).await;
        let companion = TopicPartition::new(stage.topic(&client, 1).await.as_str(), 0);
        let values: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        stage.write(&client, &companion, &values).await;
        let group = stage.name(&format!("group-{protocol:?}"));
        let member = || {
            let member = client.consumer(&group).topics([topic.as_str()]).protocol(protocol);
            let member = member.commit(Commit::Every(Duration::from_millis(100)));
            member.heartbeat_interval(Duration::from_millis(500)).build().unwrap()
        };
        let first = member();
        settle(&[(&first, 2)]).await;
        first.read_also(&[(companion.clone(), Position::Earliest)]).await.unwrap();
        let read: Vec<String> = take(&first, 10).await.iter().map(text).collect();
        assert_eq!(read, values[..10]);
        let second = member();
        settle(&[(&first, 1), (&second, 1)]).await;
        let read: Vec<String> = take(&first, 5).await.iter().map(text).collect();
        assert_eq!(read, values[10..15], "the rebalance left it alone");
        let committed = async || first.committed(std::slice::from_ref(&companion)).await.unwrap();
        assert!(committed().await.is_empty(), "only the user commits it");
        let mut offset = OffsetAndMetadata::new(12);
        offset.metadata = "retries".to_owned();
        let offsets = BTreeMap::from([(companion.clone(), offset)]);
        first.commit_offsets(offsets.clone()).await.unwrap();
        assert_eq!(committed().await, offsets);
        first.close().await.unwrap();

        settle(&[(&second, 2)]).await;
        second.read_also(&[(companion.clone(), Position::Latest)]).await.unwrap();
        let read: Vec<String> = take(&second, 8).await.iter().map(text).collect();
        assert_eq!(read, values[12..], "where the first has committed");
        second.close().await.unwrap();
    }
}
