//! Headers as text.

use milena::Message;

/// The value of the last header of this name; `None` also for null, and for what is not UTF-8.
pub(crate) fn text<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    std::str::from_utf8(message.headers().last_named(name).flatten()?).ok()
}
