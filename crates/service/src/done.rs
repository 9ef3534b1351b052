//! What is left to do for a record that was handled.

use std::{collections::VecDeque, fmt, future::Future, pin::Pin};

use milena::Message;

use crate::{
    delivery::Place,
    envelope::{self, Attributes},
    failure::Failure,
    identity::{self, Identity},
    outgoing::Outgoing,
    trace,
};

/// What is left to do for a record that was handled: first what is to be published, then, when brokers have
/// acknowledged all of that, what layers have added by [`then`](Self::then); only then is the record acknowledged.
///
/// ```
/// use milena_service::{Done, Outcome, Outgoing};
///
/// let outcome = Outcome::Ack(vec![Outgoing::new("invoices", "1")].into());
/// let Outcome::Ack(done) = outcome.then(|| async { Ok(()) }) else { panic!() };
/// assert_eq!(done.outgoing().len(), 1);
/// ```
#[derive(Default)]
pub struct Done {
    outgoing: Vec<Outgoing>,
    then: Then,
}

/// The steps behind publishing, in their order.
#[derive(Default)]
pub(crate) struct Then(VecDeque<Step>);

type Step = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>> + Send + Sync>;

impl Done {
    /// Nothing is left to do.
    #[must_use]
    pub const fn new() -> Self {
        Self { outgoing: Vec::new(), then: Then(VecDeque::new()) }
    }

    /// What is to be published.
    #[must_use]
    pub fn outgoing(&self) -> &[Outgoing] {
        &self.outgoing
    }

    /// Adds something to be published.
    pub fn publish(&mut self, outgoing: Outgoing) {
        self.outgoing.push(outgoing);
    }

    /// Adds a step to be done when brokers have acknowledged everything that was to be published, behind the steps that
    /// were added before. If it fails it alone is done again, so it must do no harm when it is repeated; the handler is
    /// not called again for it. If something cannot be published, or the service stops before, the step is dropped
    /// undone, and the record is handled again.
    ///
    /// This is the place to note that a record was handled: what is noted any earlier would, if publishing fails, keep
    /// the record from being handled again, and what it was to publish would be lost.
    pub fn then<F>(&mut self, step: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.then.0.push_back(Box::new(move || Box::pin(step())));
    }

    /// Has what is to be published say which record it is published because of, and pass its trace on. Of several
    /// records it is not known which of them led to what.
    pub(crate) fn caused_by<'a>(&mut self, mut causes: impl Iterator<Item = &'a Message>, place: &Place) {
        let (Some(cause), None) = (causes.next(), causes.next()) else { return };
        if self.outgoing.iter().any(Outgoing::is_event) {
            // A handler may take what cannot be read as an event for something else: then there is nothing to say.
            let attributes = Attributes::of(cause).unwrap_or_default();
            identity::name_after(&mut self.outgoing, &Identity::told(cause, &attributes), place);
            envelope::caused_by(&mut self.outgoing, &attributes);
        }
        trace::carry(&mut self.outgoing, cause);
    }

    pub(crate) fn merge(&mut self, more: Self) {
        self.outgoing.extend(more.outgoing);
        self.then.0.extend(more.then.0);
    }

    pub(crate) fn into_parts(self) -> (Vec<Outgoing>, Then) {
        (self.outgoing, self.then)
    }
}

impl From<Vec<Outgoing>> for Done {
    fn from(outgoing: Vec<Outgoing>) -> Self {
        Self { outgoing, then: Then::default() }
    }
}

impl Then {
    /// Does the steps that are left, one behind the other, up to the first that fails; another call begins with that
    /// one. Dropped, it may have done the step that it was in; another call repeats it.
    pub(crate) async fn run(&mut self) -> Result<(), Failure> {
        while let Some(step) = self.0.front() {
            step().await?;
            self.0.pop_front();
        }
        Ok(())
    }
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Done").field("outgoing", &self.outgoing).field("then", &self.then).finish()
    }
}

impl fmt::Debug for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} steps", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{
        handler_error::HandlerError,
        outcome::{IntoOutcome, Outcome},
    };

    type Log = Arc<Mutex<Vec<&'static str>>>;

    fn step(
        log: &Log,
        name: &'static str,
        fails: usize,
    ) -> impl Fn() -> std::future::Ready<Result<(), Failure>> + use<> {
        let (log, left) = (Arc::clone(log), Mutex::new(fails));
        move || {
            log.lock().unwrap().push(name);
            let mut left = left.lock().unwrap();
            let failed = *left > 0;
            *left = left.saturating_sub(1);
            std::future::ready(if failed { Err(Failure::named("store", "not there")) } else { Ok(()) })
        }
    }

    #[tokio::test]
    async fn steps_are_done_in_order_and_only_those_that_failed_again() {
        let log = Log::default();
        let outcome = Outcome::ack().then(step(&log, "inner", 0)).then(step(&log, "outer", 1));
        let Outcome::Ack(done) = outcome else { panic!("no ack") };
        let (outgoing, mut then) = done.into_parts();
        assert!(outgoing.is_empty() && !then.0.is_empty() && log.lock().unwrap().is_empty());
        assert_eq!(then.run().await.unwrap_err().kind(), "store");
        then.run().await.unwrap();
        assert!(then.0.is_empty());
        assert_eq!(*log.lock().unwrap(), ["inner", "outer", "outer"]);
    }

    #[test]
    fn steps_of_several_outcomes_are_all_kept() {
        let log = Log::default();
        let both = (
            Outcome::ack().then(step(&log, "a", 0)),
            Outcome::Ack(vec![Outgoing::new("t", "v")].into()).then(step(&log, "b", 0)),
        );
        let Outcome::Ack(done) = both.into_outcome() else { panic!("no ack") };
        assert_eq!(format!("{:?}", done.then), "2 steps");
        assert_eq!(done.outgoing().len(), 1);
    }

    #[test]
    fn what_one_of_several_records_has_led_to_is_not_known() {
        let headers: [milena::Header<'_>; 2] =
            [("ce_id", Some(b"e-1")), ("traceparent", Some(b"00-11-22-01"))];
        let cause = Message::from_record(&milena::Record::new("t", "v").headers(&headers), 0);
        let place = Place::of_tests("g", "h", crate::Newer::default());
        let said = |causes: &[&Message]| {
            let mut done = Done::from(vec![Outgoing::new("t", "v").header("ce_id", "e-2")]);
            done.caused_by(causes.iter().copied(), &place);
            done.outgoing()[0].headers().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(said(&[&cause]), ["ce_id", "ce_correlationid", "ce_causationid", "traceparent"]);
        assert_eq!(said(&[&cause, &cause]), ["ce_id"]);
    }

    #[test]
    fn a_record_that_is_not_done_leaves_nothing_to_do() {
        let kept = Arc::new(());
        let held = Arc::clone(&kept);
        let outcome = HandlerError::retry("no").into_outcome().then(move || {
            let held = Arc::clone(&held);
            async move {
                drop(held);
                Ok(())
            }
        });
        assert_eq!((outcome.name(), Arc::strong_count(&kept)), ("retry", 1));
    }
}
