//! What becomes of a record that was handled.

use std::{borrow::Cow, error::Error, fmt, time::Duration};

use crate::{
    done::Done,
    failure::{BoxError, Failure},
    outgoing::Outgoing,
};

/// What becomes of a record that was handled. Handlers return it, or something that [becomes one](IntoOutcome).
#[non_exhaustive]
#[derive(Debug)]
pub enum Outcome {
    /// Done. What is to be published is acknowledged by brokers, and what is to be done [then](Self::then) is done,
    /// before the record is acknowledged.
    Ack(Done),
    /// Not done: try again, after the delay of the route's [`Retry`](crate::Retry) or of `after`. When the tries are
    /// spent, the record is dead-lettered.
    Retry {
        /// Why.
        failure: Failure,
        /// How long to wait, instead of what the route says.
        after: Option<Duration>,
    },
    /// Never to be done: the record goes to the dead-letter topic, or, where none is declared, its lane halts.
    DeadLetter(Failure),
    /// Not to be done, on purpose, for this reason.
    Skip(Cow<'static, str>),
    /// Nothing may go on behind this record: its lane stops, and the service is not ready.
    Halt(Failure),
}

impl Outcome {
    /// Done, with nothing to publish.
    #[must_use]
    pub const fn ack() -> Self {
        Self::Ack(Done::new())
    }

    /// Adds what is to be done when everything was published, before the record is acknowledged: see [`Done::then`]. If
    /// the record is not done, there is nothing to do then, and `step` is dropped.
    #[must_use]
    pub fn then<F>(mut self, step: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        if let Self::Ack(done) = &mut self {
            done.then(step);
        }
        self
    }

    /// Whether the record is done.
    #[must_use]
    pub const fn is_ack(&self) -> bool {
        matches!(self, Self::Ack(_))
    }

    /// The name of the outcome in metrics: `ack`, `retry`, `dead_letter`, `skip` or `halt`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ack(_) => "ack",
            Self::Retry { .. } => "retry",
            Self::DeadLetter(_) => "dead_letter",
            Self::Skip(_) => "skip",
            Self::Halt(_) => "halt",
        }
    }

    /// Why the record was not done, if it was not.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Retry { failure, .. } | Self::DeadLetter(failure) | Self::Halt(failure) => Some(failure),
            Self::Ack(_) | Self::Skip(_) => None,
        }
    }
}

/// The error of handlers. Every error becomes one with `?`, and is then taken for transient: the record is tried again.
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
pub struct HandlerError(Outcome);

impl HandlerError {
    /// Try again, after the delay of the route.
    pub fn retry(error: impl Into<BoxError>) -> Self {
        Self(Outcome::Retry { failure: Failure::named("error", error), after: None })
    }

    /// Try again, after this delay.
    pub fn retry_after(delay: Duration, error: impl Into<BoxError>) -> Self {
        Self(Outcome::Retry { failure: Failure::named("error", error), after: Some(delay) })
    }

    /// Do not try again: it is the record that is wrong.
    pub fn dead_letter(error: impl Into<BoxError>) -> Self {
        Self(Outcome::DeadLetter(Failure::named("rejected", error)))
    }

    /// Stop the record's lane, and with it the service's readiness.
    pub fn halt(error: impl Into<BoxError>) -> Self {
        Self(Outcome::Halt(Failure::named("halted", error)))
    }

    /// There is nothing to do, for this reason.
    pub fn skip(reason: impl Into<Cow<'static, str>>) -> Self {
        Self(Outcome::Skip(reason.into()))
    }

    /// Gives the failure a kind, by which metrics and dead letters tell it from others.
    #[must_use]
    pub fn kind(self, kind: impl Into<Cow<'static, str>>) -> Self {
        let named = |failure: Failure| failure.with_kind(kind.into());
        Self(match self.0 {
            Outcome::Retry { failure, after } => Outcome::Retry { failure: named(failure), after },
            Outcome::DeadLetter(failure) => Outcome::DeadLetter(named(failure)),
            Outcome::Halt(failure) => Outcome::Halt(named(failure)),
            done @ (Outcome::Ack(_) | Outcome::Skip(_)) => done,
        })
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self(Outcome::Retry { failure: Failure::new(error), after: None })
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Outcome::Skip(reason) => write!(f, "skipped: {reason}"),
            outcome => match outcome.failure() {
                Some(failure) => write!(f, "{}: {failure}", outcome.name()),
                None => f.write_str(outcome.name()),
            },
        }
    }
}

/// What handlers may return.
///
/// `()` is an [`Outcome::Ack`], `Vec<Outgoing>`, [`Emit`](crate::Emit) and pairs of them are what is published, `None`
/// publishes nothing, and of a `Result` the error is an [`HandlerError`] or becomes one.
pub trait IntoOutcome {
    /// The outcome.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Outcome::ack()
    }
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

impl IntoOutcome for HandlerError {
    fn into_outcome(self) -> Outcome {
        self.0
    }
}

impl IntoOutcome for Outgoing {
    fn into_outcome(self) -> Outcome {
        Outcome::Ack(vec![self].into())
    }
}

impl<T: IntoOutcome> IntoOutcome for Vec<T> {
    fn into_outcome(self) -> Outcome {
        all(self.into_iter().map(T::into_outcome))
    }
}

impl<T: IntoOutcome> IntoOutcome for Option<T> {
    fn into_outcome(self) -> Outcome {
        self.map_or_else(Outcome::ack, T::into_outcome)
    }
}

impl<T: IntoOutcome, E: Into<HandlerError>> IntoOutcome for Result<T, E> {
    fn into_outcome(self) -> Outcome {
        match self {
            Ok(value) => value.into_outcome(),
            Err(error) => error.into().0,
        }
    }
}

impl<A: IntoOutcome, B: IntoOutcome> IntoOutcome for (A, B) {
    fn into_outcome(self) -> Outcome {
        all([self.0.into_outcome(), self.1.into_outcome()].into_iter())
    }
}

impl<A: IntoOutcome, B: IntoOutcome, C: IntoOutcome> IntoOutcome for (A, B, C) {
    fn into_outcome(self) -> Outcome {
        all([self.0.into_outcome(), self.1.into_outcome(), self.2.into_outcome()].into_iter())
    }
}

/// Everything that all publish, or the first that is something else.
fn all(outcomes: impl Iterator<Item = Outcome>) -> Outcome {
    let mut done = Done::new();
    for outcome in outcomes {
        match outcome {
            Outcome::Ack(more) => done.merge(more),
            other => return other,
        }
    }
    Outcome::Ack(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_handlers_return_becomes_an_outcome() {
        assert!(().into_outcome().is_ack());
        assert!(None::<Outgoing>.into_outcome().is_ack());
        let to = |topic: &'static str| Outgoing::new(topic, "v");
        let Outcome::Ack(done) = vec![to("a"), to("b")].into_outcome() else { panic!("no ack") };
        assert_eq!(done.outgoing().len(), 2);
        let Outcome::Ack(done) = (to("a"), Some(to("b"))).into_outcome() else { panic!("no ack") };
        assert_eq!(done.outgoing().len(), 2);
        let refused: Result<(), HandlerError> = Err(HandlerError::dead_letter("bad"));
        assert!(
            matches!((to("a"), refused).into_outcome(), Outcome::DeadLetter(failure) if failure.kind() == "rejected")
        );
    }

    #[test]
    fn any_error_is_transient() {
        fn parse(text: &str) -> Result<u32, HandlerError> {
            Ok(text.parse()?)
        }
        let outcome = parse("x").map(|_| ()).into_outcome();
        assert!(
            matches!(&outcome, Outcome::Retry { failure, after: None } if failure.kind() == "ParseIntError")
        );
        assert_eq!(outcome.name(), "retry");
        let named = HandlerError::halt("stop").kind("maintenance");
        assert_eq!(named.to_string(), "halt: stop");
        assert_eq!(named.into_outcome().failure().unwrap().kind(), "maintenance");
        assert_eq!(HandlerError::skip("of another tenant").to_string(), "skipped: of another tenant");
    }
}
