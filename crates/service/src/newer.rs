//! What becomes of events that are newer than this build of a service.

use std::{error::Error, fmt};

use crate::handler_error::HandlerError;

/// What becomes of an event whose version is newer than the one that this build knows ([`Event::VERSION`]): it was
/// published by a service that was deployed earlier. Chosen on the [route](crate::Route::on_newer).
///
/// Whatever is chosen, the failure is of the kind `newer_version` and tells the type, the version found and that known.
///
/// [`Event::VERSION`]: crate::Event::VERSION
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Newer {
    /// It is dead-lettered, to be redriven once this service knows the version; where no dead-letter topic is declared,
    /// the lane halts.
    #[default]
    DeadLetter,
    /// The lane halts, and the service is not ready: nothing is handled out of order, and a deployment that knows the
    /// version goes on with it.
    Halt,
    /// It is skipped, with the reason.
    Skip,
}

impl Newer {
    /// What becomes of the record.
    pub(crate) fn judge(self, newer: NewerVersion) -> HandlerError {
        match self {
            Self::DeadLetter => HandlerError::dead_letter(newer).kind(NewerVersion::KIND),
            Self::Halt => HandlerError::halt(newer).kind(NewerVersion::KIND),
            Self::Skip => HandlerError::skip(newer.to_string()),
        }
    }
}

/// An event of a version that this build does not know yet.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewerVersion {
    /// The type of the event.
    pub event_type: &'static str,
    /// The version of the event.
    pub found: u32,
    /// The newest version that is known.
    pub known: u32,
}

impl NewerVersion {
    /// The kind of the [failure](crate::Failure::kind).
    pub const KIND: &'static str = "newer_version";
}

impl Error for NewerVersion {}

impl fmt::Display for NewerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event_type, found, known } = self;
        write!(f, "the event is {event_type} version {found}; versions up to {known} are known")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::outcome::{IntoOutcome, Outcome};

    const NEWER: NewerVersion = NewerVersion { event_type: "user.created", found: 3, known: 2 };

    #[test]
    fn a_newer_version_becomes_what_the_route_says() {
        let text = "the event is user.created version 3; versions up to 2 are known";
        for (newer, name) in [(Newer::default(), "dead_letter"), (Newer::Halt, "halt")] {
            let outcome = newer.judge(NEWER).into_outcome();
            assert_eq!(outcome.name(), name);
            let failure = outcome.failure().unwrap();
            assert_eq!((failure.kind(), failure.to_string().as_str()), ("newer_version", text));
            assert_eq!(failure.error().downcast_ref::<NewerVersion>(), Some(&NEWER));
        }
        assert!(matches!(Newer::Skip.judge(NEWER).into_outcome(), Outcome::Skip(reason) if reason == text));
    }
}
