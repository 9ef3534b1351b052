//! Who takes part: producers, readers and members of a group, each with a client of its own.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    book::Book,
    client::{Incoming, SimClient},
    consume::{Consumer, Kind, Way},
    ledger::Ledger,
    produce::Producer,
    world::{PARTITIONS, World},
    writer::Writer,
};
use crate::{
    engine::machine::{Now, earlier},
    testing::broker::ConnectionId,
    types::TopicPartition,
};

/// The most members of the group at a time.
const MEMBERS: usize = 3;
/// The most that ever join.
const JOINS: u64 = 10;
/// The most instances of all transactional producers together.
const INSTANCES: u64 = 14;

/// One process.
#[derive(Debug)]
pub(super) struct Actor {
    client: SimClient,
    pub(super) part: Part,
    /// Whether something came for it.
    is_touched: bool,
    /// Until when the process stands still.
    frozen: Option<Instant>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are a handful")]
pub(super) enum Part {
    Producer(Producer),
    Consumer(Consumer),
    Writer(Writer),
}

/// All who take part.
#[derive(Debug)]
pub(super) struct Cast {
    pub(super) actors: Vec<Actor>,
    pub(super) book: Rc<RefCell<Book>>,
    /// How its members are in a group, if they are.
    group: Option<Way>,
    joined: u64,
    pub(super) ledger: Rc<RefCell<Ledger>>,
    /// How many transactional ids there are, and how many producers have used one.
    ids: usize,
    /// Whether nothing goes wrong any more, so that users hurry.
    is_calm: bool,
    instances: u64,
    /// What is asked of everybody once there are no more faults.
    pub(super) goal: Goal,
}

/// When all is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// Every record has its fate, was handed out, and is committed if there is a group.
    Read,
    /// Every consumer is closed.
    Closed,
}

impl Cast {
    pub(super) fn new(group: Option<Way>) -> Self {
        let book = Rc::new(RefCell::new(Book::default()));
        Self {
            actors: Vec::new(),
            book,
            group,
            joined: 0,
            ledger: Rc::default(),
            ids: 0,
            is_calm: false,
            instances: 0,
            goal: Goal::Read,
        }
    }

    pub(super) fn add_producer(&mut self, world: &mut World, records: usize) {
        let mut client = world.client();
        let producer = Producer::new(world, &mut client, records);
        self.add(client, Part::Producer(producer));
    }

    pub(super) fn add_consumer(&mut self, world: &mut World, kind: Kind) {
        let client = world.client();
        let consumer = Consumer::new(world, kind, client.owner(), Rc::clone(&self.book));
        self.add(client, Part::Consumer(consumer));
    }

    /// A transactional producer: the first of its id, or one that takes over.
    pub(super) fn add_writer(&mut self, world: &mut World, id: usize, transactions: u32) {
        self.ids = self.ids.max(id + 1);
        self.instances += 1;
        let mut client = world.client();
        let mut writer = Writer::new(world, &mut client, id, transactions, Rc::clone(&self.ledger));
        if self.is_calm {
            writer.calm_down();
        }
        self.add(client, Part::Writer(writer));
    }

    /// Another member joins: sometimes one with a name, which may be back after a crash.
    pub(super) fn add_member(&mut self, world: &mut World) {
        self.joined += 1;
        let taken: Vec<u64> = self.members().filter_map(|(_, consumer)| consumer.instance()).collect();
        let free: Vec<u64> = (1..=2).filter(|name| !taken.contains(name)).collect();
        let name = free.first().copied().filter(|_| world.random.below(3) == 0);
        if name.is_some() {
            world.meet("cast: a static member joins");
        }
        if let Some(way) = self.group {
            self.add_consumer(world, Kind::Member { instance: name, way });
        }
    }

    fn add(&mut self, client: SimClient, part: Part) {
        self.actors.push(Actor { client, part, is_touched: true, frozen: None });
    }

    pub(super) fn producers(&self) -> impl Iterator<Item = &Producer> {
        self.actors.iter().filter_map(|actor| match &actor.part {
            Part::Producer(producer) => Some(producer),
            Part::Consumer(_) | Part::Writer(_) => None,
        })
    }

    pub(super) fn consumers(&self) -> impl Iterator<Item = &Consumer> {
        self.members().map(|(_, consumer)| consumer)
    }

    fn members(&self) -> impl Iterator<Item = (usize, &Consumer)> {
        self.actors.iter().enumerate().filter_map(|(at, actor)| match &actor.part {
            Part::Consumer(consumer) => Some((at, consumer)),
            Part::Producer(_) | Part::Writer(_) => None,
        })
    }

    pub(super) fn writers(&self) -> impl Iterator<Item = (usize, &Writer)> {
        self.actors.iter().enumerate().filter_map(|(at, actor)| match &actor.part {
            Part::Writer(writer) => Some((at, writer)),
            Part::Producer(_) | Part::Consumer(_) => None,
        })
    }

    /// Something that a connection of a client brings. What comes for one who is gone is lost.
    pub(super) fn take_in(&mut self, owner: u64, wire: ConnectionId, incoming: Incoming) {
        if let Some(actor) = self.actors.iter_mut().find(|actor| actor.client.owner() == owner) {
            actor.client.take_in(wire, incoming);
            actor.is_touched = true;
        }
    }

    /// Lets everybody do what is due; whether anybody did something. Like tasks, they run when something came or
    /// their deadline has passed, and at no other time: a deadline that is not told is missed.
    pub(super) fn tick(&mut self, world: &mut World) -> bool {
        let mut has_run = false;
        for actor in &mut self.actors {
            has_run |= actor.tick(world);
        }
        if has_run && self.group.is_some() {
            self.check_owners(world);
        }
        self.bury(world);
        has_run
    }

    /// No partition is read by two members at once. One who stands still does not read.
    fn check_owners(&self, world: &World) {
        let mut owners: BTreeMap<TopicPartition, u64> = BTreeMap::new();
        for actor in self.actors.iter().filter(|actor| actor.frozen.is_none()) {
            let Part::Consumer(consumer) = &actor.part else { continue };
            for partition in consumer.reads() {
                let owner = actor.client.owner();
                let other = owners.insert(partition.clone(), owner);
                let at = world.elapsed();
                assert_eq!(other, None, "{partition} is read by {owner} as well at {at:?}");
            }
        }
    }

    pub(super) fn deadline(&self, now: Now) -> Option<Instant> {
        self.actors.iter().map(|actor| actor.deadline(now)).fold(None, earlier)
    }

    pub(super) fn is_settled(&self, world: &World) -> bool {
        let is_awake = self.actors.iter().all(|actor| actor.frozen.is_none());
        is_awake
            && match self.goal {
                Goal::Read => self.is_read(world),
                Goal::Closed => self.consumers().all(Consumer::is_closed),
            }
    }

    fn is_read(&self, world: &World) -> bool {
        if !self.producers().all(Producer::is_settled) {
            return false;
        }
        if self.ids > 0
            && !(self.writers().all(|(_, writer)| writer.is_settled()) && Ledger::is_at_rest(world))
        {
            return false;
        }
        let partitions = || (0..PARTITIONS as i32).map(|index| (index, Book::end(world, index)));
        let are_read = self.consumers().all(|consumer| {
            self.group.is_some()
                || partitions()
                    .all(|(index, end)| !consumer.chose(index) || consumer.position(index) == Some(end))
        });
        let are_committed = self.group.is_none()
            || partitions().all(|(index, end)| self.book.borrow().is_read_and_committed(world, index, end));
        are_read && are_committed
    }

    /// What a cast does of its own accord: members join, leave, stand still, crash and come back. Whether it did.
    pub(super) fn change(&mut self, world: &mut World) -> bool {
        if self.ids > 0 {
            return self.change_writers(world);
        }
        let consumers: Vec<usize> = self.members().map(|(at, _)| at).collect();
        let Some(at) = consumers.get(world.random.below(consumers.len() as u64) as usize).copied() else {
            return false;
        };
        match world.random.below(6) {
            0 | 1 if self.group.is_some() => self.join(world, consumers.len()),
            2 if self.group.is_some() => {
                let actor = &mut self.actors[at];
                let Part::Consumer(consumer) = &mut actor.part else { return false };
                consumer.close(world.now);
                actor.is_touched = true;
                world.meet("cast: a member closes");
                true
            }
            3 if self.group.is_some() => {
                self.crash(world, at);
                true
            }
            _ => {
                self.freeze(world, at);
                true
            }
        }
    }

    /// Likewise transactional producers: they stand still, crash, and another instance takes over. Whether they did.
    fn change_writers(&mut self, world: &mut World) -> bool {
        let writers: Vec<usize> = self.writers().map(|(at, _)| at).collect();
        let place = world.random.below(writers.len() as u64) as usize;
        match (world.random.below(8), writers.get(place).copied()) {
            (0 | 1, _) if self.instances < INSTANCES => {
                let id = world.random.below(self.ids as u64) as usize;
                world.meet("cast: another instance of a producer starts");
                self.add_writer(world, id, 20);
                true
            }
            (2, Some(at)) => {
                self.crash(world, at);
                true
            }
            (3, Some(at)) => {
                self.freeze(world, at);
                true
            }
            _ => false,
        }
    }

    fn freeze(&mut self, world: &mut World, at: usize) {
        let longest = if world.random.below(3) == 0 { 40_000 } else { 8_000 };
        let actor = &mut self.actors[at];
        actor.frozen = Some(world.now.instant + Duration::from_millis(world.random.below(longest)));
        world.meet("cast: a process stands still");
    }

    fn join(&mut self, world: &mut World, consumers: usize) -> bool {
        let may = consumers < MEMBERS && self.joined < JOINS;
        if may {
            world.meet("cast: a member joins");
            self.add_member(world);
        }
        may
    }

    /// The process ends without a word; its connections are closed by its system, or nobody is told.
    fn crash(&mut self, world: &mut World, at: usize) {
        let actor = self.actors.remove(at);
        let owner = actor.client.owner();
        let wires: Vec<ConnectionId> =
            world.network.in_use().filter(|(_, of)| *of == owner).map(|(wire, _)| wire).collect();
        let is_power_cut = world.random.below(2) == 0;
        world.meet(if is_power_cut { "cast: a machine loses power" } else { "cast: a process crashes" });
        for wire in wires {
            if is_power_cut {
                world.network.kill(wire);
            } else {
                world.break_wire(wire);
            }
        }
        if let Part::Consumer(consumer) = actor.part {
            consumer.end();
        }
    }

    /// Lets the group have at least one member, and every user take what comes.
    pub(super) fn heal(&mut self, world: &mut World) {
        if self.group.is_some() && !self.consumers().any(|consumer| !consumer.is_closing()) {
            self.add_member(world);
        }
        // Of some ids nobody comes back: their transactions are their coordinators' business.
        for id in 0..self.ids {
            if world.random.below(2) == 0 && !self.writers().any(|(_, writer)| writer.id() == id) {
                self.add_writer(world, id, 3);
            }
        }
        self.is_calm = true;
        for actor in &mut self.actors {
            match &mut actor.part {
                Part::Consumer(consumer) => consumer.calm_down(),
                Part::Writer(writer) => writer.calm_down(),
                Part::Producer(_) => continue,
            }
            actor.is_touched = true;
        }
    }

    /// Closes every consumer.
    pub(super) fn close(&mut self, world: &World) {
        self.goal = Goal::Closed;
        for actor in &mut self.actors {
            if let Part::Consumer(consumer) = &mut actor.part {
                consumer.close(world.now);
                actor.is_touched = true;
            }
        }
    }

    /// Removes the consumers that are closed, and the producers that are at their end: others come in their place.
    fn bury(&mut self, world: &mut World) {
        let is_gone = |actor: &Actor| match &actor.part {
            Part::Consumer(consumer) => consumer.is_closed(),
            Part::Writer(writer) => writer.is_over(),
            Part::Producer(_) => false,
        };
        while let Some(at) = self.actors.iter().position(is_gone) {
            let actor = self.actors.remove(at);
            let owner = actor.client.owner();
            let wires: Vec<ConnectionId> =
                world.network.in_use().filter(|(_, of)| *of == owner).map(|(wire, _)| wire).collect();
            for wire in wires {
                world.network.leave(world.now.instant, wire, &mut world.random);
            }
            match actor.part {
                Part::Consumer(consumer) => {
                    world.meet("cast: a consumer has closed");
                    consumer.end();
                }
                Part::Writer(writer) => {
                    world.meet("cast: a producer has come to its end");
                    writer.judge();
                    self.replace(world, &writer);
                }
                Part::Producer(_) => {}
            }
        }
    }

    /// Somebody does what a producer has left over, unless there is another one of its id.
    fn replace(&mut self, world: &mut World, gone: &Writer) {
        let is_used = self.writers().any(|(_, writer)| writer.id() == gone.id());
        if !is_used && self.instances < INSTANCES {
            self.add_writer(world, gone.id(), gone.left());
        }
    }
}

impl Actor {
    /// Whether it did something.
    fn tick(&mut self, world: &mut World) -> bool {
        let now = world.now;
        if self.frozen.is_some_and(|until| until > now.instant) {
            return false;
        }
        if self.frozen.take().is_some() {
            self.client.overslept(now);
            match &mut self.part {
                Part::Consumer(consumer) => consumer.overslept(now),
                Part::Writer(writer) => writer.overslept(now),
                Part::Producer(_) => {}
            }
            self.is_touched = true;
        }
        let is_due = self.part_deadline().is_some_and(|at| at <= now.instant);
        if !self.is_touched && !is_due {
            return false;
        }
        self.is_touched = false;
        loop {
            world.tick_client(&mut self.client);
            let mut met: Vec<String> = Vec::new();
            match &mut self.part {
                Part::Producer(producer) => producer.tick(now, &mut self.client, &mut met),
                Part::Consumer(consumer) => consumer.tick(now, &mut self.client, &mut met),
                Part::Writer(writer) => writer.tick(now, &mut self.client, &mut met),
            }
            met.iter().for_each(|path| world.meet(path));
            world.tick_client(&mut self.client);
            if !self.client.has_news() {
                break;
            }
        }
        let late = self.part_deadline().filter(|at| *at <= now.instant);
        assert_eq!(late, None, "a deadline stays in the past: its driver would spin ({:?})", self.part);
        true
    }

    fn part_deadline(&self) -> Option<Instant> {
        let part = match &self.part {
            Part::Producer(producer) => producer.deadline(),
            Part::Consumer(consumer) => consumer.deadline(),
            Part::Writer(writer) => writer.deadline(),
        };
        earlier(self.client.deadline(), part)
    }

    fn deadline(&self, now: Now) -> Option<Instant> {
        let touched = self.is_touched.then_some(now.instant);
        self.frozen.or(touched).or_else(|| self.part_deadline())
    }
}
