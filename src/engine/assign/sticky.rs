//! The sticky assignors: balanced, with as little moved as that allows.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
};

use bytes::Bytes;

use super::{
    assignor::{Assignor, GroupMember, SubscribedTopics},
    racks::{Nearness, Rack},
    wire::by_topic,
};
use crate::{
    types::{TopicName, TopicPartition},
    wire::{
        codec::{DecodeError, Reader, Writer},
        str::Str,
    },
};

/// Balanced, with as little moved as that allows. Where members say in which racks they stand, partitions go to members near
/// a replica (KIP-881), as far as that leaves the balance. Members give up everything for the time of a rebalance, and say
/// what they had. Java: `StickyAssignor`, whose data are read and written.
#[derive(Clone, Copy, Debug, Default)]
pub struct StickyAssignor;

/// As [`StickyAssignor`]; but members whose assignors are all cooperative go on reading what they keep
/// (KIP-429). Java: `CooperativeStickyAssignor`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CooperativeStickyAssignor;

impl Assignor for StickyAssignor {
    fn name(&self) -> &'static str {
        "sticky"
    }

    fn user_data(&self, last: &[TopicPartition], generation: i32) -> Bytes {
        if last.is_empty() { Bytes::new() } else { write_user_data(last, generation) }
    }

    fn assign(&self, members: &[GroupMember], topics: &SubscribedTopics) -> Vec<Vec<TopicPartition>> {
        let claims = members.iter().map(|member| match read_user_data(member.user_data.clone()) {
            _ if !member.owned.is_empty() || member.user_data.is_empty() => {
                (member.owned.clone(), member.generation)
            }
            Ok(claims) => claims,
            Err(error) => {
                tracing::warn!(member = %member.id, %error, "what a member says that it had does not parse");
                (Vec::new(), -1)
            }
        });
        Plan::new(members, topics, claims.collect()).finish()
    }
}

impl Assignor for CooperativeStickyAssignor {
    fn name(&self) -> &'static str {
        "cooperative-sticky"
    }

    fn is_cooperative(&self) -> bool {
        true
    }

    /// Leaders older than KIP-792 read the generation from here.
    fn user_data(&self, _: &[TopicPartition], generation: i32) -> Bytes {
        Bytes::copy_from_slice(&generation.to_be_bytes())
    }

    fn assign(&self, members: &[GroupMember], topics: &SubscribedTopics) -> Vec<Vec<TopicPartition>> {
        let claims = members.iter().map(|member| {
            let told = member.user_data.first_chunk().map_or(-1, |bytes| i32::from_be_bytes(*bytes));
            let generation = if member.generation >= 0 { member.generation } else { told };
            (member.owned.clone(), generation)
        });
        Plan::new(members, topics, claims.collect()).finish()
    }
}

/// What a member had, as Java's sticky assignor writes it: topics with their partitions, and the generation.
fn write_user_data(last: &[TopicPartition], generation: i32) -> Bytes {
    let mut writer = Writer::new();
    let topics: Vec<_> = by_topic(last).into_iter().collect();
    // Neither names nor numbers are too many for their lengths: they came out of such a message.
    let written = writer.array(&topics, false, "topics", |writer, (topic, partitions)| {
        writer.string(&Str::from(*topic), false, "topic")?;
        writer.array(partitions, false, "partitions", |writer, partition| {
            writer.i32(*partition);
            Ok(())
        })
    });
    debug_assert!(written.is_ok(), "{written:?}");
    writer.i32(generation);
    writer.finish().into_bytes()
}

/// The generation is missing where the writer is older than Kafka 2.3.
fn read_user_data(bytes: Bytes) -> Result<(Vec<TopicPartition>, i32), DecodeError> {
    let mut reader = Reader::new(bytes);
    let topics = reader.array(false, 6, "topics", |reader| {
        let topic = TopicName::from(reader.string(false, "topic")?);
        let partitions = reader.array(false, 4, "partitions", |reader| reader.i32("partition"))?;
        Ok(partitions.into_iter().map(move |partition| TopicPartition::new(&topic, partition)))
    })?;
    let generation = if reader.remaining() == 0 { -1 } else { reader.i32("generation")? };
    let last = topics.into_iter().flatten().filter(|partition| partition.partition.0 >= 0);
    Ok((last.collect(), generation))
}

/// A topic and its number of partitions; members and topics go by their places here.
struct TopicOf<'a> {
    name: &'a TopicName,
    readers: Vec<usize>,
    /// Who has each partition.
    owners: Vec<Option<usize>>,
}

/// An assignment that comes about.
///
/// Members are in order, so that equal groups get equal plans. Topics that nobody wants are not in it.
struct Plan<'a> {
    /// Where each member stands in the group, by its place in order.
    order: Vec<usize>,
    topics: Vec<TopicOf<'a>>,
    /// How many partitions each member has.
    counts: Vec<usize>,
    /// Who stands near what, if that matters.
    nearness: Option<Nearness<'a>>,
}

impl<'a> Plan<'a> {
    /// Begins with what each member has, where its claim is the newest. Of two that are equally new none counts.
    fn new(
        members: &[GroupMember],
        topics: &'a SubscribedTopics,
        claims: Vec<(Vec<TopicPartition>, i32)>,
    ) -> Self {
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by(|a, b| members[*a].compare(&members[*b]));
        let mut readers: BTreeMap<&TopicName, Vec<usize>> = BTreeMap::new();
        for (place, at) in order.iter().enumerate() {
            members[*at].topics.iter().for_each(|topic| readers.entry(topic).or_default().push(place));
        }
        let wanted = topics.iter().filter_map(|(name, count)| {
            let owners = vec![None; usize::try_from(count).unwrap_or(usize::MAX)];
            Some(TopicOf { name, readers: readers.remove(name)?, owners })
        });
        let wanted: Vec<TopicOf<'a>> = wanted.collect();
        let of_members = order.iter().map(|at| members[*at].rack.as_ref());
        let nearness = topics.racks.nearness(of_members, wanted.iter().map(|topic| topic.name));
        let mut plan = Self { topics: wanted, counts: vec![0; order.len()], order, nearness };
        plan.keep(claims);
        plan
    }

    fn keep(&mut self, mut claims: Vec<(Vec<TopicPartition>, i32)>) {
        let places: HashMap<&TopicName, usize> =
            self.topics.iter().enumerate().map(|(place, topic)| (topic.name, place)).collect();
        let mut newest: Vec<Vec<i32>> =
            self.topics.iter().map(|topic| vec![i32::MIN; topic.owners.len()]).collect();
        for (place, at) in self.order.iter().enumerate() {
            let (claimed, generation) = std::mem::take(&mut claims[*at]);
            for partition in claimed {
                let Some(topic) = places.get(&partition.topic).copied() else { continue };
                let number = usize::try_from(partition.partition.0).unwrap_or(usize::MAX);
                let Some(known) = newest[topic].get_mut(number) else { continue };
                if self.topics[topic].readers.binary_search(&place).is_err() || *known > generation {
                    continue;
                }
                let owner = &mut self.topics[topic].owners[number];
                let is_contested = *known == generation && *owner != Some(place);
                *owner = (!is_contested).then_some(place);
                *known = generation;
            }
        }
        self.topics
            .iter()
            .flat_map(|topic| &topic.owners)
            .flatten()
            .for_each(|owner| self.counts[*owner] += 1);
    }

    fn finish(mut self) -> Vec<Vec<TopicPartition>> {
        let all_want_the_same = self.topics.iter().all(|topic| topic.readers.len() == self.order.len());
        let nearness = self.nearness.take();
        if all_want_the_same {
            self.share_evenly(nearness.as_ref());
        } else {
            self.give_out(nearness.as_ref());
            while self.level() {}
        }
        // A swap leaves the counts as they are, but may bring a topic to somebody from whom it can be moved on.
        while nearness.as_ref().is_some_and(|nearness| self.swap(nearness)) {
            while !all_want_the_same && self.level() {}
        }
        let mut shares: Vec<Vec<TopicPartition>> = vec![Vec::new(); self.order.len()];
        for topic in &self.topics {
            for (number, owner) in (0..).zip(&topic.owners) {
                if let Some(owner) = owner {
                    shares[self.order[*owner]].push(TopicPartition::new(topic.name, number));
                }
            }
        }
        shares
    }

    // ---- where everybody wants the same --------------------------------------------------------------------------

    /// Each gets the same number; those who have most get one more where it does not divide evenly.
    fn share_evenly(&mut self, nearness: Option<&Nearness<'_>>) {
        let all: usize = self.topics.iter().map(|topic| topic.owners.len()).sum();
        let (Some(each), Some(extra)) =
            (all.checked_div(self.order.len()), all.checked_rem(self.order.len()))
        else {
            return;
        };
        let mut by_count: Vec<usize> = (0..self.order.len()).collect();
        by_count.sort_by_key(|place| (Reverse(self.counts[*place]), *place));
        let mut room = vec![each; self.order.len()];
        by_count.iter().take(extra).for_each(|place| room[*place] += 1);
        let mut free = Vec::new();
        for (place, topic) in self.topics.iter_mut().enumerate() {
            for (number, owner) in topic.owners.iter_mut().enumerate() {
                match *owner {
                    Some(member) if room[member] > 0 => room[member] -= 1,
                    _ => {
                        *owner = None;
                        free.push((place, number));
                    }
                }
            }
        }
        if let Some(nearness) = nearness {
            self.fill_near(nearness, &mut free, &mut room);
        }
        self.fill(free, room);
    }

    /// Gives what is free to members near it, of those who have room to who has most.
    fn fill_near(&mut self, nearness: &Nearness<'_>, free: &mut Vec<(usize, usize)>, room: &mut [usize]) {
        let mut roomy: BTreeMap<Rack, BTreeSet<(usize, Reverse<usize>)>> = BTreeMap::new();
        for (place, room) in room.iter().enumerate().filter(|(_, room)| **room > 0) {
            if let Some(rack) = nearness.rack_of(place) {
                roomy.entry(rack).or_default().insert((*room, Reverse(place)));
            }
        }
        free.retain(|(topic, number)| {
            let racks = nearness.racks(*topic, *number).iter();
            let most = racks.filter_map(|rack| Some((*roomy.get(rack)?.last()?, *rack))).max();
            let Some((most, rack)) = most else { return true };
            let (left, Reverse(member)) = most;
            self.topics[*topic].owners[*number] = Some(member);
            room[member] -= 1;
            if let Some(members) = roomy.get_mut(&rack) {
                members.remove(&most);
                members.extend((left > 1).then_some((left - 1, Reverse(member))));
            }
            false
        });
    }

    /// Gives out what is free in turn, to those who have room.
    fn fill(&mut self, free: Vec<(usize, usize)>, mut room: Vec<usize>) {
        let mut turns: VecDeque<usize> = (0..self.order.len()).filter(|place| room[*place] > 0).collect();
        for (topic, number) in free {
            let Some(member) = turns.pop_front() else { return };
            self.topics[topic].owners[number] = Some(member);
            room[member] -= 1;
            if room[member] > 0 {
                turns.push_back(member);
            }
        }
    }

    // ---- where members want different topics ---------------------------------------------------------------------

    /// Gives what nobody has to who has least of those that want it, and of those to who is near it; first the topics that
    /// few want.
    fn give_out(&mut self, nearness: Option<&Nearness<'_>>) {
        let mut by_readers: Vec<usize> = (0..self.topics.len()).collect();
        by_readers.sort_by_key(|place| (self.topics[*place].readers.len(), *place));
        for place in by_readers {
            let topic = &mut self.topics[place];
            let mut by_count: BTreeSet<(usize, usize)> =
                topic.readers.iter().map(|reader| (self.counts[*reader], *reader)).collect();
            for (number, owner) in topic.owners.iter_mut().enumerate().filter(|(_, owner)| owner.is_none()) {
                let Some(first) = by_count.first().copied() else { break };
                let nearest = nearness.and_then(|nearness| {
                    let mut least = by_count.iter().take_while(|(count, _)| *count == first.0);
                    least.find(|(_, reader)| nearness.is_near(*reader, place, number))
                });
                let (count, reader) = nearest.copied().unwrap_or(first);
                by_count.remove(&(count, reader));
                *owner = Some(reader);
                self.counts[reader] = count + 1;
                by_count.insert((count + 1, reader));
            }
        }
    }

    /// Moves partitions from who has most to who has least of those that want their topic, where that brings the two
    /// closer. Whether any was moved: then other topics may be out of level again. Each move makes the sum of the squares of all
    /// counts smaller, so there is an end.
    fn level(&mut self) -> bool {
        let mut has_moved = false;
        for topic in &mut self.topics {
            let mut held: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for (number, owner) in topic.owners.iter().enumerate() {
                owner.iter().for_each(|owner| held.entry(*owner).or_default().push(number));
            }
            let mut givers: BTreeSet<(usize, usize)> =
                held.keys().map(|reader| (self.counts[*reader], *reader)).collect();
            let mut takers: BTreeSet<(usize, usize)> =
                topic.readers.iter().map(|reader| (self.counts[*reader], *reader)).collect();
            while let (Some(most), Some(least)) = (givers.pop_last(), takers.pop_first()) {
                let ((many, giver), (few, taker)) = (most, least);
                if many < few + 2 {
                    break;
                }
                let Some(number) = held.get_mut(&giver).and_then(Vec::pop) else { break };
                topic.owners[number] = Some(taker);
                has_moved = true;
                // What has just been moved is not moved on: who has less than the giver stays so.
                self.counts[giver] = many - 1;
                self.counts[taker] = few + 1;
                takers.remove(&most);
                takers.insert((many - 1, giver));
                takers.insert((few + 1, taker));
                if givers.remove(&least) {
                    givers.insert((few + 1, taker));
                }
                if held.get(&giver).is_some_and(|numbers| !numbers.is_empty()) {
                    givers.insert((many - 1, giver));
                }
            }
        }
        has_moved
    }

    // ---- where members stand in racks ----------------------------------------------------------------------------

    /// Two members that stand far from what they have swap where one of them comes near, and neither loses by it. Nobody
    /// has more or less than before. Whether any have swapped: then others may find somebody to swap with.
    fn swap(&mut self, nearness: &Nearness<'_>) -> bool {
        let mut far = vec![Far::default(); self.order.len()];
        for (place, topic) in self.topics.iter().enumerate() {
            for (number, owner) in topic.owners.iter().enumerate() {
                let Some(owner) = owner else { continue };
                if !nearness.is_near(*owner, place, number) {
                    far[*owner].push(place, number);
                }
            }
        }
        let mut have_swapped = false;
        for member in 0..far.len() {
            let mut kept = Far::default();
            while let Some((topic, number)) = far[member].pop(|_| true) {
                let wants = |topic: usize| self.topics[topic].readers.binary_search(&member).is_ok();
                let mut others = self.topics[topic].readers.iter().copied().filter(|other| *other != member);
                let is_taker =
                    |other: &usize| far[*other].has(wants) && nearness.is_near(*other, topic, number);
                let taker = others.find(is_taker);
                let Some((taker, given)) = taker.and_then(|taker| Some((taker, far[taker].pop(wants)?)))
                else {
                    kept.push(topic, number);
                    continue;
                };
                self.topics[topic].owners[number] = Some(taker);
                self.topics[given.0].owners[given.1] = Some(member);
                have_swapped = true;
                if !nearness.is_near(member, given.0, given.1) {
                    far[member].push(given.0, given.1);
                }
            }
            far[member] = kept;
        }
        have_swapped
    }
}

/// What a member has far from where it stands: the numbers of partitions by topic.
#[derive(Clone, Default)]
struct Far(BTreeMap<usize, Vec<usize>>);

impl Far {
    fn push(&mut self, topic: usize, number: usize) {
        self.0.entry(topic).or_default().push(number);
    }

    fn has(&self, is_wanted: impl Fn(usize) -> bool) -> bool {
        self.0.keys().any(|topic| is_wanted(*topic))
    }

    fn pop(&mut self, is_wanted: impl Fn(usize) -> bool) -> Option<(usize, usize)> {
        let topic = self.0.keys().rev().copied().find(|topic| is_wanted(*topic))?;
        let numbers = self.0.get_mut(&topic)?;
        let number = numbers.pop()?;
        if numbers.is_empty() {
            self.0.remove(&topic);
        }
        Some((topic, number))
    }
}
