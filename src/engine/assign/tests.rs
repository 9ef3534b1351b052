#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use bytes::Bytes;

use std::collections::BTreeSet;

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
    let counts = counts.iter().map(|(topic, count)| ((*topic).into(), *count));
    SubscribedTopics::new(counts.collect(), Racks::default())
}

fn shares(assignor: &dyn Assignor, members: &[GroupMember], counts: &[(&str, u32)]) -> Vec<String> {
    let names =
        |share: &Vec<TopicPartition>| share.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    assign(assignor, members, &topics(counts)).iter().map(names).collect()
}

/// A member that stands in a rack.
fn standing(id: &str, rack: &str, owned: &[(&str, i32)]) -> GroupMember {
    GroupMember { rack: Some(rack.into()), ..owning(id, 1, owned) }
}

/// Topics, whose partitions have replicas in these racks.
fn in_racks(of: &[(&str, &[&str])]) -> SubscribedTopics {
    let counts = of.iter().map(|(topic, racks)| ((*topic).into(), u32::try_from(racks.len()).unwrap()));
    let partitions =
        |racks: &[&str]| racks.iter().map(|racks| racks.split(' ').map(Str::from).collect()).collect();
    let racks = of.iter().map(|(topic, racks)| ((*topic).into(), partitions(racks)));
    SubscribedTopics::new(counts.collect(), Racks::new(racks))
}

fn near(assignor: &dyn Assignor, members: &[GroupMember], topics: &SubscribedTopics) -> Vec<String> {
    let names =
        |share: &Vec<TopicPartition>| share.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    assign(assignor, members, topics).iter().map(names).collect()
}

#[test]
fn members_get_what_is_in_their_racks_as_far_as_that_leaves_the_balance() {
    let members = [standing("a", "x", &[]), standing("b", "y", &[]), standing("c", "z", &[])];
    let topics = in_racks(&[("t", &["z", "y", "x", "z", "z y", "x"])]);
    assert_eq!(near(&RangeAssignor, &members, &topics), ["t-2 t-5", "t-1 t-4", "t-0 t-3"]);
    assert_eq!(near(&StickyAssignor, &members, &topics), ["t-2 t-5", "t-1 t-4", "t-0 t-3"]);
    // More than its share is nobody's.
    let topics = in_racks(&[("t", &["x", "x", "x", "x", "x", "y"])]);
    assert_eq!(near(&RangeAssignor, &members, &topics), ["t-0 t-1", "t-2 t-5", "t-3 t-4"]);
    assert!(topics.has_replica_in(&TopicPartition::new("t", 5), "y"));
    assert!(!topics.has_replica_in(&TopicPartition::new("t", 5), "x"));
}

#[test]
fn racks_count_where_members_want_different_topics_too() {
    let wants = |member: GroupMember, topics: &[&str]| GroupMember {
        topics: topics.iter().map(|topic| TopicName::from(*topic)).collect(),
        ..member
    };
    let topics = in_racks(&[("t", &["x", "y", "x", "y"]), ("u", &["y", "x"])]);
    let fresh = [
        wants(standing("a", "x", &[]), &["t"]),
        wants(standing("b", "y", &[]), &["t", "u"]),
        wants(standing("c", "x", &[]), &["u"]),
    ];
    assert_eq!(near(&StickyAssignor, &fresh, &topics), ["t-0 t-2", "t-1 t-3", "u-0 u-1"]);
    // What two have far away is swapped if each wants what the other has, and nothing else is.
    let far = [
        wants(standing("a", "x", &[("t", 1), ("t", 3)]), &["t"]),
        wants(standing("b", "y", &[("t", 0), ("u", 1)]), &["t", "u"]),
        wants(standing("c", "x", &[("u", 0), ("t", 2)]), &["t", "u"]),
    ];
    assert_eq!(near(&StickyAssignor, &far, &topics), ["t-0 t-1", "t-3 u-0", "t-2 u-1"]);
}

#[test]
fn where_racks_do_not_matter_nothing_changes() {
    let members = [standing("a", "y", &[]), standing("b", "x", &[])];
    let everywhere = in_racks(&[("t", &["x y", "x y", "x y", "x y"])]);
    assert_eq!(near(&RangeAssignor, &members, &everywhere), ["t-0 t-1", "t-2 t-3"]);
    let elsewhere = [standing("a", "v", &[]), standing("b", "w", &[])];
    let topics = in_racks(&[("t", &["x", "y", "x", "y"])]);
    assert_eq!(near(&RangeAssignor, &elsewhere, &topics), ["t-0 t-1", "t-2 t-3"]);
}

#[test]
fn in_ranges_topics_of_the_same_size_are_dealt_out_alike_in_racks_too() {
    let members = [standing("a", "x", &[]), standing("b", "y", &[])];
    let topics = in_racks(&[("t", &["y", "x", "y", "x"]), ("u", &["y", "y", "y", "x"])]);
    // Number 1 is near to neither in both topics.
    assert_eq!(near(&RangeAssignor, &members, &topics), ["t-1 t-3 u-1 u-3", "t-0 t-2 u-0 u-2"]);
}

#[test]
fn sticky_swaps_what_is_far_from_both() {
    let members = [standing("a", "x", &[("t", 0), ("t", 1)]), standing("b", "y", &[("t", 2), ("t", 3)])];
    let topics = in_racks(&[("t", &["x", "y", "x", "y"])]);
    assert_eq!(near(&StickyAssignor, &members, &topics), ["t-0 t-2", "t-1 t-3"]);
    // Without a taker that gains, everything stays.
    let topics = in_racks(&[("t", &["x", "y", "y", "y"])]);
    assert_eq!(near(&StickyAssignor, &members, &topics), ["t-0 t-1", "t-2 t-3"]);
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

fn rack_name(rack: u8) -> Str {
    format!("r{rack}").as_str().into()
}

fn groups() -> impl Strategy<Value = (Vec<GroupMember>, SubscribedTopics)> {
    let wants = prop_oneof![
        prop::collection::vec(prop::collection::btree_set(0..4_u8, 0..4), 1..8),
        (prop::collection::btree_set(0..4_u8, 1..4), 1..8_usize).prop_map(|(wants, n)| vec![wants; n]),
    ];
    // In few of the groups is anything known of racks.
    let stands = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(prop::option::of(0..3_u8), 8)];
    let replicas = prop::collection::vec(prop::collection::btree_set(0..3_u8, 0..3), 80);
    (wants, prop::collection::vec(0..20_u32, 4), stands, replicas).prop_map(
        |(wants, counts, stands, replicas)| {
            let name = |topic: u8| TopicName::from(format!("t{topic}"));
            let members = wants.iter().enumerate().map(|(place, wants)| GroupMember {
                topics: wants.iter().map(|topic| name(*topic)).collect(),
                rack: stands.get(place).copied().flatten().map(rack_name),
                ..member(&format!("m{place}"), None, &[])
            });
            let counts = (0..4_u8).zip(&counts).map(|(topic, count)| (name(topic), *count));
            let members: Vec<_> = members.collect();
            let in_racks = |racks: &BTreeSet<u8>| racks.iter().map(|rack| rack_name(*rack)).collect();
            let racks = (0..4_u8)
                .zip(replicas.chunks(20))
                .map(|(topic, replicas)| (name(topic), replicas.iter().map(in_racks).collect()));
            (members, SubscribedTopics::new(counts.collect(), Racks::new(racks)))
        },
    )
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
        let knows_racks = left.iter().any(|member| member.rack.is_some());
        if left.iter().all(|member| member.topics == members[0].topics) && !knows_racks {
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
        // What is moved in one round is held back for the next; where wants or racks differ, that may move something else.
        let is_simple = all_want_the_same && members.iter().all(|member| member.rack.is_none());
        for round in 2.. {
            prop_assert!(round < if is_simple { 5 } else { 12 }, "{:?}", group);
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
