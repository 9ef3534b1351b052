//! Streams of single partitions: who has the records of which.

use super::{shared::Hand, state::State, types::Stay};
use crate::{sync::lock, types::TopicPartition};

impl State {
    /// Whether nothing of this stay will be handed out any more.
    pub(super) fn is_over(&self, stay: Stay) -> bool {
        self.closed || self.slots.get(stay.at).is_none_or(|slot| slot.stay != stay.number || slot.is_given_up)
    }

    /// Takes out those who wait for records of single partitions, where there may be some.
    pub(super) fn release_streams(&mut self) {
        let is_for_all = self.blocked.is_some() || self.closed;
        if is_for_all {
            let waiters = self.slots.iter_mut().flat_map(|slot| slot.waiters.drain(..));
            return self.released.extend(waiters);
        }
        for item in &self.queue {
            if let Some(slot) = self.slots.get_mut(item.slot) {
                self.released.append(&mut slot.waiters);
            }
        }
    }
}

impl Hand {
    /// From now on the records of a partition go to its streams alone, of which there is one more. `None` if it is not
    /// assigned.
    pub(crate) fn open_stream(&self, partition: &TopicPartition) -> Option<Stay> {
        let mut state = lock(&self.state);
        let at = *state.places.get(partition)?;
        let slot = state.slots.get_mut(at).filter(|slot| !slot.is_given_up)?;
        slot.streams += 1;
        let stay = Stay { at, number: slot.stay };
        state.streams += 1;
        Some(stay)
    }

    /// The stream is there no more; without any, the partition's records go to all calls again.
    pub(crate) fn close_stream(&self, stay: Stay) {
        self.change(|state, _| {
            let slot =
                state.slots.get_mut(stay.at).filter(|slot| slot.stay == stay.number && slot.streams > 0);
            if let Some(slot) = slot {
                slot.streams -= 1;
                state.streams -= 1;
            }
        });
    }
}
