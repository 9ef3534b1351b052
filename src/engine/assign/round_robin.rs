//! The round-robin assignor.

use super::assignor::{Assignor, GroupMember, SubscribedTopics};
use crate::types::TopicPartition;

/// All partitions in order, one by one to the members in order, over those that do not want the topic. Java:
/// `RoundRobinAssignor`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobinAssignor;

impl Assignor for RoundRobinAssignor {
    fn name(&self) -> &'static str {
        "roundrobin"
    }

    fn assign(&self, members: &[GroupMember], topics: &SubscribedTopics) -> Vec<Vec<TopicPartition>> {
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by(|a, b| members[*a].compare(&members[*b]));
        let mut shares = vec![Vec::new(); members.len()];
        let mut turn = 0;
        for partition in topics.partitions() {
            let turns = (turn..turn + order.len()).map(|turn| turn % order.len());
            let Some(at) = turns.into_iter().find(|at| members[order[*at]].wants(&partition.topic)) else {
                continue;
            };
            shares[order[at]].push(partition);
            turn = (at + 1) % order.len();
        }
        shares
    }
}
