//! What is done about an outcome.

use std::{borrow::Cow, time::Duration};

use crate::{
    done::Done,
    failure::Failure,
    outcome::Outcome,
    route::{DeadLetters, Plan},
};

/// What is done about an outcome.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The records are done when this is.
    Finish(Done),
    /// The records are done: there was nothing to do, for this reason.
    Skip(Cow<'static, str>),
    /// Try again after this time.
    Again(Failure, Duration),
    /// Try again, each record alone.
    Apart(Failure),
    /// The record goes to the dead-letter topic.
    DeadLetter(Failure),
    /// The lane stops.
    Halt(Failure),
    /// The service is stopping: whoever gets the partition next handles the records.
    GiveBack,
}

/// What is known of a try besides its outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Try {
    /// Which one it was, from 1 on.
    pub(crate) attempt: u32,
    /// How many records were handled together.
    pub(crate) records: usize,
    pub(crate) is_stopping: bool,
    /// Between 0 and 1.
    pub(crate) chance: f64,
}

/// Judges the outcome of a try.
pub(crate) fn judge(outcome: Outcome, plan: &Plan, tried: Try) -> Verdict {
    let has_dead_letters = plan.dead_letters != DeadLetters::None;
    let for_good = |failure| match has_dead_letters {
        // Only those fail that fail alone.
        _ if tried.records > 1 => Verdict::Apart(failure),
        true => Verdict::DeadLetter(failure),
        false => Verdict::Halt(failure),
    };
    match outcome {
        Outcome::Ack(left) => Verdict::Finish(left),
        Outcome::Skip(reason) => Verdict::Skip(reason),
        // It may have failed because the service is stopping.
        _ if tried.is_stopping => Verdict::GiveBack,
        Outcome::Retry { failure, after } => match plan.retry.delay(tried.attempt, tried.chance) {
            Some(delay) => Verdict::Again(failure, after.unwrap_or(delay)),
            None => for_good(failure),
        },
        Outcome::DeadLetter(failure) => for_good(failure),
        Outcome::Halt(failure) => Verdict::Halt(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::Retry;

    const MS: Duration = Duration::from_millis(1);

    fn plan(dead_letters: DeadLetters) -> Plan {
        let retry = Retry::from([100 * MS, 200 * MS]);
        Plan { retry, dead_letters, timeout: MS, ..Plan::default() }
    }

    fn tried(attempt: u32) -> Try {
        Try { attempt, records: 1, is_stopping: false, chance: 0.5 }
    }

    fn retry() -> Outcome {
        Outcome::Retry { failure: Failure::named("a", "b"), after: None }
    }

    #[test]
    fn a_record_is_tried_as_often_as_its_route_says_and_then_dead_lettered() {
        let plan = plan(DeadLetters::Named);
        assert!(matches!(judge(retry(), &plan, tried(1)), Verdict::Again(_, delay) if delay == 50 * MS));
        assert!(matches!(judge(retry(), &plan, tried(2)), Verdict::Again(_, delay) if delay == 100 * MS));
        assert!(matches!(judge(retry(), &plan, tried(3)), Verdict::DeadLetter(_)));
    }

    #[test]
    fn where_no_dead_letters_are_declared_the_lane_halts() {
        let plan = plan(DeadLetters::None);
        assert!(matches!(judge(retry(), &plan, tried(3)), Verdict::Halt(_)));
        let rejected = Outcome::DeadLetter(Failure::named("a", "b"));
        assert!(matches!(judge(rejected, &plan, tried(1)), Verdict::Halt(_)));
    }

    #[test]
    fn a_handler_may_say_how_long_to_wait_but_not_how_often() {
        let plan = plan(DeadLetters::Named);
        let later = || Outcome::Retry { failure: Failure::named("a", "b"), after: Some(7 * MS) };
        assert!(matches!(judge(later(), &plan, tried(2)), Verdict::Again(_, delay) if delay == 7 * MS));
        assert!(matches!(judge(later(), &plan, tried(3)), Verdict::DeadLetter(_)));
    }

    #[test]
    fn a_batch_that_fails_for_good_is_taken_apart() {
        for dead_letters in [DeadLetters::Named, DeadLetters::None] {
            let together = Try { records: 5, ..tried(3) };
            assert!(matches!(judge(retry(), &plan(dead_letters), together), Verdict::Apart(_)));
        }
    }

    #[test]
    fn what_fails_while_the_service_stops_is_given_back() {
        let plan = plan(DeadLetters::Named);
        let stopping = |outcome| judge(outcome, &plan, Try { is_stopping: true, ..tried(3) });
        assert!(matches!(stopping(retry()), Verdict::GiveBack));
        assert!(matches!(stopping(Outcome::DeadLetter(Failure::named("a", "b"))), Verdict::GiveBack));
        assert!(matches!(stopping(Outcome::Halt(Failure::named("a", "b"))), Verdict::GiveBack));
        assert!(matches!(stopping(Outcome::ack()), Verdict::Finish(_)), "what is done is done");
        assert!(matches!(stopping(Outcome::Skip("no".into())), Verdict::Skip(_)));
    }
}
