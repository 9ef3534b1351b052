//! What tells whether two records are the same.

use milena::Message;

use crate::{delivery::Delivery, failure::BoxError, identity::Identity};

/// The longest id that is taken from a record, in bytes: ids are kept by the million.
const MAX_ID: usize = 1_024;

/// The id of a record, for one handler: of what `chosen` gives, or of the record itself.
pub(super) fn of(delivery: &Delivery, record: &Message, chosen: Option<String>) -> Result<String, BoxError> {
    let identity = chosen.map_or_else(|| Identity::of(record), Identity::chosen);
    let length = identity.len();
    if length > MAX_ID {
        return Err(format!(
            "the id of the event, with its source, has {length} bytes; the limit is {MAX_ID}"
        )
        .into());
    }
    identity.for_handler(delivery.group(), delivery.handler())
}
