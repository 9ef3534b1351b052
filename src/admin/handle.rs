//! The handle of all admin calls, and what they have in common.

use std::time::Duration;

use crate::{
    client::{
        Client,
        offsets::{Listed, Offsets},
        retry::Ask,
    },
    error::Result,
};

/// Looks after a cluster. Cheap to clone; it keeps no state but its time limit.
///
/// A call is made again while an error says that this may help, such as a lost connection, a controller that moved, or
/// an exhausted quota (KIP-599), with [`Config::retry_backoff`](crate::Config::retry_backoff) in between, until
/// [`timeout`](Self::timeout) is over.
///
/// Calls about several topics have two layers of errors: the outer says that the call as a whole failed, and nothing
/// is known of any topic; the inner, in the map, what became of each.
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
    timeout: Duration,
}

impl Client {
    /// Admin calls over this client's connections.
    #[must_use]
    pub fn admin(&self) -> Admin {
        let timeout = self.config().request_timeout.saturating_mul(2);
        Admin { client: self.clone(), timeout }
    }
}

impl Admin {
    /// How long each call may take, with all its attempts. Default: twice
    /// [`Config::request_timeout`](crate::Config::request_timeout), 60 s unless that is set, so that a broker which
    /// never answers leaves time to ask another. Java: `default.api.timeout.ms`.
    ///
    /// ```no_run
    /// # async fn example(client: milena::Client) -> milena::Result<()> {
    /// use std::time::Duration;
    ///
    /// let hasty = client.admin().timeout(Duration::from_secs(5));
    /// println!("{} topics", hasty.list_topics().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    pub(super) async fn list(&self, offsets: Offsets) -> Result<Listed> {
        self.client.list_offsets(offsets, self.timeout, "Admin::timeout").await
    }

    pub(super) async fn ask<A: Ask>(&self, ask: A) -> Result<A::Output> {
        self.client.ask(ask, self.timeout, "Admin::timeout").await
    }
}
