//! The error of handlers.

use std::{borrow::Cow, error::Error, fmt, time::Duration};

use crate::failure::{BoxError, Failure};

/// The error of handlers. Every error becomes one with `?`, and is then taken for transient: the record is tried again.
///
/// It is not a [`std::error::Error`] itself. Where it stands outside of handlers, as where something is published in
/// answer to a request, it becomes a [`BoxError`] with `?`: the error from which it was made.
///
/// ```
/// use milena_service::{HandlerError, Json};
///
/// async fn charge(Json(amount): Json<u64>) -> Result<(), HandlerError> {
///     if amount == 0 {
///         return Err(HandlerError::dead_letter("an order over nothing"));
///     }
///     let _rate: u64 = std::env::var("RATE")?.parse()?;
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct HandlerError(Fault);

/// What is to be done about a record that was not handled.
#[derive(Debug)]
pub(crate) enum Fault {
    Retry { failure: Failure, after: Option<Duration> },
    DeadLetter(Failure),
    Skip(Cow<'static, str>),
    Halt(Failure),
}

impl HandlerError {
    /// Try again, after the delay of the route.
    pub fn retry(error: impl Into<BoxError>) -> Self {
        Self(Fault::Retry { failure: Failure::named("error", error), after: None })
    }

    /// Try again, after this delay.
    pub fn retry_after(delay: Duration, error: impl Into<BoxError>) -> Self {
        Self(Fault::Retry { failure: Failure::named("error", error), after: Some(delay) })
    }

    /// Do not try again: it is the record that is wrong.
    pub fn dead_letter(error: impl Into<BoxError>) -> Self {
        Self(Fault::DeadLetter(Failure::named("rejected", error)))
    }

    /// Stop the record's lane, and with it the service's readiness.
    pub fn halt(error: impl Into<BoxError>) -> Self {
        Self(Fault::Halt(Failure::named("halted", error)))
    }

    /// There is nothing to do, for this reason.
    pub fn skip(reason: impl Into<Cow<'static, str>>) -> Self {
        Self(Fault::Skip(reason.into()))
    }

    /// Gives the failure a kind, by which metrics and dead letters tell it from others.
    #[must_use]
    pub fn kind(self, kind: impl Into<Cow<'static, str>>) -> Self {
        let named = |failure: Failure| failure.with_kind(kind.into());
        Self(match self.0 {
            Fault::Retry { failure, after } => Fault::Retry { failure: named(failure), after },
            Fault::DeadLetter(failure) => Fault::DeadLetter(named(failure)),
            Fault::Halt(failure) => Fault::Halt(named(failure)),
            skipped @ Fault::Skip(_) => skipped,
        })
    }

    /// The same said of one record of several that are handled together. As one outcome holds for all of them, the one
    /// that is to be skipped must not skip the others, nor the one at which the lane halts hold up those before it: it
    /// is a failure of them together, and each is handled alone.
    pub(crate) fn of_one_among_others(self) -> Self {
        match self.0 {
            Fault::Skip(reason) => Self::dead_letter(reason).kind("skip_of_one"),
            Fault::Halt(failure) => Self(Fault::DeadLetter(failure)),
            Fault::Retry { .. } | Fault::DeadLetter(_) => self,
        }
    }

    pub(crate) fn into_fault(self) -> Fault {
        self.0
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self(Fault::Retry { failure: Failure::new(error), after: None })
    }
}

impl From<HandlerError> for BoxError {
    fn from(error: HandlerError) -> Self {
        match error.0 {
            Fault::Retry { failure, .. } | Fault::DeadLetter(failure) | Fault::Halt(failure) => {
                failure.into_error()
            }
            skipped @ Fault::Skip(_) => HandlerError(skipped).to_string().into(),
        }
    }
}

impl From<HandlerError> for Box<dyn Error> {
    fn from(error: HandlerError) -> Self {
        let error: BoxError = error.into();
        error
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Fault::Retry { failure, .. } => write!(f, "to be tried again: {failure}"),
            Fault::DeadLetter(failure) => write!(f, "cannot be handled: {failure}"),
            Fault::Skip(reason) => write!(f, "skipped: {reason}"),
            Fault::Halt(failure) => write!(f, "halted: {failure}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn outside_of_handlers_it_is_the_error_from_which_it_was_made() {
        fn parsed() -> Result<u32, HandlerError> {
            Ok("x".parse()?)
        }
        fn boxed() -> Result<u32, BoxError> {
            Ok(parsed()?)
        }
        fn in_main() -> Result<(), Box<dyn Error>> {
            Err(HandlerError::skip("of another tenant"))?
        }
        assert!(boxed().unwrap_err().is::<std::num::ParseIntError>());
        assert_eq!(in_main().unwrap_err().to_string(), "skipped: of another tenant");
        let named: BoxError = HandlerError::dead_letter("no amount").kind("amount").into();
        assert_eq!(named.to_string(), "no amount");
    }
}
