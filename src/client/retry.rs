//! Calls that are made again until they succeed, for callers that keep no state.

use std::time::Duration;

use crate::{
    client::Client,
    engine::{
        backoff::{Backoff, Random},
        machine::{Answer, Purpose, Target, deadline_after},
    },
    error::{Disposition, Error, Result},
    wire::calls::Request,
};

/// What a caller makes of an answer.
#[derive(Debug)]
pub(crate) enum Verdict<T> {
    /// This is the result.
    Done(T),
    /// Asking again cannot help.
    Fail(Error),
    /// Ask again after a backoff; the error is the result if there is no time left.
    Retry(Error),
}

impl<T> Verdict<T> {
    /// Retries an error that says that this may help, and fails with any other.
    pub(crate) fn of(error: Error) -> Self {
        if error.is_retriable() { Self::Retry(error) } else { Self::Fail(error) }
    }
}

impl Client {
    /// Makes a call until `judge` is content with the answer, or `timeout` is over. Calls that bring no answer are
    /// made again where their error says that this may help.
    ///
    /// # Errors
    /// The last error when there is no time left for another attempt.
    ///
    /// # Cancel safety
    /// Dropping the future drops the answer; the request may have been carried out.
    pub(crate) async fn call_with_retry<T>(
        &self,
        target: Target,
        request: Request,
        timeout: Duration,
        mut judge: impl FnMut(Answer) -> Verdict<T>,
    ) -> Result<T> {
        let config = self.config();
        let backoff = Backoff { first: config.retry_backoff, max: config.retry_backoff_max };
        let mut random = Random::new(self.now().unix_ms.unsigned_abs());
        let deadline = deadline_after(self.now(), timeout);
        let mut attempt = 0;
        loop {
            let left = deadline.saturating_duration_since(self.now().instant);
            let patience = left.min(config.request_timeout);
            let verdict = match self.call(target, Purpose::General, request.clone(), patience).await {
                Ok(answer) => judge(answer),
                Err(error) => Verdict::of(error),
            };
            let error = match verdict {
                Verdict::Done(result) => return Ok(result),
                Verdict::Fail(error) => return Err(error),
                Verdict::Retry(error) => error,
            };
            let wait = backoff.delay(attempt, &mut random);
            let left = deadline.saturating_duration_since(self.now().instant);
            if wait >= left {
                return Err(error);
            }
            tracing::debug!(request = request.key().name(), attempt, %error, ?wait, "making a call again");
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
}
