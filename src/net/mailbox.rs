//! How outcomes get back to whoever made the call.

use std::{
    mem,
    sync::{Arc, Mutex},
};

use tokio::sync::oneshot;

use crate::{
    engine::machine::{Failure, Outcome, Token},
    error::ErrorKind,
    sync::{lock, wake::Wake},
};

/// Where the outcomes of one driver's calls arrive. It rings the driver's bell, which may also ring for other
/// things. It holds at most one outcome for each call that the driver has made.
#[derive(Debug)]
pub(crate) struct Mailbox {
    outcomes: Mutex<Vec<(Token, Outcome)>>,
    wake: Arc<Wake>,
}

impl Mailbox {
    pub(crate) fn new(wake: Arc<Wake>) -> Arc<Self> {
        Arc::new(Self { outcomes: Mutex::new(Vec::new()), wake })
    }

    /// The return address of the call `token`.
    pub(crate) fn reply(self: &Arc<Self>, token: Token) -> ReplyTo {
        ReplyTo(Address::Mailbox(Arc::clone(self), token))
    }

    /// What has arrived since it was last asked, in that order.
    pub(crate) fn take(&self) -> Vec<(Token, Outcome)> {
        mem::take(&mut *lock(&self.outcomes))
    }

    fn put(&self, token: Token, outcome: Outcome) {
        lock(&self.outcomes).push((token, outcome));
        self.wake.ring();
    }
}

/// The return address of one call. It delivers exactly one outcome: if nobody sends one, dropping it says that the
/// client is closed.
#[derive(Debug)]
pub(crate) struct ReplyTo(Address);

#[derive(Debug)]
enum Address {
    Mailbox(Arc<Mailbox>, Token),
    Oneshot(oneshot::Sender<Outcome>),
    Delivered,
}

impl ReplyTo {
    /// An address for one caller that waits. Its dropping the receiver harms nobody else.
    pub(crate) fn oneshot() -> (Self, oneshot::Receiver<Outcome>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Address::Oneshot(sender)), receiver)
    }

    pub(crate) fn send(mut self, outcome: Outcome) {
        self.deliver(outcome);
    }

    fn deliver(&mut self, outcome: Outcome) {
        match mem::replace(&mut self.0, Address::Delivered) {
            Address::Mailbox(mailbox, token) => mailbox.put(token, outcome),
            // A caller that went away does not want the outcome.
            Address::Oneshot(sender) => drop(sender.send(outcome)),
            Address::Delivered => {}
        }
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        if !matches!(self.0, Address::Delivered) {
            let error = ErrorKind::Closed { what: "client" }.into();
            self.deliver(Err(Failure { maybe_sent: true, error }));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_dropped_says_closed_once() {
        let mailbox = Mailbox::new(Arc::default());
        drop(mailbox.reply(Token(7)));
        mailbox.wake.rung().await;
        let outcomes = mailbox.take();
        let [(Token(7), Err(failure))] = outcomes.as_slice() else { panic!("{outcomes:?}") };
        assert!(matches!(failure.error.kind(), ErrorKind::Closed { .. }) && failure.maybe_sent);

        let (reply, outcome) = ReplyTo::oneshot();
        drop(reply);
        assert!(outcome.await.unwrap().is_err());
    }

    #[test]
    fn a_sent_outcome_is_the_only_one() {
        let mailbox = Mailbox::new(Arc::default());
        let error = ErrorKind::NoRuntime { call: "test" }.into();
        mailbox.reply(Token(1)).send(Err(Failure { maybe_sent: false, error }));
        assert_eq!(mailbox.take().len(), 1);
        assert!(mailbox.take().is_empty());
    }
}
