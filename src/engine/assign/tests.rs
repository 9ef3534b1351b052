#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use bytes::Bytes;

use super::*;
use crate::{types::TopicName, wire::str::Str};

fn member(id: &str, instance_id: Option<&str>, topics: &[&str]) -> GroupMember {
    let topics = topics.iter().map(|topic| TopicName::from(*topic)).collect();
    GroupMember { topics, ..GroupMember::silent(id.into(), instance_id.map(Str::from)) }
}

fn owning(id: &str, generation: i32, owned: &[(&str, i32)]) -> GroupMember {
    let owned = owned.iter().map(|(topic, number)| TopicPartition::new(*topic, *number)).collect();
    GroupMember { owned, generation, ..member(id, None, &["t", "u"]) }
}

fn topics(counts: &[(&str, u32)]) -> SubscribedTopics {
    SubscribedTopics::new(counts.iter().map(|(topic, count)| ((*topic).into(), *count)).collect())
}

fn shares(assignor: &dyn Assignor, members: &[GroupMember], counts: &[(&str, u32)]) -> Vec<String> {
    let names =
        |share: &Vec<TopicPartition>| share.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    assign(assignor, members, &topics(counts)).iter().map(names).collect()
}

/// The next generation of members that have taken what they were assigned.
fn taken(members: &[GroupMember], shares: Vec<Vec<TopicPartition>>, generation: i32) -> Vec<GroupMember> {
    let members = members.iter().cloned().zip(shares);
    members.map(|(member, owned)| GroupMember { owned, generation, ..member }).collect()
}

#[test]
fn in_ranges_the_first_members_get_one_more() {
    let members = [member("b", None, &["t", "u"]), member("a", None, &["t"]), member("c", None, &["t"])];
    let expected = ["t-3 t-4 u-0 u-1", "t-0 t-1 t-2", "t-5 t-6"];
    assert_eq!(shares(&RangeAssignor, &members, &[("t", 7), ("u", 2)]), expected);
}

#[test]
fn in_ranges_static_members_come_first_in_the_order_of_their_names() {
    let members = [member("a", None, &["t"]), member("z", Some("2"), &["t"]), member("y", Some("1"), &["t"])];
    assert_eq!(shares(&RangeAssignor, &members, &[("t", 3)]), ["t-2", "t-1", "t-0"]);
}

#[test]
fn round_robin_goes_on_with_the_next_topic_where_it_was() {
    let members = [member("a", None, &["t", "u"]), member("b", None, &["u"]), member("c", None, &["t", "u"])];
    let expected = ["t-0 t-2 u-2", "u-0", "t-1 u-1"];
    assert_eq!(shares(&RoundRobinAssignor, &members, &[("t", 3), ("u", 3)]), expected);
}

#[test]
fn sticky_moves_no_more_than_balance_needs() {
    let a = owning("a", 3, &[("t", 0), ("t", 1), ("t", 2), ("t", 3)]);
    let b = member("b", None, &["t", "u"]);
    assert_eq!(shares(&StickyAssignor, &[a.clone(), b], &[("t", 4)]), ["t-0 t-1", "t-2 t-3"]);
    let c = owning("c", 3, &[("t", 4)]);
    assert_eq!(shares(&StickyAssignor, &[a, c], &[("t", 5)]), ["t-0 t-1 t-2", "t-3 t-4"]);
}

#[test]
fn what_a_sticky_member_had_is_what_it_says_as_java_writes_it() {
    let last = [TopicPartition::new("t", 1), TopicPartition::new("u", 0)];
    let data = StickyAssignor.user_data(&last, 7);
    // [t: [1], u: [0]], 7
    let expected = b"\0\0\0\x02\0\x01t\0\0\0\x01\0\0\0\x01\0\x01u\0\0\0\x01\0\0\0\0\0\0\0\x07";
    assert_eq!(&data[..], expected);
    let a = GroupMember { user_data: data.clone(), ..member("a", None, &["t", "u"]) };
    let b = GroupMember { user_data: data.slice(..data.len() - 4), ..member("b", None, &["t", "u"]) };
    let c = GroupMember { user_data: Bytes::from_static(&[0, 0, 0, 9]), ..member("c", None, &["t", "u"]) };
    let counts = [("t", 2), ("u", 1)];
    assert_eq!(
        shares(&StickyAssignor, &[a, b.clone(), c], &counts),
        ["t-1", "t-0", "u-0"],
        "the newest counts"
    );
    let d = member("d", None, &["t", "u"]);
    assert_eq!(shares(&StickyAssignor, &[d, b], &counts), ["t-0", "t-1 u-0"], "a claim without generation");
}

#[test]
fn of_two_equal_claims_none_counts_and_an_old_one_loses() {
    let a = owning("a", 2, &[("t", 0), ("t", 1)]);
    let b = owning("b", 2, &[("t", 0)]);
    let c = owning("c", 1, &[("t", 1)]);
    let plan = StickyAssignor.assign(&[a.clone(), b, c.clone()], &topics(&[("t", 2)]));
    assert!(plan[0] == [TopicPartition::new("t", 1)] && plan[1].len() + plan[2].len() == 1, "{plan:?}");
    let old = GroupMember { generation: -1, user_data: CooperativeStickyAssignor.user_data(&[], 1), ..c };
    let plan = CooperativeStickyAssignor.assign(&[a, old], &topics(&[("t", 2)]));
    assert_eq!(plan.concat().len(), 2, "nobody's claim is without an end");
}

#[test]
fn what_is_still_read_is_held_back() {
    let a = owning("a", 1, &[("t", 0), ("t", 1)]);
    let b = member("b", None, &["t", "u"]);
    let cooperative = &CooperativeStickyAssignor;
    let first = shares(cooperative, &[a.clone(), b.clone()], &[("t", 2)]);
    assert_eq!(first, ["t-0", ""]);
    let a = GroupMember { owned: vec![TopicPartition::new("t", 0)], generation: 2, ..a };
    assert_eq!(shares(cooperative, &[a.clone(), b.clone()], &[("t", 2)]), ["t-0", "t-1"]);
    // Who has fallen behind may still read what it had.
    let late = owning("late", 0, &[("t", 1)]);
    assert_eq!(shares(cooperative, &[a, b, late], &[("t", 3)])[..2], ["t-0", "t-2"]);
}

#[test]
fn an_assignor_that_breaks_its_promise_is_held_to_it() {
    #[derive(Debug)]
    struct Wrong;
    impl Assignor for Wrong {
        fn name(&self) -> &'static str {
            "wrong"
        }

        fn assign(&self, _: &[GroupMember], _: &SubscribedTopics) -> Vec<Vec<TopicPartition>> {
            let all = ["t", "u", "v"].map(|topic| TopicPartition::new(topic, 0));
            let beyond = [TopicPartition::new("t", 1), TopicPartition::new("t", -1)];
            vec![all.to_vec(), [&all[..], &beyond].concat(), all.to_vec()]
        }
    }
    let members = [member("a", None, &["t"]), member("b", None, &["t", "u"])];
    assert_eq!(shares(&Wrong, &members, &[("t", 1), ("u", 1), ("v", 1)]), ["t-0", "u-0"]);
}

/// How many partitions could still be moved from a member to one that has two less.
fn imbalance(members: &[GroupMember], shares: &[Vec<TopicPartition>]) -> usize {
    let could_move = |from: &Vec<TopicPartition>, to: usize| {
        from.len() > shares[to].len() + 1 && from.iter().any(|partition| members[to].wants(&partition.topic))
    };
    shares.iter().map(|from| (0..members.len()).filter(|to| could_move(from, *to)).count()).sum()
}

fn groups() -> impl Strategy<Value = (Vec<GroupMember>, SubscribedTopics)> {
    let wants = prop_oneof![
        prop::collection::vec(prop::collection::btree_set(0..4_u8, 0..4), 1..8),
        (prop::collection::btree_set(0..4_u8, 1..4), 1..8_usize).prop_map(|(wants, n)| vec![wants; n]),
    ];
    (wants, prop::collection::vec(0..20_u32, 4)).prop_map(|(wants, counts)| {
        let name = |topic: u8| TopicName::from(format!("t{topic}"));
        let members = wants.iter().enumerate().map(|(place, wants)| GroupMember {
            topics: wants.iter().map(|topic| name(*topic)).collect(),
            ..member(&format!("m{place}"), None, &[])
        });
        let counts = (0..4_u8).zip(&counts).map(|(topic, count)| (name(topic), *count));
        (members.collect(), SubscribedTopics::new(counts.collect()))
    })
}

proptest! {
    #[test]
    fn every_partition_has_one_owner_who_wants_it((members, topics) in groups()) {
        let all: [&dyn Assignor; 4] =
            [&RangeAssignor, &RoundRobinAssignor, &StickyAssignor, &CooperativeStickyAssignor];
        for assignor in all {
            let shares = assignor.assign(&members, &topics);
            prop_assert_eq!(&assign(assignor, &members, &topics), &shares, "nothing is wrong with it");
            let wanted = topics.partitions().filter(|p| members.iter().any(|member| member.wants(&p.topic)));
            prop_assert_eq!(shares.concat().len(), wanted.count(), "{} leaves something", assignor.name());
        }
    }

    #[test]
    fn sticky_is_balanced_and_stays_as_it_is(
        (members, topics) in groups(),
        leaves in 0..8_usize,
        claims in prop::collection::vec((0..8_usize, 0..4_u8, -1..24_i32, -1..5_i32), 0..30),
    ) {
        let mut claiming = members.clone();
        for (place, topic, number, generation) in claims {
            let place = place % claiming.len();
            claiming[place].owned.push(TopicPartition::new(format!("t{topic}").as_str(), number));
            claiming[place].generation = generation;
        }
        let sticky = &CooperativeStickyAssignor;
        let first = sticky.assign(&claiming, &topics);
        prop_assert_eq!(imbalance(&claiming, &first), 0, "{:?}", first);
        let second = taken(&members, first.clone(), 5);
        prop_assert_eq!(&sticky.assign(&second, &topics), &first, "nothing has changed");

        // Where all want the same, who stays keeps all that it had when another leaves.
        let mut left = second.clone();
        left.remove(leaves % second.len());
        let third = sticky.assign(&left, &topics);
        prop_assert_eq!(imbalance(&left, &third), 0);
        if left.iter().all(|member| member.topics == members[0].topics) {
            for (member, share) in left.iter().zip(&third) {
                prop_assert!(member.owned.iter().all(|partition| share.contains(partition)));
            }
        }
    }

    #[test]
    fn a_cooperative_group_settles((members, topics) in groups(), joins in 0..8_usize) {
        let sticky = &CooperativeStickyAssignor;
        let all_want_the_same = members.iter().all(|member| member.topics == members[0].topics);
        let mut old = members.clone();
        let joiner = old.remove(joins % members.len());
        let owning = taken(&old, assign(sticky, &old, &topics), 1);
        let mut group: Vec<_> = owning.into_iter().chain([joiner]).collect();
        // What is moved in one round is held back for the next; where wants differ, that may move something else.
        for round in 2.. {
            prop_assert!(round < if all_want_the_same { 5 } else { 12 }, "{:?}", group);
            let shares = assign(sticky, &group, &topics);
            let shared = group.iter().zip(&shares).flat_map(|(m, share)| share.iter().map(move |p| (p, m)));
            for (partition, member) in shared {
                let reads = |other: &&GroupMember| other.id != member.id && other.owned.contains(partition);
                prop_assert!(!group.iter().any(|other| reads(&other)), "{} has two readers", partition);
            }
            let is_settled = group.iter().zip(&shares).all(|(member, share)| member.owned == *share);
            if is_settled {
                prop_assert_eq!(imbalance(&group, &shares), 0);
                break;
            }
            group = taken(&group, shares, round);
        }
    }

    #[test]
    fn user_data_of_anybody_do_no_harm(data: Vec<u8>) {
        let strange = GroupMember { user_data: data.into(), ..member("a", None, &["t"]) };
        let members = [strange, member("b", None, &["t"])];
        for assignor in [&StickyAssignor as &dyn Assignor, &CooperativeStickyAssignor] {
            prop_assert_eq!(assign(assignor, &members, &topics(&[("t", 3)])).concat().len(), 3);
        }
    }
}
