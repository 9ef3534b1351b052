//! Handles records: each worker takes a job from the lanes, runs its handler, and sees to what comes of it, until nothing
//! more may begin.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tracing::Instrument;

use super::shared::{Pending, Record, Shared, Target};
use crate::{
    clock,
    dead_letter::{self, Circumstances},
    delivery::Delivery,
    done::Then,
    endpoint::Handling,
    failure::Failure,
    judge::{Try, Verdict, judge},
    lanes::{End, Job},
    outcome::Outcome,
    outgoing::Outgoing,
    panics,
    publisher::is_refused_for_good,
    retry::Retry,
    table::LogPosition,
    trace,
};

/// How much of a value is kept where it is too large for the dead-letter topic.
const KEPT: usize = 64 << 10;

/// Works until nothing may begin. Whoever starts it has counted it as one of the workers.
pub(super) async fn work(shared: Arc<Shared>) {
    let mut ended = None;
    loop {
        let Some((id, job)) = ({
            let mut lanes = shared.lanes();
            if let Some((id, end)) = ended.take()
                && lanes.finish(clock::now(), id, end)
            {
                shared.bell.notify_one();
            }
            lanes.take_or_retire()
        }) else {
            return;
        };
        let end = handle(&shared, job).await;
        ended = Some((id, end));
        // Handlers that never wait would keep the thread to themselves.
        tokio::task::consume_budget().await;
    }
}

/// Handles a job, and says what becomes of it.
async fn handle(shared: &Shared, mut job: Job<Record>) -> End<Record> {
    let target = Arc::clone(&job.first.target);
    match job.first.pending.take() {
        Some(Pending::Finish(outgoing, then)) => return finish(shared, &target, job, outgoing, then).await,
        Some(Pending::Bury(failure)) => return bury(shared, &target, job, failure).await,
        None => {}
    }
    for record in job.iter_mut() {
        record.attempts = record.attempts.saturating_add(1);
    }
    let outcome = attempt(&target, &job).await;
    target.meters.outcome(outcome.name(), outcome.failure().map_or("", Failure::kind));
    let attempt = job.iter().map(|record| record.attempts).max().unwrap_or(1);
    match judge(outcome, &target.plan, tried(shared, &job, attempt)) {
        Verdict::Finish(mut left) => {
            left.caused_by(job.iter().map(|record| &record.message), &target.place);
            let (outgoing, then) = left.into_parts();
            finish(shared, &target, job, outgoing, then).await
        }
        Verdict::Skip(reason) => {
            tracing::info!(place = %LogPosition::from(&job.first.message), %reason, "skipped");
            done(&job)
        }
        Verdict::Again(failure, delay) => again(job, &failure, delay),
        Verdict::Apart(failure) => apart(job, &failure),
        Verdict::DeadLetter(failure) => bury(shared, &target, job, failure).await,
        Verdict::Halt(failure) => halted(job, &failure),
        Verdict::GiveBack => End::GivenBack,
    }
}

fn tried(shared: &Shared, job: &Job<Record>, attempt: u32) -> Try {
    Try { attempt, records: job.len(), is_stopping: shared.is_stopping(), chance: fastrand::f64() }
}

/// Runs the handler once. A panic and a timeout are failures like any other.
async fn attempt(target: &Target, job: &Job<Record>) -> Outcome {
    let rest = match &*job.rest {
        // The empty one costs no memory.
        [] => Arc::default(),
        rest => rest.iter().map(|record| record.message.clone()).collect(),
    };
    let delivery =
        Delivery::new(job.first.message.clone(), rest, job.first.attempts, Arc::clone(&target.place));
    let span = trace::process(&delivery);
    let began = clock::now();
    let timeout = target.plan.timeout;
    #[expect(clippy::disallowed_methods, reason = "handlers are the user's, and may hang")]
    let outcome =
        match tokio::time::timeout(timeout, unwinding(target, delivery).instrument(span.clone())).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let said = format!("the handler took longer than {timeout:?} (`timeout` of its route)");
                Outcome::Retry { failure: Failure::named("timeout", said), after: None }
            }
        };
    if let Some(failure) = outcome.failure() {
        span.record("error.type", failure.kind());
    }
    target.meters.handled(clock::now().saturating_duration_since(began));
    outcome
}

async fn unwinding(target: &Target, delivery: Delivery) -> Outcome {
    let mut handling: Option<Handling> = None;
    let mut delivery = Some(delivery);
    let poll = |context: &mut Context<'_>| {
        if let Some(delivery) = delivery.take() {
            handling = Some(target.endpoint.handle(delivery));
        }
        handling.as_mut().map_or(Poll::Pending, |handling| handling.poll_outcome(context))
    };
    panics::caught(AssertUnwindSafe(poll))
        .await
        .unwrap_or_else(|said| Outcome::Retry { failure: Failure::named("panic", said), after: None })
}

/// Publishes what the handler wants published, and does what layers want done then. Only when all that is done, the job is.
/// What fails of it is done again, and not the handler's work.
async fn finish(
    shared: &Shared,
    target: &Target,
    mut job: Job<Record>,
    outgoing: Vec<Outgoing>,
    mut then: Then,
) -> End<Record> {
    if !outgoing.is_empty()
        && let Err(error) = shared.publisher.send_all(&outgoing).await
    {
        if !is_refused_for_good(&error) {
            job.first.pending = Some(Pending::Finish(outgoing, then));
            return stuck(job, &format!("cannot publish: {error}"));
        }
        let outcome = Outcome::DeadLetter(Failure::new(error).with_kind("publish".into()));
        return match judge(outcome, &target.plan, tried(shared, &job, u32::MAX)) {
            Verdict::DeadLetter(failure) => bury(shared, target, job, failure).await,
            Verdict::Apart(failure) => apart(job, &failure),
            Verdict::Halt(failure) => halted(job, &failure),
            _ => End::GivenBack,
        };
    }
    if let Err(failure) = then.run().await {
        job.first.pending = Some(Pending::Finish(Vec::new(), then));
        return stuck(job, &format!("cannot note that it is done: {failure}"));
    }
    // What is noted for this record is let go before another may be handled for it.
    drop(then);
    done(&job)
}

/// Sends a record to its dead-letter topic. It is done when brokers have acknowledged that.
async fn bury(shared: &Shared, target: &Target, mut job: Job<Record>, failure: Failure) -> End<Record> {
    let record = &mut job.first;
    let Some(topic) = &target.dead_letters else { return halted(job, &failure) };
    let about = Circumstances {
        group: &shared.group,
        handler: &target.place.handler,
        attempts: record.attempts,
        first_failed_at: *record.first_failed_at.get_or_insert_with(clock::wall),
    };
    let letter = dead_letter::letter(topic, &record.message, &failure, about);
    let mut sent = shared.publisher.send(&letter).await;
    if sent.as_ref().is_err_and(is_refused_for_good) {
        sent = shared.publisher.send(&dead_letter::truncated(letter, KEPT)).await;
    }
    match sent {
        Ok(_) => {
            tracing::warn!(place = %LogPosition::from(&record.message), %topic, error = %failure, "dead-lettered");
            target.meters.dead_letter(failure.kind());
            done(&job)
        }
        Err(error) => {
            record.pending = Some(Pending::Bury(failure));
            stuck(job, &format!("cannot write a dead letter: {error}"))
        }
    }
}

/// The job is done, and may be committed.
fn done(job: &Job<Record>) -> End<Record> {
    let now_ms = clock::unix_ms();
    for record in job.iter() {
        record.message.ack();
        let age = u64::try_from(now_ms.saturating_sub(record.message.timestamp())).unwrap_or(0);
        let has_timestamp = record.message.timestamp() >= 0;
        record.target.meters.completed(has_timestamp.then(|| Duration::from_millis(age)));
    }
    End::Done
}

fn again(mut job: Job<Record>, failure: &Failure, delay: Duration) -> End<Record> {
    tracing::warn!(place = %LogPosition::from(&job.first.message), attempt = job.first.attempts, ?delay, error = %failure, "a record could not be handled: it is tried again");
    for record in job.iter_mut() {
        record.first_failed_at.get_or_insert_with(clock::wall);
    }
    job.first.trouble = Some(failure.to_string());
    End::Again(job, clock::now() + delay)
}

/// What is left to do cannot be done, which is not the record's fault: it is tried again for as long as it takes.
fn stuck(mut job: Job<Record>, why: &str) -> End<Record> {
    let waits = Retry::times(u32::MAX - 1).backoff(Duration::from_millis(100), 2, Duration::from_secs(10));
    job.first.stuck = job.first.stuck.saturating_add(1);
    let delay = waits.delay(job.first.stuck, fastrand::f64()).unwrap_or_default();
    tracing::warn!(place = %LogPosition::from(&job.first.message), ?delay, why, "a record waits");
    job.first.trouble = Some(why.to_owned());
    End::Again(job, clock::now() + delay)
}

/// A batch could not be handled: each of its records has its own tries.
fn apart(mut job: Job<Record>, failure: &Failure) -> End<Record> {
    tracing::warn!(place = %LogPosition::from(&job.first.message), records = job.len(), error = %failure, "a batch could not be handled: its records are handled one by one");
    for record in job.iter_mut() {
        record.attempts = 0;
    }
    End::Apart(job)
}

fn halted(mut job: Job<Record>, failure: &Failure) -> End<Record> {
    tracing::error!(place = %LogPosition::from(&job.first.message), error = %failure, "a record cannot be handled, and may not be passed by: its lane halts");
    for record in job.iter_mut() {
        // When it is let go on, it has all its tries again.
        record.attempts = 0;
    }
    job.first.trouble = Some(failure.to_string());
    End::Halted(job)
}
