//! What becomes of a record that was handled.

use std::{borrow::Cow, time::Duration};

use crate::{
    done::Done,
    failure::Failure,
    handler_error::{Fault, HandlerError},
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
        match self.into_fault() {
            Fault::Retry { failure, after } => Outcome::Retry { failure, after },
            Fault::DeadLetter(failure) => Outcome::DeadLetter(failure),
            Fault::Skip(reason) => Outcome::Skip(reason),
            Fault::Halt(failure) => Outcome::Halt(failure),
        }
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
            Err(error) => error.into().into_outcome(),
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
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

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
        assert_eq!(named.to_string(), "halted: stop");
        assert_eq!(named.into_outcome().failure().unwrap().kind(), "maintenance");
        assert_eq!(HandlerError::skip("of another tenant").to_string(), "skipped: of another tenant");
    }
}
