//! Types whose values are events, and how they are written.

use std::{
    error::Error,
    fmt::{self, Display},
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{failure::BoxError, newer::NewerVersion, undecodable::Undecodable};

/// A type whose values are events: what happened, as one service tells others. It has a name that all of them know and
/// a version that grows with its form.
///
/// The derive macro of the same name writes this; by hand it is
///
/// ```
/// use bytes::Bytes;
/// use milena_service::{Event, JsonCodec, UpcastError};
/// use serde::{Deserialize, Serialize};
/// use serde_json::Value;
///
/// #[derive(Serialize, Deserialize)]
/// struct UserCreated {
///     user_id: u64,
///     locale: String,
/// }
///
/// impl Event for UserCreated {
///     const TYPE: &'static str = "user.created";
///     const VERSION: u32 = 2;
///     const SOURCE: &'static str = "/users";
///     type Codec = JsonCodec;
///
///     fn key(&self) -> Option<Bytes> {
///         Some(self.user_id.to_string().into())
///     }
///
///     fn upcast(from: u32, mut value: Value) -> Result<Value, UpcastError> {
///         match from {
///             1 => {
///                 let fields = value.as_object_mut().ok_or_else(|| UpcastError::new("not an object"))?;
///                 fields.insert("locale".to_owned(), "en".into());
///                 Ok(value)
///             }
///             _ => Err(UpcastError::missing(from)),
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    note = "derive it: `#[derive(Event)] #[event(type = \"…\")]`"
)]
pub trait Event: Sized + Send + 'static {
    /// The type in CloudEvents (`ce_type`), not empty: it says what the event is, wherever it is published, and stays
    /// when the Rust type is renamed.
    const TYPE: &'static str;

    /// The version of the data, from 1 on (`ce_dataversion`). It is raised with every change after which a reader of
    /// the former version would not understand the data; [`upcast`](Self::upcast) then brings older data up to it.
    const VERSION: u32 = 1;

    /// The source in CloudEvents (`ce_source`): a URI reference, not empty, that says in which context events of this
    /// type happen, such as `/users`.
    const SOURCE: &'static str = "/";

    /// How the data is written and read.
    type Codec: Codec<Self>;

    /// The key of the record, if it has one. Events with the same key keep their order.
    fn key(&self) -> Option<Bytes> {
        None
    }

    /// Brings data of version `from` up to version `from + 1`. [`JsonCodec`] calls it once for each version in between.
    /// `value` came from a broker and can be anything: indexing what is no object panics.
    ///
    /// # Errors
    /// There is no way from this version; the default knows none at all. Or the value is not what the version says.
    fn upcast(from: u32, value: Value) -> Result<Value, UpcastError> {
        drop(value);
        Err(UpcastError::missing(from))
    }
}

/// Why data of an older version could not be brought up to the next one. Every error becomes one with `?`; it is none
/// itself.
#[derive(Debug)]
pub struct UpcastError(BoxError);

impl UpcastError {
    /// For this reason.
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }

    /// There is no way from this version to the next one.
    #[must_use]
    pub fn missing(from: u32) -> Self {
        Self(format!("there is no upcaster from version {from}").into())
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for UpcastError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl Display for UpcastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the functions that `#[event(upcast(…))]` names may return.
#[doc(hidden)]
pub trait IntoUpcast {
    /// The value of the next version.
    ///
    /// # Errors
    /// Why there is none.
    fn into_upcast(self) -> Result<Value, UpcastError>;
}

impl IntoUpcast for Value {
    fn into_upcast(self) -> Result<Value, UpcastError> {
        Ok(self)
    }
}

impl<E: Into<UpcastError>> IntoUpcast for Result<Value, E> {
    fn into_upcast(self) -> Result<Value, UpcastError> {
        self.map_err(Into::into)
    }
}

/// The key that `#[event(key = …)]` makes of a field.
#[doc(hidden)]
pub fn key_of(field: &(impl Display + ?Sized)) -> Option<Bytes> {
    Some(field.to_string().into())
}

/// How events are written as bytes and read from them. [`JsonCodec`] is one; for another format a type, most often one
/// without values, implements this.
///
/// ```
/// use milena_service::{Codec, CodecError, Event};
///
/// struct Tick(u64);
///
/// struct Text;
///
/// impl Codec<Tick> for Text {
///     const CONTENT_TYPE: &'static str = "text/plain";
///
///     fn encode(tick: &Tick) -> Result<Vec<u8>, CodecError> {
///         Ok(tick.0.to_string().into_bytes())
///     }
///
///     fn decode(_version: u32, bytes: &[u8]) -> Result<Tick, CodecError> {
///         Ok(Tick(std::str::from_utf8(bytes)?.parse()?))
///     }
/// }
///
/// impl Event for Tick {
///     const TYPE: &'static str = "tick";
///     type Codec = Text;
/// }
/// ```
pub trait Codec<E> {
    /// The media type, for the header `content-type`.
    const CONTENT_TYPE: &'static str;

    /// Writes an event in its current version.
    ///
    /// # Errors
    /// The format has no form for it.
    fn encode(event: &E) -> Result<Vec<u8>, CodecError>;

    /// Reads an event from data of `version`, which is the current one or an older one: what is newer is given to no
    /// codec.
    ///
    /// # Errors
    /// The bytes are something else, or of a version that cannot be read any more.
    fn decode(version: u32, bytes: &[u8]) -> Result<E, CodecError>;
}

/// Why a [codec](Codec) could not write or read an event. Every error becomes one with `?`; it is none itself.
#[derive(Debug)]
pub struct CodecError {
    /// Which upcaster failed, if one did.
    from: Option<u32>,
    error: BoxError,
}

impl CodecError {
    /// For this reason.
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self { from: None, error: error.into() }
    }

    /// The step up from version `from` failed.
    #[must_use]
    pub fn upcast(from: u32, error: UpcastError) -> Self {
        Self { from: Some(from), error: error.0 }
    }

    /// The reason.
    #[must_use]
    pub fn into_inner(self) -> BoxError {
        self.error
    }

    /// The same said of a record.
    pub(crate) fn undecodable<E: Event>(self, version: u32) -> Undecodable {
        let (event_type, error) = (E::TYPE, self.error);
        match self.from {
            Some(from) => Undecodable::Upcast { event_type, from, error },
            None => Undecodable::Data { event_type, version, error },
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for CodecError {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

impl Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(from) = self.from {
            write!(f, "the step up from version {from} failed: ")?;
        }
        self.error.fmt(f)
    }
}

/// Events as JSON, by serde. Data of older versions is brought up to the current one by [`Event::upcast`], version by
/// version.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonCodec(());

impl<E: Event + Serialize + DeserializeOwned> Codec<E> for JsonCodec {
    const CONTENT_TYPE: &'static str = "application/json";

    fn encode(event: &E) -> Result<Vec<u8>, CodecError> {
        Ok(serde_json::to_vec(event)?)
    }

    fn decode(version: u32, bytes: &[u8]) -> Result<E, CodecError> {
        if version == E::VERSION {
            return Ok(serde_json::from_slice(bytes)?);
        }
        if version > E::VERSION {
            let newer = NewerVersion { event_type: E::TYPE, found: version, known: E::VERSION };
            return Err(CodecError::new(newer));
        }
        let mut value = serde_json::from_slice(bytes)?;
        for from in version..E::VERSION {
            value = E::upcast(from, value).map_err(|error| CodecError::upcast(from, error))?;
        }
        Ok(serde_json::from_value(value)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Renamed {
        first: String,
        last: String,
    }

    /// Version 1 was a text, version 2 an object with one name.
    impl Event for Renamed {
        const TYPE: &'static str = "user.renamed";
        const VERSION: u32 = 3;
        type Codec = JsonCodec;

        fn upcast(from: u32, value: Value) -> Result<Value, UpcastError> {
            match from {
                1 => Ok(json!({ "name": value })),
                2 => {
                    let name = value.get("name").and_then(Value::as_str);
                    let name = name.ok_or_else(|| UpcastError::new("no name"))?;
                    let (first, last) = name.split_once(' ').ok_or_else(|| UpcastError::new("no space"))?;
                    Ok(json!({ "first": first, "last": last }))
                }
                _ => Err(UpcastError::missing(from)),
            }
        }
    }

    fn decode(version: u32, text: &str) -> Result<Renamed, String> {
        JsonCodec::decode(version, text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn older_versions_are_brought_up_step_by_step() {
        let renamed = Renamed { first: "Ada".to_owned(), last: "King".to_owned() };
        assert_eq!(decode(1, r#""Ada King""#).as_ref(), Ok(&renamed));
        assert_eq!(decode(2, r#"{"name":"Ada King"}"#).as_ref(), Ok(&renamed));
        assert_eq!(decode(3, r#"{"first":"Ada","last":"King"}"#).as_ref(), Ok(&renamed));
    }

    #[test]
    fn what_cannot_be_brought_up_says_where_it_failed() {
        let failed = "the step up from version";
        assert_eq!(decode(1, r#""Ada""#), Err(format!("{failed} 2 failed: no space")));
        assert_eq!(decode(0, "{}"), Err(format!("{failed} 0 failed: there is no upcaster from version 0")));
        assert_eq!(decode(2, "7"), Err(format!("{failed} 2 failed: no name")));
        assert!(decode(1, "").unwrap_err().starts_with("EOF"), "broken JSON is nobody's step");
        assert!(decode(4, "{}").unwrap_err().contains("version 4; versions up to 3"));
    }

    #[test]
    fn without_upcasters_older_versions_are_refused() {
        #[derive(Serialize, Deserialize)]
        struct Second;
        impl Event for Second {
            const TYPE: &'static str = "second";
            const VERSION: u32 = 2;
            type Codec = JsonCodec;
        }
        let Err(error) = <JsonCodec as Codec<Second>>::decode(1, b"null") else { panic!("it must fail") };
        assert!(matches!(
            error.undecodable::<Second>(1),
            Undecodable::Upcast { event_type: "second", from: 1, .. }
        ));
    }
}
