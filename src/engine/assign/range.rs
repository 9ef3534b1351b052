//! The range assignor.

use super::assignor::{Assignor, GroupMember, SubscribedTopics};
use crate::types::TopicPartition;

/// Topic by topic, members in order get consecutive runs of partitions, the first ones one more where they do not divide
/// evenly: partitions of the same number of several topics come to the same member. Java: `RangeAssignor`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RangeAssignor;

impl Assignor for RangeAssignor {
    fn name(&self) -> &'static str {
        "range"
    }

    fn assign(&self, members: &[GroupMember], topics: &SubscribedTopics) -> Vec<Vec<TopicPartition>> {
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by(|a, b| members[*a].compare(&members[*b]));
        let mut shares = vec![Vec::new(); members.len()];
        for (topic, count) in topics.iter() {
            let readers: Vec<usize> =
                order.iter().copied().filter(|place| members[*place].wants(topic)).collect();
            let all = i32::try_from(count).unwrap_or(i32::MAX);
            let among = i32::try_from(readers.len()).unwrap_or(i32::MAX);
            let (Some(each), Some(extra)) = (all.checked_div(among), all.checked_rem(among)) else {
                continue;
            };
            let mut first = 0;
            for (turn, reader) in (0..).zip(readers) {
                let end = first + each + i32::from(turn < extra);
                shares[reader].extend((first..end).map(|number| TopicPartition::new(topic, number)));
                first = end;
            }
        }
        shares
    }
}
