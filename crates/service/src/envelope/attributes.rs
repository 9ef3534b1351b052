//! The attributes of CloudEvents, as they stand in a record.

use std::{borrow::Cow, collections::BTreeMap};

use milena::Message;
use serde_json::{Value, value::RawValue};

use super::base64;
use crate::{failure::BoxError, undecodable::Undecodable};

/// What says that a record is in structured mode, whatever comes behind it.
const STRUCTURED: &[u8] = b"application/cloudevents";

/// The attributes that a record has, of which none is needed to decode an event: who does not know CloudEvents writes
/// none. Names that are not listed here are passed over.
#[derive(Debug, Default)]
pub(crate) struct Attributes<'a> {
    /// Whether they stand in the value.
    structured: bool,
    pub(crate) spec_version: Option<Cow<'a, str>>,
    pub(crate) id: Option<Cow<'a, str>>,
    pub(crate) event_type: Option<Cow<'a, str>>,
    pub(crate) source: Option<Cow<'a, str>>,
    pub(crate) time: Option<Cow<'a, str>>,
    pub(crate) data_version: Option<Cow<'a, str>>,
    pub(crate) correlation_id: Option<Cow<'a, str>>,
    pub(crate) causation_id: Option<Cow<'a, str>>,
    pub(crate) content_type: Option<Cow<'a, str>>,
    pub(crate) data: Data<'a>,
}

/// The data of an event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Data<'a> {
    /// The record has no value, in binary mode: it deletes its key.
    #[default]
    Tombstone,
    /// An envelope in structured mode without data, which deletes nothing.
    Missing,
    Bytes(Cow<'a, [u8]>),
}

/// A record that should be a CloudEvent and is none, for this reason.
pub(crate) fn broken(reason: impl Into<BoxError>) -> Undecodable {
    Undecodable::Envelope(reason.into())
}

impl<'a> Attributes<'a> {
    /// Reads those of a record, in binary or structured mode.
    pub(crate) fn of(message: &'a Message) -> Result<Self, Undecodable> {
        let content_type = message.headers().last_named("content-type").flatten();
        let attributes = match content_type.and_then(format_of) {
            Some(format) => Self::structured(format, message.value())?,
            None => Self::binary(message)?,
        };
        match &attributes.spec_version {
            Some(version) if !version.starts_with("1.") => {
                Err(broken(format!("its specversion is {version:?}; what is read is 1.0")))
            }
            _ => Ok(attributes),
        }
    }

    fn binary(message: &'a Message) -> Result<Self, Undecodable> {
        let mut attributes = Self::default();
        for (header, value) in message.headers() {
            let name = match header {
                "content-type" => "datacontenttype",
                _ => header.strip_prefix("ce_").unwrap_or_default(),
            };
            let Some(attribute) = attributes.named(name) else { continue };
            let text = value.map(std::str::from_utf8).transpose();
            *attribute = text.map_err(|_| broken(format!("its {header} is not UTF-8")))?.map(Cow::Borrowed);
        }
        if let Some(value) = message.value() {
            attributes.data = Data::Bytes(Cow::Borrowed(value));
        }
        Ok(attributes)
    }

    fn structured(format: &[u8], value: Option<&'a [u8]>) -> Result<Self, Undecodable> {
        if !matches!(format, b"" | b"+json") {
            let format = String::from_utf8_lossy(format).into_owned();
            return Err(broken(format!(
                "it is in structured mode as application/cloudevents{format}; what is read is +json"
            )));
        }
        let value = value.ok_or_else(|| broken("it is in structured mode and has no value"))?;
        // The data stays as it is written, to be read by its codec.
        let mut members: BTreeMap<Cow<'a, str>, &'a RawValue> =
            serde_json::from_slice(value).map_err(broken)?;
        let (data, base64) = (members.remove("data"), members.remove("data_base64"));
        let mut attributes = Self { structured: true, ..Self::default() };
        for (name, value) in members {
            let Some(attribute) = attributes.named(&name) else { continue };
            *attribute = match serde_json::from_str(value.get()).map_err(broken)? {
                Value::String(text) => Some(Cow::Owned(text)),
                Value::Number(number) => Some(Cow::Owned(number.to_string())),
                Value::Bool(yes) => Some(Cow::Owned(yes.to_string())),
                Value::Null => None,
                Value::Array(_) | Value::Object(_) => return Err(broken(format!("its {name} is no text"))),
            };
        }
        attributes.data = match (data, base64) {
            (Some(_), Some(_)) => return Err(broken("it has both data and data_base64")),
            (Some(data), None) => Data::Bytes(data_of(data, attributes.content_type.as_deref())),
            (None, Some(base64)) => {
                let text: Cow<'_, str> = serde_json::from_str(base64.get()).map_err(broken)?;
                let bytes = base64::decode(&text).ok_or_else(|| broken("its data_base64 is not base64"))?;
                Data::Bytes(Cow::Owned(bytes))
            }
            (None, None) => Data::Missing,
        };
        Ok(attributes)
    }

    fn named(&mut self, name: &str) -> Option<&mut Option<Cow<'a, str>>> {
        Some(match name {
            "specversion" => &mut self.spec_version,
            "id" => &mut self.id,
            "type" => &mut self.event_type,
            "source" => &mut self.source,
            "time" => &mut self.time,
            "dataversion" => &mut self.data_version,
            "correlationid" => &mut self.correlation_id,
            "causationid" => &mut self.causation_id,
            "datacontenttype" => &mut self.content_type,
            _ => return None,
        })
    }

    /// Whether the record says that it is a CloudEvent.
    pub(crate) fn claim_to_be_an_event(&self) -> bool {
        let Self { structured, spec_version, id, event_type, source, .. } = self;
        *structured || [spec_version, id, event_type, source].iter().any(|given| given.is_some())
    }

    /// The version of the data, if it is told.
    pub(crate) fn version(&self) -> Result<Option<u32>, Undecodable> {
        let parse = |text: &Cow<'_, str>| match text.parse() {
            Ok(0) | Err(_) => Err(broken(format!("its dataversion is {text:?}, and no number from 1 on"))),
            Ok(version) => Ok(version),
        };
        self.data_version.as_ref().map(parse).transpose()
    }
}

/// The event format of structured mode in lower case, such as `+json`, without parameters; `None` in binary mode.
fn format_of(content_type: &[u8]) -> Option<&[u8]> {
    let (start, format) = content_type.split_at_checked(STRUCTURED.len())?;
    let end = format.iter().position(|byte| *byte == b';').unwrap_or(format.len());
    let format = format.get(..end)?.trim_ascii();
    let format = if format.eq_ignore_ascii_case(b"+json") { b"+json" } else { format };
    start.eq_ignore_ascii_case(STRUCTURED).then_some(format)
}

/// Data of the media type JSON, which is the default, is what is written; text of another one is what the text says.
fn data_of<'a>(data: &'a RawValue, content_type: Option<&str>) -> Cow<'a, [u8]> {
    let written = data.get();
    match serde_json::from_str::<String>(written) {
        Ok(text) if !content_type.is_none_or(is_json) => Cow::Owned(text.into_bytes()),
        _ => Cow::Borrowed(written.as_bytes()),
    }
}

/// Whether a media type is that of JSON, or of a format written in JSON.
pub(crate) fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.split_once('/').is_some_and(|(_, subtype)| subtype == "json" || subtype.ends_with("+json"))
}
