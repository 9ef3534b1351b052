//! Whatever members do, a record is with one of them at most, and done with once.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Produce(usize),
    Fetch { member: usize, records: i32, exactly: bool },
    Acknowledge { member: usize, share: usize, kind: i8 },
    Close(usize),
    Pass(u64),
    Delete(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1_usize..5).prop_map(Step::Produce),
        (0_usize..3, 1_i32..6, any::<bool>()).prop_map(|(member, records, exactly)| Step::Fetch {
            member,
            records,
            exactly
        }),
        (0_usize..3, 1_usize..5, 0_i8..4).prop_map(|(member, share, kind)| Step::Acknowledge {
            member,
            share,
            kind
        }),
        (0_usize..3).prop_map(Step::Close),
        (1_u64..20).prop_map(Step::Pass),
        (0_i64..10).prop_map(Step::Delete),
    ]
}

/// What the members know.
#[derive(Default)]
struct Model {
    /// Who holds which offset, and until when in seconds.
    held: BTreeMap<i64, (usize, u64)>,
    done: BTreeSet<i64>,
    counts: BTreeMap<i64, i16>,
    time: u64,
}

impl Model {
    fn fetched(&mut self, member: usize, runs: &[Run]) {
        let time = self.time;
        self.held.retain(|_, (_, until)| *until > time);
        for (first, last, count) in runs {
            for offset in *first..=*last {
                assert!(!self.done.contains(&offset), "{offset} is done with");
                assert_eq!(self.held.insert(offset, (member, time + 30)), None, "{offset} is held");
                let before = self.counts.insert(offset, *count).unwrap_or(0);
                assert_eq!(*count, before + 1, "{offset}");
                assert!(*count <= 5, "{offset}");
            }
        }
    }
}

fn play(steps: Vec<Step>) {
    let mut world = world();
    let ids = ["a", "b", "c"];
    let mut members: Vec<Member> = ids.into_iter().map(|id| Member::new(&mut world, id)).collect();
    let mut model = Model::default();
    let mut start = 0;
    for step in steps {
        match step {
            Step::Produce(count) => drop(world.produce(0, batch(&vec!["x"; count]))),
            Step::Fetch { member, records, exactly } => {
                let request = ShareFetchRequest {
                    max_records: records,
                    share_acquire_mode: i8::from(exactly),
                    ..members[member].request(&world)
                };
                let runs = runs(&members[member].ask(&mut world, request));
                let number: i64 = runs.iter().map(|(first, last, _)| last - first + 1).sum();
                assert!(!exactly || number <= records.into());
                model.fetched(member, &runs);
            }
            Step::Acknowledge { member, share, kind } => {
                if members[member].epoch == 0 {
                    continue;
                }
                let time = model.time;
                let held = model.held.iter().filter(|(_, (by, until))| *by == member && *until > time);
                let offsets: Vec<i64> = held.map(|(offset, _)| *offset).step_by(share).collect();
                let acks = offsets.iter().map(|offset| ack(*offset, *offset, &[kind])).collect();
                // What nobody has fetched yet is not known at all.
                if offsets.is_empty() {
                    continue;
                }
                assert_eq!(members[member].acknowledge(&mut world, acks), Code::NONE);
                for offset in offsets {
                    model.held.remove(&offset);
                    if kind != RELEASE {
                        model.done.insert(offset);
                    }
                }
            }
            Step::Close(member) => {
                world.broker.connection_closed(world.now, members[member].connection);
                members[member] = Member::new(&mut world, ids[member]);
                model.held.retain(|_, (by, _)| *by != member);
            }
            Step::Pass(seconds) => {
                model.time += seconds;
                world.pass(Duration::from_secs(seconds));
            }
            Step::Delete(more) => {
                let before = world.broker.log_range("t", 0).unwrap().0 + more;
                world.broker.delete_records(world.now, "t", 0, before);
            }
        }
        world.collect();
        let now = world.broker.share_start("g", "t", 0).unwrap_or(0);
        assert!(now >= start, "from {start} back to {now}");
        start = now;
    }
}

proptest! {
    #[test]
    fn no_record_is_with_two_members_or_done_with_twice(steps in prop::collection::vec(step(), 1..60)) {
        play(steps);
    }
}
