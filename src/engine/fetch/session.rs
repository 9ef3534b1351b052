//! One broker's fetch session (KIP-227): it remembers what it was asked for, so that a request names only what has
//! changed, and an answer holds only what is new.
//!
//! The state that both sides keep is what makes this delicate. Whenever they may differ, since a request was not answered
//! or an answer makes no sense, the session is given up, and the next request names everything and begins another.

use std::collections::HashMap;

use crate::{
    error::Code,
    types::{Partition, TopicName, TopicPartition},
    wire::{
        messages::fetch_request::{FetchPartition, ForgottenTopic},
        str::Str,
        uuid::Uuid,
    },
};

/// The epoch of a request that belongs to no session and asks for none.
const NO_SESSION: i32 = -1;
/// That of a request that names everything, and asks for a session in place of the one whose id it has.
const INITIAL: i32 = 0;

/// What is known of the session with one broker, on this side.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// 0 without one.
    id: i32,
    /// That of the next request.
    epoch: i32,
    /// The broker is too old for sessions that know topics by their ids.
    unavailable: bool,
    /// The last request belongs to no session.
    outside: bool,
    /// What the broker remembers, if it got the last request.
    partitions: HashMap<Key, Entry>,
    /// Whose partitions an answer may hold.
    names: HashMap<Uuid, TopicName>,
    /// Counts the requests.
    request: u64,
    /// How many partitions the request that is being made is to read.
    wanted: usize,
}

type Key = (Uuid, i32);

/// What a request says of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) offset: i64,
    pub(super) max_bytes: i32,
    pub(super) leader_epoch: i32,
    pub(super) last_fetched_epoch: i32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    asked: Asked,
    /// The last request that was to read it.
    request: u64,
}

impl Session {
    /// A request is being made. `by_id`: all its topics have one, without which there is no session.
    pub(super) fn begin(&mut self, by_id: bool) {
        self.request = self.request.wrapping_add(1);
        self.wanted = 0;
        self.outside = self.unavailable || !by_id;
        if self.outside {
            self.give_up();
        }
        if self.epoch == INITIAL {
            self.partitions.clear();
            self.names.clear();
        }
    }

    /// The request is to read this partition; whether it has to say so.
    pub(super) fn wants(&mut self, topic_id: Uuid, partition: &TopicPartition, asked: Asked) -> bool {
        self.wanted = self.wanted.saturating_add(1);
        let entry = Entry { asked, request: self.request };
        let key = (topic_id, partition.partition.0);
        let before = if self.outside { None } else { self.partitions.insert(key, entry) };
        if before.is_none() {
            self.names.entry(topic_id).or_insert_with(|| partition.topic.clone());
        }
        before.is_none_or(|before| before.asked != asked)
    }

    /// Whether a request that names nothing reads what the last one did.
    pub(super) fn is_incremental(&self) -> bool {
        !self.outside && self.epoch != INITIAL
    }

    /// How many partitions the request is to read.
    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// What the broker still reads and the request is not to.
    pub(super) fn forget(&mut self) -> Vec<ForgottenTopic> {
        let mut forgotten: HashMap<Uuid, Vec<i32>> = HashMap::new();
        if self.partitions.len() > self.wanted {
            let request = self.request;
            self.partitions.retain(|(topic_id, partition), entry| {
                let stays = entry.request == request;
                if !stays {
                    forgotten.entry(*topic_id).or_default().push(*partition);
                }
                stays
            });
        }
        let names = &self.names;
        let forgotten = forgotten.into_iter().map(|(topic_id, mut partitions)| {
            partitions.sort_unstable();
            let topic = names.get(&topic_id).map(Str::from).unwrap_or_default();
            ForgottenTopic { topic, topic_id, partitions, ..ForgottenTopic::default() }
        });
        let mut forgotten: Vec<ForgottenTopic> = forgotten.collect();
        forgotten.sort_unstable_by_key(|topic| topic.topic_id);
        forgotten
    }

    /// The session's id and epoch, as the request carries them.
    pub(super) fn stamp(&self) -> (i32, i32) {
        if self.outside { (0, NO_SESSION) } else { (self.id, self.epoch) }
    }

    /// Whether the broker reads this partition, as far as is known here.
    pub(super) fn knows(&self, topic_id: Uuid, partition: Partition) -> bool {
        self.partitions.contains_key(&(topic_id, partition.0))
    }

    /// The topic with this id, if the broker was asked for it.
    pub(super) fn name(&self, topic_id: &Uuid) -> Option<&TopicName> {
        self.names.get(topic_id)
    }

    /// The broker has taken the request, and answered with this session. `by_id`: it knows topics by their ids.
    pub(super) fn answered(&mut self, session_id: i32, by_id: bool) {
        if self.outside {
            return;
        }
        self.unavailable = !by_id;
        if self.unavailable || session_id <= 0 {
            // No session, or none any more.
            (self.id, self.epoch) = (0, INITIAL);
        } else if self.epoch == INITIAL {
            (self.id, self.epoch) = (session_id, 1);
        } else if session_id == self.id {
            // Behind the last number comes 1: 0 would begin another session.
            self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        } else {
            self.give_up();
        }
    }

    /// The broker has refused the request; whether a request that names everything helps.
    pub(super) fn refused(&mut self, code: Code) -> bool {
        let was_initial = self.outside || self.epoch == INITIAL;
        match code {
            Code::FETCH_SESSION_ID_NOT_FOUND => (self.id, self.epoch) = (0, INITIAL),
            _ => self.give_up(),
        }
        !was_initial && is_of_session(code)
    }

    /// Both sides may not agree any more: the next request names everything, and ends this session for another.
    pub(super) fn give_up(&mut self) {
        self.epoch = INITIAL;
    }
}

/// Whether the code speaks of the session, and not of what is read.
fn is_of_session(code: Code) -> bool {
    matches!(
        code,
        Code::FETCH_SESSION_ID_NOT_FOUND
            | Code::INVALID_FETCH_SESSION_EPOCH
            | Code::FETCH_SESSION_TOPIC_ID_ERROR
            | Code::INCONSISTENT_TOPIC_ID
            | Code::UNKNOWN_TOPIC_ID
    )
}

impl Asked {
    /// As the request says it of a partition with this number.
    pub(super) fn of(self, partition: Partition) -> FetchPartition {
        FetchPartition {
            partition: partition.0,
            current_leader_epoch: self.leader_epoch,
            fetch_offset: self.offset,
            last_fetched_epoch: self.last_fetched_epoch,
            partition_max_bytes: self.max_bytes,
            ..FetchPartition::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: Uuid = Uuid::from_bytes([7; 16]);

    fn asked(offset: i64) -> Asked {
        Asked { offset, max_bytes: 100, leader_epoch: 3, last_fetched_epoch: -1 }
    }

    /// Makes a request for these (partition, offset): its stamp, the partitions that it names, and those it forgets.
    fn request(session: &mut Session, wanted: &[(i32, i64)]) -> ((i32, i32), Vec<i32>, Vec<i32>) {
        session.begin(true);
        let mut named = Vec::new();
        for (partition, offset) in wanted {
            if session.wants(TOPIC, &TopicPartition::new("t", *partition), asked(*offset)) {
                named.push(*partition);
            }
        }
        assert_eq!(session.wanted(), wanted.len());
        let forgotten = session.forget().into_iter().flat_map(|topic| topic.partitions).collect();
        (session.stamp(), named, forgotten)
    }

    #[test]
    fn a_session_is_told_only_what_changes() {
        let mut session = Session::default();
        assert_eq!(request(&mut session, &[(0, 5), (1, 6)]), ((0, 0), vec![0, 1], vec![]));
        session.answered(9, true);
        assert_eq!(request(&mut session, &[(0, 5), (1, 6)]), ((9, 1), vec![], vec![]));
        session.answered(9, true);
        assert_eq!(request(&mut session, &[(1, 7), (0, 5)]), ((9, 2), vec![1], vec![]));
        session.answered(9, true);
        assert_eq!(request(&mut session, &[(2, 0), (1, 7)]), ((9, 3), vec![2], vec![0]));
        session.answered(9, true);
        assert_eq!(request(&mut session, &[(2, 0), (1, 7), (0, 5)]), ((9, 4), vec![0], vec![]));
    }

    #[test]
    fn a_broker_without_room_for_a_session_is_told_everything() {
        let mut session = Session::default();
        for _ in 0..3 {
            assert_eq!(request(&mut session, &[(0, 5)]), ((0, 0), vec![0], vec![]));
            session.answered(0, true);
        }
    }

    #[test]
    fn a_broker_that_knows_topics_by_name_only_is_asked_for_no_session() {
        let mut session = Session::default();
        request(&mut session, &[(0, 5)]);
        session.answered(9, false);
        assert_eq!(request(&mut session, &[(0, 5)]), ((0, -1), vec![0], vec![]));
    }

    #[test]
    fn a_topic_without_an_id_interrupts_the_session() {
        let mut session = Session::default();
        request(&mut session, &[(0, 5)]);
        session.answered(9, true);
        session.begin(false);
        // Topics that have no id are not mistaken for each other.
        for topic in ["t", "u"] {
            assert!(session.wants(Uuid::ZERO, &TopicPartition::new(topic, 0), asked(5)));
        }
        assert_eq!((session.stamp(), session.wanted()), ((0, -1), 2));
        session.answered(0, false);
        assert_eq!(request(&mut session, &[(0, 5)]), ((9, 0), vec![0], vec![]));
    }

    #[test]
    fn a_lost_answer_ends_the_session_for_another() {
        let mut session = Session::default();
        request(&mut session, &[(0, 5), (1, 6)]);
        session.answered(9, true);
        request(&mut session, &[(0, 5), (1, 6)]);
        session.give_up();
        assert_eq!(request(&mut session, &[(0, 5), (1, 6)]), ((9, 0), vec![0, 1], vec![]));
        session.answered(10, true);
        assert_eq!(request(&mut session, &[(0, 5), (1, 6)]), ((10, 1), vec![], vec![]));
        // An answer for a session that is not this one.
        session.answered(9, true);
        assert_eq!(request(&mut session, &[(0, 5), (1, 6)]).0, (10, 0));
    }

    #[test]
    fn a_session_that_was_evicted_is_begun_anew_at_once() {
        let mut session = Session::default();
        request(&mut session, &[(0, 5)]);
        session.answered(9, true);
        request(&mut session, &[(0, 5)]);
        assert!(session.refused(Code::FETCH_SESSION_ID_NOT_FOUND));
        assert_eq!(request(&mut session, &[(0, 5)]), ((0, 0), vec![0], vec![]));
        assert!(!session.refused(Code::FETCH_SESSION_ID_NOT_FOUND), "nothing was asked of a session");
        session.answered(9, true);
        request(&mut session, &[(0, 5)]);
        assert!(session.refused(Code::INVALID_FETCH_SESSION_EPOCH));
        assert_eq!(request(&mut session, &[(0, 5)]).0, (9, 0));
        session.answered(9, true);
        request(&mut session, &[(0, 5)]);
        assert!(!session.refused(Code::UNKNOWN_SERVER_ERROR));
        assert_eq!(request(&mut session, &[(0, 5)]).0, (9, 0));
    }

    #[test]
    fn behind_the_last_epoch_comes_the_first() {
        let mut session = Session { id: 9, epoch: i32::MAX, ..Session::default() };
        request(&mut session, &[(0, 5)]);
        session.answered(9, true);
        assert_eq!(request(&mut session, &[(0, 5)]).0, (9, 1));
    }
}
