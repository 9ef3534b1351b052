//! The transactions of one transactional id, as brokers are told of them (KIP-98, KIP-447, KIP-890).
//!
//! The machine asks one thing at a time, of the coordinator of the transactions or of that of a group, and each until
//! there is an answer that says what is the case: an ending whose outcome is not known is asked for again, the same one,
//! before anything else is. Records are no business of its own: whoever folds it with the sender says when a partition
//! is to be written to and when all is written.

mod open;
mod protocol;
mod requests;
mod verdict;

use std::time::{Duration, Instant};

use open::Open;
use verdict::{Step, Verdict};

use crate::{
    engine::{
        backoff::{Backoff, Random},
        machine::{
            Answer, Call, Failure, Now, Outbox, Outcome, Purpose, Target, Token, Tokens, deadline_after,
            earlier,
        },
        producer_id::ProducerId,
    },
    error::{Code, Error, ErrorKind},
    types::{NodeId, TopicPartition},
    wire::{
        calls::{Request, Response},
        str::Str,
        versions::api_versions,
    },
};

pub(crate) use open::{OffsetsOf, Ticket};
pub(crate) use protocol::Protocol;

/// How to ask.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) transactional_id: Str,
    /// After how long a transaction is aborted, by us and, should we be gone, by its coordinator.
    pub(crate) timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) retry: Backoff,
}

/// What the machine tells.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// What is written from now on is written under this identity.
    Identified(ProducerId),
    /// These partitions belong to the transaction and may be written to.
    Joined(Vec<TopicPartition>),
    /// Offsets were taken into the transaction, or not, and then it has failed.
    OffsetsTaken { ticket: Ticket, result: Result<(), Error> },
    /// The open transaction has failed: it can only be aborted.
    Failed(Error),
    /// The transaction is over.
    Ended { committed: bool },
    /// There will be no more transactions.
    Fatal(Error),
    /// The node does not coordinate the transactions, or cannot be reached.
    CoordinatorLost(NodeId),
    /// Likewise the group whose offsets are next.
    GroupCoordinatorLost(NodeId),
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Transactions {
    settings: Settings,
    coordinator: Option<NodeId>,
    /// That of the group whose offsets are next.
    group_coordinator: Option<NodeId>,
    /// How the coordinator speaks of transactions. Each is asked anew: where one has changed, a cluster may have been
    /// upgraded.
    learned: Option<(NodeId, Protocol)>,
    producer: Option<ProducerId>,
    phase: Phase,
    asked: Option<(Token, NodeId, Step)>,
    /// When to ask again after a failure.
    due: Option<Instant>,
    failures: u32,
    tokens: Tokens,
    random: Random,
}

#[derive(Debug)]
enum Phase {
    /// An identity is asked for, the first one or one with a higher epoch.
    Initialising,
    Ready,
    Open(Open),
    Ending(Ending),
    /// Something happened after which nothing helps.
    Over(Error),
}

#[derive(Clone, Copy, Debug)]
struct Ending {
    commit: bool,
    protocol: Protocol,
    /// Whether the coordinator certainly knows of the transaction: where it does not, it has nothing to abort.
    certain: bool,
    /// Another epoch is needed before the next transaction.
    renew: bool,
}

impl Transactions {
    pub(crate) fn new(settings: Settings, tokens: Tokens, random: Random) -> Self {
        Self {
            settings,
            coordinator: None,
            group_coordinator: None,
            learned: None,
            producer: None,
            phase: Phase::Initialising,
            asked: None,
            due: None,
            failures: 0,
            tokens,
            random,
        }
    }

    /// Who coordinates the transactions.
    pub(crate) fn set_coordinator(&mut self, node: Option<NodeId>) {
        self.coordinator = node;
        self.learned = self.learned.filter(|(from, _)| Some(*from) == node);
    }

    /// Who coordinates the [group](Self::group).
    pub(crate) fn set_group_coordinator(&mut self, node: Option<NodeId>) {
        self.group_coordinator = node;
    }

    /// The group whose offsets are next.
    pub(crate) fn group(&self) -> Option<Str> {
        match &self.phase {
            Phase::Open(open) => open.group(),
            _ => None,
        }
    }

    /// Whether there will be no more transactions.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over(_))
    }

    /// Whether a transaction can be opened now.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready) && self.learned.is_some()
    }

    /// Whether nothing is under way.
    pub(crate) fn is_at_rest(&self) -> bool {
        matches!(self.phase, Phase::Initialising | Phase::Ready | Phase::Over(_))
    }

    /// Opens a transaction. [`is_ready`](Self::is_ready) comes first.
    pub(crate) fn open(&mut self) -> Protocol {
        debug_assert!(self.is_ready(), "a transaction is opened when there is none");
        let protocol = self.learned.map_or(Protocol::V1, |(_, protocol)| protocol);
        self.phase = Phase::Open(Open::new(protocol));
        protocol
    }

    /// Takes a partition into the transaction, before it is written to.
    pub(crate) fn join(&mut self, partition: TopicPartition) {
        if let Phase::Open(open) = &mut self.phase {
            open.join(partition);
        }
    }

    /// Records are written, which may have begun the transaction at the coordinator.
    pub(crate) fn writes(&mut self, now: Now) {
        if let Phase::Open(open) = &mut self.phase {
            open.touch(now);
        }
    }

    /// Makes offsets of a group a part of the transaction.
    pub(crate) fn send_offsets(&mut self, ticket: Ticket, offsets: OffsetsOf, out: &mut Outbox<Event>) {
        let refused = match &mut self.phase {
            _ if offsets.offsets.is_empty() => Ok(()),
            Phase::Open(open) => match open.add_offsets(ticket, offsets) {
                Ok(()) => return,
                refused => refused,
            },
            Phase::Over(error) => Err(error.clone()),
            _ => Err(self.ended()),
        };
        out.events.push(Event::OffsetsTaken { ticket, result: refused });
    }

    /// Whether nothing that belongs to the transaction waits to be told, or for an answer.
    pub(crate) fn is_quiet(&self) -> bool {
        match &self.phase {
            Phase::Open(open) => open.pending().is_none() && self.asked.is_none(),
            _ => true,
        }
    }

    /// The open transaction has failed. What has not been told yet is not told any more.
    pub(crate) fn fail(&mut self, error: &Error, out: &mut Outbox<Event>) {
        if let Phase::Open(open) = &mut self.phase {
            for ticket in open.fail() {
                out.events.push(Event::OffsetsTaken { ticket, result: Err(error.clone()) });
            }
        }
    }

    /// Ends the transaction, of which nothing is under way any more. `broken`: sequences cannot go on under its epoch.
    pub(crate) fn end(&mut self, commit: bool, broken: bool, out: &mut Outbox<Event>) {
        let Phase::Open(open) = &self.phase else { return };
        debug_assert!(!(commit && (broken || open.failed)), "what has failed cannot be committed");
        let ending = Ending {
            commit,
            protocol: open.protocol,
            certain: open.certain,
            renew: broken || open.renew || open.unknown_id,
        };
        // A broker has an error for the commit of a transaction that it never heard of, and one that does not know the id
        // cannot end anything.
        if open.is_untouched() || open.unknown_id {
            self.over(ending, out);
        } else {
            self.phase = Phase::Ending(ending);
        }
        self.failures = 0;
        self.due = None;
    }

    pub(crate) fn tick(&mut self, now: Now, out: &mut Outbox<Event>) {
        if let Phase::Open(open) = &self.phase
            && open.until(self.settings.timeout).is_some_and(|until| until <= now.instant)
        {
            let what = format!("the end of the transaction of {:?}", &*self.settings.transactional_id);
            let (after, setting) = (self.settings.timeout, "transaction_timeout");
            self.give_up(ErrorKind::Timeout { what, after, setting }.into(), out);
        }
        if self.due.is_none_or(|due| due <= now.instant) && self.asked.is_none() {
            self.ask(now, out);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        if matches!(self.phase, Phase::Over(_)) {
            return None;
        }
        let due = self.due.filter(|_| self.asked.is_none());
        let open = match &self.phase {
            Phase::Open(open) => open.until(self.settings.timeout),
            _ => None,
        };
        earlier(due, open)
    }

    pub(crate) fn answer(&mut self, now: Now, token: Token, outcome: Outcome, out: &mut Outbox<Event>) {
        if let Some((_, node, step)) = self.asked.take_if(|(asked, ..)| *asked == token) {
            self.judge(now, node, step, outcome, out);
        }
    }

    /// Asserts what must hold between two steps.
    pub(crate) fn check(&self) {
        let has_identity =
            matches!(self.phase, Phase::Initialising | Phase::Over(_)) || self.producer.is_some();
        debug_assert!(has_identity, "without an identity there is no transaction");
        let from = self.learned.map(|(node, _)| node);
        debug_assert!(from.is_none() || from == self.coordinator, "learned from somebody else");
        if let Phase::Open(open) = &self.phase {
            open.check();
        }
    }

    // ---- asking ----------------------------------------------------------------------------------------------

    /// What to ask next, and whom.
    fn next(&self) -> Option<(Step, NodeId)> {
        let coordinator = self.coordinator?;
        if matches!(self.phase, Phase::Over(_)) {
            return None;
        }
        if self.learned.is_none() {
            return Some((Step::Learn, coordinator));
        }
        match &self.phase {
            Phase::Initialising => Some((Step::Initialise, coordinator)),
            Phase::Open(open) => match open.pending()? {
                Step::CommitOffsets => Some((Step::CommitOffsets, self.group_coordinator?)),
                step => Some((step, coordinator)),
            },
            Phase::Ending(ending) => Some((Step::End { commit: ending.commit }, coordinator)),
            Phase::Ready | Phase::Over(_) => None,
        }
    }

    fn ask(&mut self, now: Now, out: &mut Outbox<Event>) {
        self.due = None;
        let Some((step, node)) = self.next() else { return };
        let (request, max_version) = self.request(step);
        let token = self.tokens.next();
        self.asked = Some((token, node, step));
        if let Phase::Open(open) = &mut self.phase
            && step != Step::Learn
        {
            open.touch(now);
        }
        out.calls.push(Call {
            token,
            target: Target::Broker(node),
            purpose: Purpose::General,
            request,
            deadline: deadline_after(now, self.settings.request_timeout),
            max_version,
        });
    }

    fn request(&self, step: Step) -> (Request, Option<i16>) {
        let id = &self.settings.transactional_id;
        let producer = self.producer.unwrap_or(ProducerId { id: -1, epoch: -1 });
        let is_v1 = match &self.phase {
            Phase::Open(open) => open.protocol == Protocol::V1,
            Phase::Ending(ending) => ending.protocol == Protocol::V1,
            _ => false,
        };
        match (step, &self.phase) {
            (Step::AddPartitions, Phase::Open(open)) => {
                (requests::add_partitions(id, producer, open.applying()).into(), None)
            }
            (Step::AddOffsets, Phase::Open(open)) => {
                let group = open.group().unwrap_or_default();
                (requests::add_offsets(id, producer, &group).into(), None)
            }
            (Step::CommitOffsets, Phase::Open(open)) => {
                let Some(offsets) = open.next_offsets() else { return (api_versions().into(), None) };
                let by_name = offsets.by_name().then_some(requests::LAST_TXN_OFFSET_COMMIT_BY_NAME);
                let max = if is_v1 { Some(requests::LAST_TXN_OFFSET_COMMIT_OF_V1) } else { by_name };
                (requests::commit_offsets(id, producer, offsets).into(), max)
            }
            (Step::End { commit }, _) => {
                let max = is_v1.then_some(requests::LAST_END_TXN_OF_V1);
                (requests::end(id, producer, commit).into(), max)
            }
            (Step::Initialise, _) => {
                let timeout = i32::try_from(self.settings.timeout.as_millis()).unwrap_or(i32::MAX);
                (requests::initialise(id, timeout, producer).into(), None)
            }
            _ => (api_versions().into(), None),
        }
    }

    // ---- answers ---------------------------------------------------------------------------------------------

    fn judge(&mut self, now: Now, node: NodeId, step: Step, outcome: Outcome, out: &mut Outbox<Event>) {
        if matches!(&outcome, Err(failure) if failure.maybe_sent) {
            self.doubt(step);
        }
        let answer = match outcome {
            Ok(answer) => answer,
            Err(Failure { error, .. }) if error.may_pass() => return self.elsewhere(now, node, step, out),
            Err(Failure { error, .. }) => return self.finish(error, out),
        };
        let (code, subject) = self.read(step, &answer.response, out);
        let Some(code) = code else { return self.elsewhere(now, node, step, out) };
        match verdict::of(step, code) {
            Verdict::Done => {
                self.failures = 0;
                self.done(step, node, &answer, out);
            }
            Verdict::Again { .. } if self.is_missing(step, code) => {
                self.give_up(Error::broker(code, step.request(), subject), out);
            }
            Verdict::Again { soon } => self.back_off(now, soon),
            Verdict::Elsewhere => self.elsewhere(now, node, step, out),
            // In a transaction that its coordinator may not have heard of there is nothing that could be aborted.
            Verdict::Fatal if code == Code::INVALID_TXN_STATE && self.is_vain_abort() => {
                self.done(step, node, &answer, out);
            }
            Verdict::Abort => self.give_up(Error::broker(code, step.request(), subject), out),
            Verdict::Renew => self.renew(Error::broker(code, step.request(), subject), out),
            Verdict::Fenced => {
                let identity = format!("transactional id {:?}", &*self.settings.transactional_id);
                self.finish(ErrorKind::Fenced { identity }.into(), out);
            }
            Verdict::Fatal => self.finish(Error::broker(code, step.request(), subject), out),
        }
    }

    /// The code of an answer, and what it is about; no code where it is not the answer to what was asked.
    fn read(&mut self, step: Step, response: &Response, out: &mut Outbox<Event>) -> (Option<Code>, String) {
        let id = self.settings.transactional_id.as_str().to_owned();
        match (&mut self.phase, response) {
            (Phase::Open(open), Response::AddPartitionsToTxn(response)) => {
                let (joined, refused) = requests::read_partitions(open.applying(), response);
                open.taken_in(&joined);
                if !joined.is_empty() {
                    open.certain = true;
                    out.events.push(Event::Joined(joined));
                }
                refused.map_or((Some(Code::NONE), id), |(code, subject)| (Some(code), subject))
            }
            (Phase::Open(open), Response::TxnOffsetCommit(response)) => match open.next_offsets() {
                Some(offsets) => requests::read_offsets(offsets, response),
                // They were given up meanwhile.
                None => (Some(Code::NONE), id),
            },
            (Phase::Open(open), Response::AddOffsetsToTxn(response)) => {
                let group = open.group().map(|group| group.as_str().to_owned());
                (Some(Code::new(response.error_code)), group.unwrap_or(id))
            }
            (_, Response::ApiVersions(response)) if step == Step::Learn => {
                (Some(Code::new(response.error_code)), id)
            }
            (_, Response::InitProducerId(response)) => (Some(Code::new(response.error_code)), id),
            (_, Response::EndTxn(response)) => (Some(Code::new(response.error_code)), id),
            _ => (None, id),
        }
    }

    fn done(&mut self, step: Step, node: NodeId, answer: &Answer, out: &mut Outbox<Event>) {
        match (step, &mut self.phase, &answer.response) {
            (Step::Learn, _, Response::ApiVersions(response)) if self.coordinator == Some(node) => {
                self.learned = Some((node, requests::protocol(response)));
            }
            (Step::Initialise, Phase::Initialising, Response::InitProducerId(response)) => {
                let producer = ProducerId { id: response.producer_id, epoch: response.producer_epoch };
                self.phase = Phase::Ready;
                self.identified(producer, out);
            }
            (Step::AddOffsets, Phase::Open(open), _) => {
                open.certain = true;
                open.group_added();
            }
            (Step::CommitOffsets, Phase::Open(open), _) => {
                open.certain = true;
                if let Some(ticket) = open.offsets_done() {
                    out.events.push(Event::OffsetsTaken { ticket, result: Ok(()) });
                }
            }
            (Step::End { .. }, Phase::Ending(ending), Response::EndTxn(response)) => {
                let mut ending = *ending;
                // From version 5 on each end bumps the epoch.
                if answer.version > requests::LAST_END_TXN_OF_V1 && response.producer_id >= 0 {
                    ending.renew = false;
                    let producer = ProducerId { id: response.producer_id, epoch: response.producer_epoch };
                    self.identified(producer, out);
                }
                self.over(ending, out);
            }
            _ => {}
        }
    }

    fn identified(&mut self, producer: ProducerId, out: &mut Outbox<Event>) {
        tracing::debug!(
            transactional_id = %self.settings.transactional_id,
            producer_id = producer.id,
            epoch = producer.epoch,
            "the transactional producer has its id"
        );
        self.producer = Some(producer);
        out.events.push(Event::Identified(producer));
    }

    /// A transaction is over. Where sequences cannot go on, another epoch is asked for before the next one.
    fn over(&mut self, ending: Ending, out: &mut Outbox<Event>) {
        self.phase = if ending.renew { Phase::Initialising } else { Phase::Ready };
        out.events.push(Event::Ended { committed: ending.commit });
    }

    /// Whether a group's coordinator has said often enough that it does not know a topic: its view may be behind, but one
    /// that was deleted does not come back.
    fn is_missing(&self, step: Step, code: Code) -> bool {
        let is_unknown = matches!(code, Code::UNKNOWN_TOPIC_OR_PARTITION | Code::UNKNOWN_TOPIC_ID);
        step == Step::CommitOffsets && is_unknown && self.failures >= MISSING
    }

    /// Whether what is being aborted may have been unknown to its coordinator all along.
    fn is_vain_abort(&self) -> bool {
        matches!(self.phase, Phase::Ending(Ending { commit: false, certain: false, .. }))
    }

    // ---- trouble ---------------------------------------------------------------------------------------------

    fn back_off(&mut self, now: Now, soon: bool) {
        let retry =
            if soon { Backoff { first: SOON, max: self.settings.retry.first } } else { self.settings.retry };
        let wait = retry.delay(self.failures, &mut self.random);
        self.failures = self.failures.saturating_add(1);
        self.due = Some(deadline_after(now, wait));
    }

    /// `node` is not the coordinator, or did not answer.
    fn elsewhere(&mut self, now: Now, node: NodeId, step: Step, out: &mut Outbox<Event>) {
        if step == Step::CommitOffsets {
            self.group_coordinator.take_if(|known| *known == node);
            out.events.push(Event::GroupCoordinatorLost(node));
        } else if self.coordinator == Some(node) {
            self.set_coordinator(None);
            out.events.push(Event::CoordinatorLost(node));
        }
        self.back_off(now, false);
    }

    /// A request may have been sent and was not answered. It may still arrive, in the next transaction: in the first
    /// version that has the same epoch, and would be ended, or given old offsets.
    fn doubt(&mut self, step: Step) {
        match &mut self.phase {
            Phase::Open(open) if step != Step::Learn => open.renew |= open.protocol == Protocol::V1,
            Phase::Ending(ending) if step != Step::Learn => ending.renew |= ending.protocol == Protocol::V1,
            _ => {}
        }
    }

    /// The transaction can only be aborted; one that is being committed is aborted in its stead.
    pub(crate) fn give_up(&mut self, error: Error, out: &mut Outbox<Event>) {
        match &mut self.phase {
            Phase::Open(open) if open.failed => {}
            Phase::Open(_) => {
                self.fail(&aborted(&error), out);
                out.events.push(Event::Failed(error));
            }
            Phase::Ending(ending) => {
                // An earlier attempt at the commit may have been carried out: if the abort is refused, it was no vain one.
                ending.certain |= ending.commit;
                ending.commit = false;
                out.events.push(Event::Failed(error));
            }
            _ => {}
        }
    }

    /// Likewise, and the coordinator does not know the producer id.
    fn renew(&mut self, error: Error, out: &mut Outbox<Event>) {
        match &mut self.phase {
            Phase::Open(open) => {
                open.unknown_id = true;
                self.give_up(error, out);
            }
            Phase::Ending(ending) => {
                let ending = Ending { commit: false, renew: true, ..*ending };
                out.events.push(Event::Failed(error));
                self.over(ending, out);
            }
            _ => {}
        }
    }

    /// Nothing helps any more.
    pub(crate) fn finish(&mut self, error: Error, out: &mut Outbox<Event>) {
        let error = match error.kind() {
            ErrorKind::Fenced { .. } => error,
            _ => ErrorKind::ProducerFailed {
                transactional_id: self.settings.transactional_id.as_str().to_owned(),
                cause: error,
            }
            .into(),
        };
        self.fail(&error, out);
        self.phase = Phase::Over(error.clone());
        self.asked = None;
        out.events.push(Event::Fatal(error));
    }

    /// What is said of a transaction that is over, or never was.
    pub(crate) fn ended(&self) -> Error {
        let transactional_id = self.settings.transactional_id.as_str().to_owned();
        ErrorKind::TransactionEnded { transactional_id }.into()
    }
}

/// How often a topic that a group's coordinator does not know is asked about again.
const MISSING: u32 = 4;

/// The first wait for what is in the way of the next transaction: mostly markers that are being written.
const SOON: Duration = Duration::from_millis(5);

/// What is said of a transaction that has failed for this reason.
pub(crate) fn aborted(cause: &Error) -> Error {
    ErrorKind::TransactionAborted { cause: Some(cause.clone()) }.into()
}

#[cfg(test)]
mod tests;
