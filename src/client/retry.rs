//! Calls that are made again until they succeed, for callers that keep no state.

use std::time::Duration;

use crate::{
    client::Client,
    engine::{
        backoff::{Backoff, Random},
        machine::{Answer, Call, Failure, Outcome, Purpose, Target, Token, deadline_after},
    },
    error::{Disposition, Error, ErrorKind, Result},
    net::task,
    types::NodeId,
    wire::calls::{Request, Response, WrongResponse},
};

/// What such a caller wants: it says what to send, and what to make of the outcome.
pub(crate) trait Ask {
    type Output;

    /// The newest version to speak, below what both sides know.
    const MAX_VERSION: Option<i16> = None;

    fn target(&self) -> Target;

    /// What to send now. An answer that comes later than `patience` is not waited for.
    fn request(&self, patience: Duration) -> Request;

    fn judge(&mut self, outcome: Outcome) -> Verdict<Self::Output>;

    /// The result where there will be no further attempt: asking again cannot help, or time is up.
    ///
    /// # Errors
    /// The last error, unless something is known all the same.
    fn give_up(self, error: Error) -> Result<Self::Output>
    where
        Self: Sized,
    {
        Err(error)
    }
}

/// What a caller makes of an outcome.
#[derive(Debug)]
pub(crate) enum Verdict<T> {
    /// This is the result.
    Done(T),
    /// Asking again cannot help.
    Fail(Error),
    /// Ask again after a backoff.
    Retry(Error),
}

impl<T> Verdict<T> {
    /// Retries an error that may be over the next time, and fails with any other.
    pub(crate) fn of(error: Error) -> Self {
        if error.may_pass() { Self::Retry(error) } else { Self::Fail(error) }
    }
}

/// The answer as a response of the API that was asked.
///
/// # Errors
/// [`ErrorKind::Malformed`] where it is another's.
pub(crate) fn response<R: TryFrom<Response, Error = WrongResponse>>(answer: Answer) -> Result<R> {
    let node = answer.node;
    R::try_from(answer.response).map_err(|wrong| malformed(node, wrong.to_string()))
}

/// An answer that parses, and says what it may not.
pub(crate) fn malformed(node: NodeId, detail: impl Into<String>) -> Error {
    ErrorKind::Malformed { peer: format!("broker {node}"), detail: detail.into() }.into()
}

impl Client {
    /// Makes calls until `ask` is content with the outcome, or `timeout`, which `setting` sets, is over.
    ///
    /// # Errors
    /// Those of [`Ask::give_up`]; [`ErrorKind::NoRuntime`] outside a tokio runtime.
    ///
    /// # Cancel safety
    /// Dropping the future drops the answer; the request may have been carried out.
    pub(crate) async fn ask<A: Ask>(
        &self,
        mut ask: A,
        timeout: Duration,
        setting: &'static str,
    ) -> Result<A::Output> {
        // Between two attempts it sleeps, which takes a runtime; with luck there is only one.
        task::check_runtime(ask.request(timeout).key().name())?;
        let config = self.config();
        let backoff = Backoff { first: config.retry_backoff, max: config.retry_backoff_max };
        let mut random = Random::from_entropy();
        let deadline = deadline_after(self.now(), timeout);
        let mut attempt = 0;
        loop {
            let left = deadline.saturating_duration_since(self.now().instant);
            let patience = left.min(config.request_timeout);
            let mut outcome = self.attempt(&ask, patience).await;
            if left < config.request_timeout {
                outcome = outcome.map_err(|failure| blame(failure, timeout, setting));
            }
            let error = match ask.judge(outcome) {
                Verdict::Done(result) => return Ok(result),
                Verdict::Fail(error) => return ask.give_up(error),
                Verdict::Retry(error) => error,
            };
            let wait = backoff.delay(attempt, &mut random);
            let left = deadline.saturating_duration_since(self.now().instant);
            if wait >= left {
                return ask.give_up(error);
            }
            tracing::debug!(attempt, %error, ?wait, "making a call again");
            if error.code().is_none_or(|code| code.disposition() == Disposition::RefreshMetadata) {
                self.refresh();
            }
            attempt = attempt.saturating_add(1);
            #[expect(
                clippy::disallowed_methods,
                reason = "a caller without a machine waits here, in its own task"
            )]
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt<A: Ask>(&self, ask: &A, patience: Duration) -> Outcome {
        let call = Call {
            // It has no meaning here: the reply is this call's own.
            token: Token(0),
            target: ask.target(),
            purpose: Purpose::General,
            request: ask.request(patience),
            deadline: deadline_after(self.now(), patience),
            max_version: A::MAX_VERSION,
        };
        self.outcome(call).await
    }
}

/// Names the limit that was hit: the caller's, where that is shorter than the one for each request.
fn blame(Failure { maybe_sent, error }: Failure, after: Duration, setting: &'static str) -> Failure {
    let error = match error.kind() {
        ErrorKind::Timeout { what, .. } => ErrorKind::Timeout { what: what.clone(), after, setting }.into(),
        _ => error,
    };
    Failure { maybe_sent, error }
}
