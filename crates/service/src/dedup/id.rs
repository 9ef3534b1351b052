//! What tells whether two records are the same.

use milena::Message;

use crate::{delivery::Delivery, failure::BoxError, headers};

/// The longest id that is taken from a record, in bytes: ids are kept by the million.
const MAX_ID: usize = 1_024;

/// The id of a record, for one handler: a JSON array, in which no part can pass for another.
///
/// The record's own id is what `chosen` gives, or `ce_source` and `ce_id`: by CloudEvents, ids are unique to their
/// source. Without one it is the record's place.
pub(super) fn of(delivery: &Delivery, record: &Message, chosen: Option<String>) -> Result<String, BoxError> {
    let (group, handler) = (delivery.group(), delivery.handler());
    let id = match &chosen {
        Some(id) => Some(("", &**id)),
        None => text(record, "ce_id").map(|id| (text(record, "ce_source").unwrap_or(""), id)),
    };
    let Some((source, id)) = id else {
        let (topic, partition, offset) = (record.topic().as_str(), record.partition().0, record.offset().0);
        return Ok(serde_json::to_string(&(group, handler, topic, partition, offset))?);
    };
    let length = source.len() + id.len();
    if length > MAX_ID {
        return Err(format!(
            "the id of the event, with its source, has {length} bytes; the limit is {MAX_ID}"
        )
        .into());
    }
    Ok(serde_json::to_string(&(group, handler, source, id))?)
}

/// A header that is text and not empty.
fn text<'a>(record: &'a Message, name: &str) -> Option<&'a str> {
    headers::text(record, name).filter(|text| !text.is_empty())
}
