//! Records that are not what their handlers ask for.

use std::{error::Error, fmt};

use crate::{failure::BoxError, handler_error::HandlerError, newer::NewerVersion};

/// A record that is not what its handler asks for. Trying again does not help: it is dead-lettered.
///
/// It is not a [`std::error::Error`], since each of these becomes a transient [`HandlerError`]; with `?` it becomes one
/// that is not, or a [`BoxError`].
#[non_exhaustive]
#[derive(Debug)]
pub enum Undecodable {
    /// There is no value: a tombstone.
    NoValue,
    /// There is no key.
    NoKey,
    /// The key is not text.
    Key(std::str::Utf8Error),
    /// The key is no number, or none that fits.
    KeyNumber {
        /// The key.
        key: String,
        /// Why it is none.
        error: std::num::ParseIntError,
    },
    /// The value is not the JSON that was expected.
    Json(serde_json::Error),
    /// The attributes of the CloudEvent are broken or missing, or in structured mode the value that holds them is.
    Envelope(BoxError),
    /// It is an event of another type.
    EventType {
        /// The type that was asked for.
        expected: &'static str,
        /// The type of the record.
        found: String,
    },
    /// The data is not what the codec of the event's type reads.
    Data {
        /// The type of the event.
        event_type: &'static str,
        /// The version of the data.
        version: u32,
        /// What the codec says.
        error: BoxError,
    },
    /// The data is of an older version that could not be brought up to the current one.
    Upcast {
        /// The type of the event.
        event_type: &'static str,
        /// The version from which the step failed.
        from: u32,
        /// What the upcaster says.
        error: BoxError,
    },
    /// The event is of a version that this build does not know yet.
    Newer(NewerVersion),
}

impl Undecodable {
    /// The kind of the [failure](crate::Failure::kind) that it becomes: `no_value`, `no_key`, `key`, `json`,
    /// `envelope`, `event_type`, `data`, `upcast` or `newer_version`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NoValue => "no_value",
            Self::NoKey => "no_key",
            Self::Key(_) | Self::KeyNumber { .. } => "key",
            Self::Json(_) => "json",
            Self::Envelope(_) => "envelope",
            Self::EventType { .. } => "event_type",
            Self::Data { .. } => "data",
            Self::Upcast { .. } => "upcast",
            Self::Newer(_) => NewerVersion::KIND,
        }
    }

    /// What caused it.
    fn cause(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoValue | Self::NoKey | Self::EventType { .. } | Self::Newer(_) => None,
            Self::Key(error) => Some(error),
            Self::KeyNumber { error, .. } => Some(error),
            Self::Json(error) => Some(error),
            Self::Envelope(error) | Self::Data { error, .. } | Self::Upcast { error, .. } => Some(&**error),
        }
    }
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoValue => f.write_str("the record has no value (a tombstone)"),
            Self::NoKey => f.write_str("the record has no key"),
            Self::Key(_) => f.write_str("the key is not UTF-8"),
            Self::KeyNumber { key, .. } => write!(f, "the key {key:?} is not the number that is asked for"),
            Self::Json(_) => f.write_str("the value is not the JSON that the handler asks for"),
            Self::Envelope(_) => f.write_str("the record is not a CloudEvent that can be read"),
            Self::EventType { expected, found } => {
                write!(f, "the event is {found}, where the handler asks for {expected}")
            }
            Self::Data { event_type, version, .. } => {
                write!(f, "the data cannot be decoded as {event_type} version {version}")
            }
            Self::Upcast { event_type, from, .. } => {
                write!(f, "{event_type} version {from} cannot be brought up to the version behind it")
            }
            Self::Newer(newer) => newer.fmt(f),
        }
    }
}

impl From<NewerVersion> for Undecodable {
    fn from(newer: NewerVersion) -> Self {
        Self::Newer(newer)
    }
}

impl From<Undecodable> for BoxError {
    fn from(undecodable: Undecodable) -> Self {
        match undecodable {
            Undecodable::Newer(newer) => Self::from(newer),
            other => Self::from(Boxed(other)),
        }
    }
}

impl From<Undecodable> for HandlerError {
    fn from(undecodable: Undecodable) -> Self {
        let kind = undecodable.kind();
        Self::dead_letter(undecodable).kind(kind)
    }
}

/// The error that it is once nobody can take it for a transient one.
#[derive(Debug)]
struct Boxed(Undecodable);

impl Error for Boxed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.cause()
    }
}

impl fmt::Display for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use super::*;
    use crate::outcome::{IntoOutcome, Outcome};

    #[test]
    fn what_cannot_be_decoded_is_dead_lettered_and_not_tried_again() {
        fn amount(text: &str) -> Result<u64, HandlerError> {
            Ok(serde_json::from_str(text).map_err(Undecodable::Json)?)
        }
        let Outcome::DeadLetter(failure) = amount("x").map(|_| ()).into_outcome() else {
            panic!("it must be dead-lettered")
        };
        assert_eq!(failure.kind(), "json");
        assert_eq!(
            failure.to_string(),
            "the value is not the JSON that the handler asks for: expected value at line 1 column 1"
        );
        assert!(failure.causes().next().unwrap().is::<serde_json::Error>());
    }

    #[test]
    fn a_newer_version_can_be_told_from_the_failure() {
        let newer = NewerVersion { event_type: "user.created", found: 3, known: 2 };
        let outcome = HandlerError::from(Undecodable::from(newer)).into_outcome();
        let failure = outcome.failure().unwrap();
        assert_eq!((outcome.name(), failure.kind()), ("dead_letter", "newer_version"));
        assert_eq!(failure.error().downcast_ref(), Some(&newer));
    }
}
