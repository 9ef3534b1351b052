//! Headers by their names, and as text.

use milena::Message;

/// Attributes of CloudEvents in binary mode that are looked for by themselves.
pub(crate) const ID: &str = "ce_id";
pub(crate) const CORRELATION_ID: &str = "ce_correlationid";
pub(crate) const CAUSATION_ID: &str = "ce_causationid";

/// The value of the last header of this name; `None` also for null, and for what is not UTF-8.
pub(crate) fn text<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    std::str::from_utf8(message.headers().last_named(name).flatten()?).ok()
}
