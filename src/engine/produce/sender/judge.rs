//! What the sender makes of answers, and of their absence.

use std::{mem, sync::Arc, time::Instant};

use super::{
    super::{
        answers::{Answers, leader_hint},
        batch::{Batch, Completion},
        lane::Lane,
        outcome::NOWHERE,
        queue::{LaneId, PartitionQueue},
        verdict::{self, Blame, Verdict},
    },
    Event, InFlight, Sender,
    divide::divide,
};
use crate::{
    engine::machine::{Failure, Now, Outbox, Outcome, Token},
    error::{Error, ErrorKind},
    wire::messages::produce_response::ProduceResponse,
};

impl Sender {
    /// Takes the outcome of one of its Produce calls.
    pub(super) fn judge_outcome(
        &mut self,
        now: Now,
        token: Token,
        request: &InFlight,
        outcome: Outcome,
        out: &mut Outbox<Event>,
    ) {
        match outcome {
            Ok(answer) => match ProduceResponse::try_from(answer.response) {
                Ok(response) => self.judge_all(now, token, request, &response, out),
                Err(_) => self.lost_all(now, token, request, &unexpected(), true, out),
            },
            Err(Failure { maybe_sent, error }) => {
                self.lost_all(now, token, request, &error, maybe_sent, out);
            }
        }
    }

    fn judge_all(
        &mut self,
        now: Now,
        token: Token,
        request: &InFlight,
        response: &ProduceResponse,
        out: &mut Outbox<Event>,
    ) {
        let answers = Answers::index(response);
        for id in &request.lanes {
            let Some(lane) = self.lanes.get(id) else { continue };
            let asked = lane.asked_id(token);
            let verdict = match answers.get(lane, asked) {
                Some(answer) => {
                    out.events.extend(leader_hint(lane, asked, response, answer).map(Event::LeaderChanged));
                    verdict::read(answer, &lane.queue.topic_partition())
                }
                None if self.config.acks == 0 => Verdict::Written(NOWHERE),
                // An answer that misses a partition acknowledges nothing.
                None => Verdict::Retry { error: unexpected(), maybe_written: true, refresh: true },
            };
            self.judge(now, token, *id, verdict, out);
        }
    }

    /// No answer, or none that can be read.
    fn lost_all(
        &mut self,
        now: Now,
        token: Token,
        request: &InFlight,
        error: &Error,
        maybe_sent: bool,
        out: &mut Outbox<Event>,
    ) {
        for id in &request.lanes {
            let error = error.clone();
            // With acks = 0 nobody will ever know: sending again could write it twice.
            let gone = maybe_sent && self.config.acks == 0;
            let verdict = if gone || !(error.may_pass() || maybe_sent) {
                Verdict::Rejected { error, maybe_written: maybe_sent, blame: Blame::Batch }
            } else {
                Verdict::Retry { error, maybe_written: maybe_sent, refresh: true }
            };
            self.judge(now, token, *id, verdict, out);
        }
    }

    fn judge(&mut self, now: Now, token: Token, id: LaneId, verdict: Verdict, out: &mut Outbox<Event>) {
        let rules = self.division_rules();
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Some(sent) = lane.answered(token) else { return };
        let Some((mut batch, verdict)) = divide(lane, sent.batch, sent.overdue, verdict, rules, out) else {
            return;
        };
        let breaks = !lane.is_broken();
        let mut hopeless = false;
        let backoff = match verdict {
            Verdict::Written(written) => {
                lane.acknowledged(sent.topic_id);
                out.events.push(Event::Completed(batch.complete(Ok(written))));
                return;
            }
            Verdict::Rejected { error, maybe_written, .. } => {
                end_unwritten(lane, &batch, maybe_written);
                batch.maybe_written |= maybe_written;
                out.events.push(Event::Completed(fail_given_up(now, batch, Some(&error))));
                return;
            }
            Verdict::Retry { error, maybe_written, refresh } => {
                batch.maybe_written |= maybe_written;
                batch.last_error = Some(error);
                if refresh {
                    out.events.push(Event::RefreshMetadata);
                }
                true
            }
            Verdict::Gap(error) if batch.maybe_written && lane.is_oldest(batch.order) => {
                // A copy that was never answered may still arrive, and so may what is missing before it: under a new
                // stamp it could be there twice.
                lane.break_off();
                let outcome = Err(undelivered(now, batch.created, true, Some(error)));
                out.events.push(Event::Completed(batch.complete(outcome)));
                return;
            }
            Verdict::Gap(error) => {
                batch.last_error = Some(error);
                // Behind one that is outstanding the gap is expected: this one had overtaken it.
                let counts = !batch.maybe_written && (lane.is_oldest(batch.order) || lane.is_broken());
                if counts {
                    lane.leave_hole(batch.order);
                }
                hopeless = counts && self.identity.is_given();
                counts && breaks && lane.fails_again()
            }
            Verdict::StaleIdentity(error) => {
                batch.last_error = Some(error);
                if let Some((producer, _)) = batch.stamp {
                    self.identity.renounce(producer);
                }
                lane.leave_hole(batch.order);
                hopeless = self.identity.is_given();
                breaks && lane.fails_again()
            }
        };
        if hopeless || (self.doomed.is_some() && !sent.overdue) {
            // Only the end of the transaction brings another epoch, and a transaction that has failed is not written on.
            end_unwritten(lane, &batch, batch.maybe_written);
            out.events.push(Event::Completed(fail_given_up(now, batch, self.doomed.as_ref())));
            return;
        }
        if sent.overdue {
            // Its records were told that it failed; it only ends here.
            end_unwritten(lane, &batch, batch.maybe_written);
            let outcome = Err(undelivered(now, batch.created, true, batch.last_error.clone()));
            out.events.push(Event::Completed(batch.complete(outcome)));
            return;
        }
        if backoff {
            lane.back_off(now, self.config.backoff, &mut self.random);
        }
        tracing::debug!(partition = %lane.queue.topic_partition(), error = ?batch.last_error, "batch will be sent again");
        out.events.push(Event::Retried(Arc::clone(&batch.done)));
        lane.send_again(batch);
    }

    pub(super) fn expire(&mut self, now: Now, id: LaneId, out: &mut Outbox<Event>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Some(limit) = now.instant.checked_sub(self.config.delivery_timeout) else { return };
        while let Some(backlog) = lane.queue.backlog()
            && backlog.since <= limit
        {
            let Some(full) = lane.queue.take() else { break };
            let cause = lane.outstanding().find_map(|batch| batch.last_error.clone());
            let outcome = Err(undelivered(now, full.opened_at, false, cause));
            out.events.push(Event::Completed(Completion::of_full(full, outcome)));
        }
        let (ended, overdue) = lane.expire(limit);
        for batch in overdue {
            let outcome = Err(undelivered(now, batch.created, true, batch.last_error.clone()));
            out.events.push(Event::Completed(batch.complete_early(outcome)));
        }
        for batch in ended {
            let outcome = Err(undelivered(now, batch.created, batch.maybe_written, batch.last_error.clone()));
            out.events.push(Event::Completed(batch.complete(outcome)));
        }
    }

    /// Ends what was on its way to topics that were deleted and created anew: who sent it did not mean these.
    pub(super) fn end_recreated(&mut self, now: Now, out: &mut Outbox<Event>) {
        for id in mem::take(&mut self.recreated) {
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            let error =
                ErrorKind::TopicRecreated { topic: lane.queue.topic.clone(), setting: "recreated_topics" }
                    .into();
            fail_queue(&lane.queue, &error, out);
            let (ended, in_flight) = lane.expire(now.instant);
            for batch in in_flight {
                let outcome = Err(undelivered(now, batch.created, true, Some(error.clone())));
                out.events.push(Event::Completed(batch.complete_early(outcome)));
            }
            let ended = ended.into_iter().map(|batch| fail_given_up(now, batch, Some(&error)));
            out.events.extend(ended.map(Event::Completed));
            self.schedule(now, id);
        }
    }

    /// Ends everything that is outstanding with `error`; what was sent may have been written.
    pub(crate) fn abandon(&mut self, now: Now, error: &Error, out: &mut Outbox<Event>) {
        self.accumulator.close();
        for queue in self.accumulator.topics().flat_map(|topic| &topic.partitions) {
            fail_queue(queue, error, out);
        }
        for lane in self.lanes.values_mut() {
            for (batch, in_flight) in lane.take_outstanding() {
                let maybe_written = in_flight || batch.maybe_written;
                let outcome = Err(undelivered(now, batch.created, maybe_written, Some(error.clone())));
                out.events.push(Event::Completed(batch.complete(outcome)));
            }
        }
        self.requests.clear();
        self.brokers.clear();
    }

    /// Ends what waits for an identity that will not come. What has a stamp may have been written, and needs no other.
    pub(super) fn fail_waiting(&mut self, error: &Error, out: &mut Outbox<Event>) {
        for lane in self.lanes.values_mut() {
            fail_queue(&lane.queue, error, out);
            for batch in lane.take_unstamped() {
                let outcome = Err(error.clone());
                out.events.push(Event::Completed(batch.complete(outcome)));
            }
        }
    }
}

/// A batch has ended and was not acknowledged: its sequence will not come.
fn end_unwritten(lane: &mut Lane, batch: &Batch, maybe_written: bool) {
    match batch.stamp {
        None => {}
        Some(_) if maybe_written || batch.maybe_written => lane.break_off(),
        Some(_) => lane.leave_hole(batch.order),
    }
}

/// The end of a batch that is not sent again, because its transaction has failed, for this or for another reason.
pub(super) fn fail_given_up(now: Now, batch: Batch, doom: Option<&Error>) -> Completion {
    let error = match (batch.maybe_written, doom.or(batch.last_error.as_ref()).cloned()) {
        (false, Some(error)) => error,
        (maybe_written, cause) => undelivered(now, batch.created, maybe_written, cause),
    };
    batch.complete(Err(error))
}

fn undelivered(now: Now, created: Instant, maybe_written: bool, cause: Option<Error>) -> Error {
    let after = now.instant.saturating_duration_since(created);
    ErrorKind::Undelivered { maybe_written, after, cause }.into()
}

fn unexpected() -> Error {
    let detail = "the answer to Produce misses a partition, or is not one".to_owned();
    ErrorKind::Malformed { peer: "a broker".to_owned(), detail }.into()
}

pub(super) fn fail_queue(queue: &PartitionQueue, error: &Error, out: &mut Outbox<Event>) {
    while let Some(full) = queue.take() {
        let outcome = Err(error.clone());
        out.events.push(Event::Completed(Completion::of_full(full, outcome)));
    }
}
