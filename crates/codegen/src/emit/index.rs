use std::fmt::Write;

use super::HEADER;
use crate::schema::{Message, Versions, snake_case};

/// One API: its messages, and the versions of it that a client may use.
pub(crate) struct Api<'a> {
    pub(crate) request: &'a Message,
    pub(crate) response: &'a Message,
    pub(crate) versions: Versions,
}

/// The source of `messages.rs`: the modules, and the table of APIs.
pub(crate) fn index(messages: &[&Message], apis: &[Api<'_>]) -> Result<String, String> {
    let fail = |e: std::fmt::Error| e.to_string();
    let mut out = String::from(HEADER);
    out.push_str(
        "//! Kafka's messages, one module for each schema.

#![allow(dead_code, reason = \"messages have every field of the protocol, also those that nobody uses yet\")]
#![allow(unused_imports, reason = \"a message that only the broker's side names is still exported\")]
#![allow(clippy::field_reassign_with_default, reason = \"decoders fill a default, field by field, by version\")]
#![allow(clippy::too_many_lines, reason = \"a decoder is as long as its schema\")]

",
    );
    let mut sorted: Vec<&&Message> = messages.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    for message in &sorted {
        writeln!(out, "pub(crate) mod {};", snake_case(&message.name)).map_err(fail)?;
    }
    out.push('\n');
    for message in &sorted {
        writeln!(out, "pub(crate) use {}::{};", snake_case(&message.name), message.name).map_err(fail)?;
    }
    out.push_str(
        "
/// Calls a macro with a line for each API: its name and key, its messages, the versions of it that we use, and the first
/// flexible version of the request and of the response.
macro_rules! for_each_api {
    ($callback:ident) => {
        $callback! {
",
    );
    for api in apis {
        let (Some(key), Versions { min, max }) = (api.request.api_key, api.versions) else {
            return Err(format!("{}: no API key", api.request.name));
        };
        writeln!(
            out,
            "            {} = {key}: {} {}, versions {min} to {max}, flexible {}, {};",
            api.request.api(),
            api.request.name,
            api.response.name,
            first_flexible(api.request),
            first_flexible(api.response),
        )
        .map_err(fail)?;
    }
    out.push_str("        }\n    };\n}\npub(crate) use for_each_api;\n");
    Ok(out)
}

/// One beyond all versions where none is flexible.
fn first_flexible(message: &Message) -> String {
    if message.flexible.is_empty() { "i16::MAX".to_owned() } else { message.flexible.min.to_string() }
}
