//! Decides which broker is asked for what.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::{
    Fetcher,
    cursor::{Cursor, State},
    node::{InFlight, Node, Standing},
    request::Builder,
    types::Event,
};
use crate::{
    engine::machine::{Call, Now, Outbox, Purpose, Target, deadline_after, earlier},
    types::NodeId,
};

/// The newest version that names topics; later ones know their ids only.
const BY_NAME: i16 = 12;
/// How long a broker may wait for data while a partition that is left out may soon have to be fetched.
const SHORT_WAIT: Duration = Duration::from_millis(20);
/// How long the look-up of a position counts as about to end.
const POSITIONING: Duration = Duration::from_secs(1);

impl Fetcher {
    /// Sends a fetch to every broker that has none in flight.
    pub(crate) fn tick(&mut self, now: Now, out: &mut Outbox<Event>) {
        self.buffered.watch();
        let count = self.nodes.values().filter(|node| !node.order.is_empty()).count();
        let share = self.buffered.limit() / count.max(1);
        let mut waits_for_room = false;
        self.return_to_leaders(now);
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            let Some(mut node) = self.nodes.remove(&id) else { continue };
            if node.in_flight.is_none() && node.not_before.is_none_or(|at| at <= now.instant) {
                node.not_before = None;
                waits_for_room |= self.plan(now, id, &mut node, share, out);
            }
            if !node.order.is_empty() || node.in_flight.is_some() {
                self.nodes.insert(id, node);
            }
        }
        if !waits_for_room {
            self.buffered.unwatch();
        }
    }

    /// Asks one broker for its partitions; whether something was left out until there is room for it.
    fn plan(&mut self, now: Now, id: NodeId, node: &mut Node, share: usize, out: &mut Outbox<Event>) -> bool {
        let standing = node.standing.take().filter(|standing| self.stands(node, standing));
        let Tidied { buffered, paused, by_id } = match standing {
            Some(_) => Tidied { buffered: 0, paused: 0, by_id: true },
            None => self.tidy(id, node),
        };
        node.retry_at = None;
        let free = self.buffered.limit().saturating_sub(self.buffered.used().saturating_add(self.reserved));
        let mut room = free.min(share.saturating_sub(buffered)).min(self.settings.max_bytes);
        let least = self.settings.partition_max_bytes.min(share / 4).max(1);
        if room < least {
            if buffered > paused || !self.has_room_beside_paused(least) {
                return true;
            }
            // What is paused may stay for ever; the others go on, a little at a time.
            room = least;
        }
        let token = self.tokens.next();
        let partition_share = (share / node.order.len().max(1)).max(1);
        let mut request = match standing {
            Some(_) => Builder::again(&self.settings, &mut node.session),
            None => Builder::new(&self.settings, &mut node.session, by_id),
        };
        let order = standing.map_or(token, |standing| standing.order);
        let mut wait = self.settings.max_wait;
        let mut waits_for_room = false;
        let partitions = if standing.is_some() { [].as_slice() } else { &node.order };
        for partition in partitions {
            let Some(cursor) = self.cursors.visit(partition) else { continue };
            let offset = match cursor.state {
                State::Fetching(offset) if !cursor.paused => offset,
                State::Positioning(since) if now.instant < since + POSITIONING => {
                    wait = wait.min(SHORT_WAIT);
                    continue;
                }
                _ => continue,
            };
            if let Some(at) = cursor.not_before.filter(|at| *at > now.instant) {
                wait = wait.min(at - now.instant);
                node.retry_at = earlier(node.retry_at, Some(at));
                continue;
            }
            if cursor.buffered() >= partition_share {
                wait = wait.min(SHORT_WAIT);
                waits_for_room = true;
                continue;
            }
            cursor.asked = Some((order, offset));
            request.add(partition, cursor, offset);
        }
        if request.is_empty() {
            return waits_for_room;
        }
        // A shorter wait is for something that was left out.
        let is_whole = wait == self.settings.max_wait && node.retry_at.is_none() && !waits_for_room;
        if is_whole && request.is_even() {
            node.standing = Some(Standing { order, changes: self.cursors.changes() });
        }
        let request = request.build(room, i32::try_from(wait.as_millis()).unwrap_or(i32::MAX));
        self.reserved = self.reserved.saturating_add(room);
        let patience = deadline_after(now, wait / 2);
        node.in_flight = Some(InFlight { token, order, reserved: room, patience });
        out.calls.push(Call {
            token,
            target: Target::Broker(id),
            purpose: Purpose::FETCH,
            request: request.into(),
            deadline: deadline_after(now, wait.saturating_add(self.settings.request_timeout)),
            max_version: (!by_id).then_some(BY_NAME),
        });
        waits_for_room
    }

    /// Whether the last request is to be made once more: nothing has changed, and the broker remembers it.
    fn stands(&self, node: &Node, standing: &Standing) -> bool {
        let is_unchanged = standing.changes == self.cursors.changes() && self.buffered.used() == 0;
        is_unchanged && node.session.is_incremental()
    }

    /// Whether there would be room for so much more if nothing were kept for paused partitions.
    fn has_room_beside_paused(&self, bytes: usize) -> bool {
        let paused = self.cursors.values().filter(|cursor| cursor.paused).map(Cursor::buffered).sum();
        let used = self.buffered.used().saturating_add(self.reserved).saturating_sub(paused);
        used.saturating_add(bytes) <= self.buffered.limit()
    }

    /// Where another replica was asked for long enough, the leader may know a better one by now. What is under way is
    /// waited for.
    fn return_to_leaders(&mut self, now: Now) {
        if self.replicas_until.is_none_or(|until| until > now.instant) {
            return;
        }
        let (mut until, mut over) = (None, Vec::new());
        for (partition, cursor) in self.cursors.iter() {
            let Some(replica) = cursor.replica else { continue };
            let is_asked = self.nodes.get(&replica.node).is_some_and(|node| node.in_flight.is_some());
            if replica.until > now.instant || is_asked {
                until = earlier(until, Some(replica.until));
            } else {
                over.push(partition.clone());
            }
        }
        self.replicas_until = until;
        over.sort_unstable();
        over.iter().for_each(|partition| self.redirect(partition, None));
    }

    /// Drops from a broker's list what it is not to be asked for any more.
    fn tidy(&mut self, id: NodeId, node: &mut Node) -> Tidied {
        self.passes = self.passes.wrapping_add(1);
        let (cursors, pass) = (&mut self.cursors, self.passes);
        let mut tidied = Tidied { buffered: 0, paused: 0, by_id: true };
        node.order.retain(|partition| {
            let Some(cursor) = cursors.visit(partition) else { return false };
            let is_first = mem::replace(&mut cursor.seen, pass) != pass;
            let is_asked = is_first && cursor.node() == Some(id);
            let Some(leader) = cursor.leader.filter(|_| is_asked) else { return false };
            tidied.buffered = tidied.buffered.saturating_add(cursor.buffered());
            tidied.paused = tidied.paused.saturating_add(if cursor.paused { cursor.buffered() } else { 0 });
            tidied.by_id &= !leader.topic_id.is_zero();
            true
        });
        tidied
    }

    /// When a broker that was given a rest, or a partition that was left out, is to be asked.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let idle = self.nodes.values().filter(|node| node.in_flight.is_none());
        idle.map(|node| node.not_before.or(node.retry_at)).fold(None, earlier)
    }
}

/// The partitions of one broker.
struct Tidied {
    /// The bytes that wait to be handed out, and how many of them are of paused partitions.
    buffered: usize,
    paused: usize,
    /// Whether all their topics have ids.
    by_id: bool,
}
