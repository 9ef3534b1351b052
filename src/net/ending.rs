//! The end of a task that has something to do before it ends, and whoever waits for it.

use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind, Result};

/// Tells whoever asked for the end how it came: dropped with the task, it says so if the end was not reached.
#[derive(Debug)]
pub(crate) struct Ending {
    /// What ends, as users call it.
    what: &'static str,
    is_asked: bool,
    is_reached: bool,
    waiting: Option<oneshot::Sender<Result<()>>>,
}

impl Ending {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, is_asked: false, is_reached: false, waiting: None }
    }

    /// The end is asked for, by somebody who waits for it or since nobody is left; whether for the first time. Whoever
    /// comes later is told at once that it is closed.
    pub(crate) fn ask(&mut self, reply: Option<oneshot::Sender<Result<()>>>) -> bool {
        let is_first = !self.is_asked;
        if is_first {
            self.is_asked = true;
            self.waiting = reply;
        } else {
            reply.map(|reply| reply.send(Err(self.closed())));
        }
        is_first
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// All is done.
    pub(crate) fn reach(&mut self) {
        self.is_reached = true;
    }

    pub(crate) fn is_reached(&self) -> bool {
        self.is_reached
    }

    fn closed(&self) -> Error {
        ErrorKind::Closed { what: self.what }.into()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let outcome = if self.is_reached { Ok(()) } else { Err(self.closed()) };
        self.waiting.take().map(|waiting| waiting.send(outcome));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_first_who_asks_waits_and_others_are_told_at_once() {
        let mut ending = Ending::new("consumer");
        let (first, mut waits) = oneshot::channel();
        let (second, mut told) = oneshot::channel();
        assert!(ending.ask(Some(first)) && !ending.ask(Some(second)) && !ending.ask(None));
        assert!(waits.try_recv().is_err());
        let refused = told.try_recv().unwrap().unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::Closed { what: "consumer" }));
        ending.reach();
        drop(ending);
        assert!(waits.try_recv().unwrap().is_ok());
    }

    #[test]
    fn who_waits_is_told_when_the_task_ends_before() {
        let mut ending = Ending::new("consumer");
        let (reply, mut waits) = oneshot::channel();
        assert!(ending.ask(Some(reply)));
        drop(ending);
        assert!(waits.try_recv().unwrap().is_err());
    }
}
