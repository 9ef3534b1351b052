//! What events say of the record that has led to them.

use std::{borrow::Cow, collections::HashMap};

use milena::Message;
use uuid::Uuid;

use super::{Attributes, CAUSATION_ID, CORRELATION_ID, ID};
use crate::{delivery::Place, identity::Identity, outgoing::Outgoing};

/// In which ids follow from what they are made of. It tells them from those that others make by the same rules.
const NAMESPACE: Uuid = Uuid::from_u128(0x0f6c_97d2_5b0e_4c33_9d3a_6e41_c8a7_2b95);

/// Says of the events among what a handler publishes that `cause` led to them: its id becomes their `ce_causationid`,
/// its correlation id (or, if it is the first of all, its id) their `ce_correlationid`, unless they say something
/// else.
pub(crate) fn caused_by(published: &mut [Outgoing], cause: &Message) {
    if !published.iter().any(|outgoing| outgoing.header_named(ID).is_some()) {
        return;
    }
    // A handler may take what cannot be read as an event for something else: then there is nothing to say.
    let Ok(attributes) = Attributes::of(cause) else { return };
    let causation = attributes.id;
    let correlation = attributes.correlation_id.or_else(|| causation.clone());
    for outgoing in published.iter_mut().filter(|outgoing| outgoing.header_named(ID).is_some()) {
        for (name, value) in [(CORRELATION_ID, &correlation), (CAUSATION_ID, &causation)] {
            if let (Some(value), None) = (value, outgoing.header_named(name)) {
                outgoing.add_header(Cow::Borrowed(name), Some(value.clone().into_owned().into()));
            }
        }
    }
}

/// Makes anew the ids that nobody has chosen: of the record that was handled, the topic, type and key of the event, and
/// how many such there are in front of it. So a record that is handled again, because nobody knows any more that it was,
/// leads to events of the same ids.
pub(crate) fn name_after(published: &mut [Outgoing], cause: &Message, place: &Place) {
    if !published.iter().any(Outgoing::has_fresh_id) {
        return;
    }
    let Ok(cause) = Identity::of(cause).for_handler(&place.group, &place.handler) else { return };
    let mut alike: HashMap<Vec<u8>, u32> = HashMap::new();
    for outgoing in published.iter_mut().filter(|outgoing| outgoing.has_fresh_id()) {
        let event_type = outgoing.header_named("ce_type").flatten();
        let parts = (&cause, outgoing.topic().as_str(), event_type, outgoing.key_bytes());
        let Ok(mut name) = serde_json::to_vec(&parts) else { continue };
        let before = alike.entry(name.clone()).or_default();
        name.extend(before.to_be_bytes());
        *before += 1;
        outgoing.set_fresh_id(Uuid::new_v5(&NAMESPACE, &name).to_string());
    }
}
