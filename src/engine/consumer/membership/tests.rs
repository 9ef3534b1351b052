#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use super::*;
use crate::{
    engine::{
        backoff::Backoff,
        consumer::{
            reading::Rules,
            settings::{OutOfRange, Truncated},
        },
        fetch::{self, Buffered, Fetcher},
        group::GroupSettings,
        hand::Hand,
        position::{self, Positions},
        script,
    },
    error::Code,
    sync::wake::Wake,
    types::OffsetAndMetadata,
    wire::str::Str,
};

const SECOND: Duration = Duration::from_secs(1);
const RETRY: Backoff = Backoff { first: Duration::from_millis(100), max: SECOND };

fn tp() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// A reading half with one partition, of which the user is at offset 7.
fn reading(now: Now) -> Reading {
    let wake = Arc::new(Wake::default());
    let hand = Arc::new(Hand::new(Arc::clone(&wake), 1 << 20, None, Arc::default()));
    let positions = position::Settings { read_committed: true, request_timeout: 30 * SECOND, retry: RETRY };
    let positions = Positions::new(positions, Tokens::default(), Random::new(1));
    let fetch = fetch::Settings {
        read_committed: true,
        min_bytes: 1,
        max_wait: SECOND,
        max_bytes: 1 << 20,
        partition_max_bytes: 1 << 20,
        batch_max_bytes: 1 << 20,
        rack: Str::default(),
        replica_max_age: 300 * SECOND,
        request_timeout: 30 * SECOND,
        retry: RETRY,
    };
    let rules = Rules {
        out_of_range: OutOfRange::Earliest,
        truncated: Truncated::Rewind,
        follows_recreated: false,
        patience: SECOND,
    };
    let fetcher = Fetcher::new(fetch, Buffered::new(1 << 20, wake), Tokens::default(), Random::new(1));
    let mut reading = Reading::new(hand, rules, positions, fetcher);
    let claim = reading.assign(now, &tp());
    reading.hand().start(&tp(), claim, Spot { offset: 7, leader_epoch: None });
    reading
}

fn membership(now: Now) -> Membership {
    let settings = MembershipSettings {
        group: GroupSettings::of_tests(None),
        protocol: GroupProtocol::Classic,
        coordinator: coordinator::Settings { request_timeout: 30 * SECOND, retry: RETRY },
        commits: commit::Settings {
            group: "g".into(),
            request_timeout: 30 * SECOND,
            patience: 60 * SECOND,
            retry: RETRY,
        },
        auto_commit: Some(5 * SECOND),
        max_poll_interval: 300 * SECOND,
        drain_timeout: 20 * SECOND,
        close_timeout: 30 * SECOND,
        has_listener: false,
    };
    let mut membership = Membership::new(now, settings, Position::Earliest, &mut Random::new(1));
    membership.join(now);
    membership
}

#[test]
fn a_topic_whose_offsets_are_refused_holds_up_no_other() {
    let now = script::start();
    let (mut reading, mut membership) = (reading(now), membership(now));
    let other = TopicPartition::new("u", 0);
    let claims = [reading.claim(&tp()).unwrap(), reading.assign(now, &other)];
    let starts = [tp(), other]
        .into_iter()
        .zip(claims)
        .map(|(partition, claim)| (partition, claim, Position::Earliest));
    let starts: Vec<_> = starts.collect();
    membership.needs_committed(now, starts.clone());
    let refused = || Error::broker(Code::TOPIC_AUTHORIZATION_FAILED, "OffsetFetch", "u");
    let asked = membership.starts.pop_first().unwrap().1;
    membership.starts_known(now, asked, Err(refused()), &mut reading);
    let alone: Vec<_> = membership.starts.values().cloned().collect();
    assert_eq!(alone, [vec![starts[0].clone()], vec![starts[1].clone()]], "each is asked for by itself");
    membership.starts_known(now, alone[1].clone(), Err(refused()), &mut reading);
    assert_eq!(membership.starts.len(), 2, "later");
    assert_eq!(membership.refused.as_ref().unwrap().1, alone[1]);
}

/// The group has thrown the member out, and the news of what is lost is still on its way.
#[test]
fn without_a_generation_nothing_is_committed() {
    let now = script::start();
    let (mut reading, mut membership) = (reading(now), membership(now));
    assert!(membership.group.identity().is_none() && !reading.hand().progress().is_empty());
    membership.auto.begin(now, &[tp()]);
    let now = now.after(5 * SECOND);
    let (mut calls, mut out) = (Vec::new(), Vec::new());
    membership.tick(now, &mut reading, &Arc::default(), &mut calls, &mut out);
    assert!(membership.commits.is_idle(), "not by the clock");
    let offsets = Offsets::from([(tp(), OffsetAndMetadata::new(7))]);
    for offsets in [None, Some(offsets)] {
        let refused = membership.commit(now, &reading, &Snapshot::default(), offsets).unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::NotAssigned { .. }), "{refused}");
    }
    membership.close(now, &mut reading, &Snapshot::default(), &mut out);
    assert!(membership.commits.is_idle(), "not on closing");
    assert!(membership.deadline().is_none_or(|at| at > now.instant), "and nothing is due for it");
}
