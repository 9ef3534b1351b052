//! The handle to a cluster: connections, the view of the cluster, the clock.

mod driver;
mod inbox;
pub(crate) mod offsets;
pub(crate) mod retry;
mod shared;

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::watch;
use tracing::Instrument;

use crate::{
    config::Config,
    engine::{
        catalog::snapshot::{LeaderHint, Snapshot, Topic},
        machine::{Call, Failure, Now, Outcome, Owner},
    },
    error::{ErrorKind, Result},
    metrics::{Metrics, MetricsSnapshot},
    net::{
        clock::Clock,
        mailbox::{Mailbox, ReplyTo},
        transport::{Tcp, Transport},
    },
    sync::wake::Wake,
    types::TopicName,
};

use driver::Driver;
use shared::{Shared, topic_error};

/// A handle to a cluster. Cheap to clone; all clones share their connections.
///
/// Connections are opened when they are needed, one for each broker and purpose, and closed after
/// [`Config::connections_max_idle`]. When the last clone is dropped, and every producer and consumer made from one,
/// all are closed and the client's tasks end.
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

/// What the clones share. Dropping it ends the tasks.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { bootstrap, client_id, .. } = self.config();
        f.debug_struct("Client")
            .field("bootstrap", bootstrap)
            .field("client_id", client_id)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to a cluster, over TCP, and waits for the first broker that answers.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with all that is wrong with the settings. [`ErrorKind::NoRuntime`] outside a tokio
    /// runtime. [`ErrorKind::Unreachable`] if no broker has answered in [`Config::bootstrap_timeout`], with every
    /// address and why it failed. At once, if waiting cannot help: where the only address is no broker's,
    /// [`ErrorKind::NotKafka`], [`ErrorKind::FrameSize`], [`ErrorKind::Malformed`] or
    /// [`ErrorKind::UnsupportedVersion`]; where there are several and all are like that,
    /// [`ErrorKind::Unreachable`].
    ///
    /// # Cancel safety
    /// Dropping the future closes what it has opened.
    pub async fn connect(config: Config) -> Result<Self> {
        Self::connect_over(Tcp, config).await
    }

    /// As [`connect`](Self::connect), over another transport.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    /// As [`connect`](Self::connect).
    pub async fn connect_over(transport: impl Transport + 'static, config: Config) -> Result<Self> {
        config.check()?;
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| ErrorKind::NoRuntime { call: "Client::connect" })?;
        let wake = Arc::new(Wake::default());
        let shared = Shared::new(config, Arc::new(transport), runtime.clone(), Arc::clone(&wake));
        let driver = Driver::new(Arc::clone(&shared), wake);
        let client = Self { handle: Arc::new(Handle { shared }) };
        // The task ends when the client is closed, which the last handle does.
        let span = tracing::info_span!("client", client_id = client.config().client_id);
        drop(runtime.spawn(driver.run().instrument(span)));
        client.shared().first_answer().await?;
        Ok(client)
    }

    /// The name that the client tells brokers ([`Config::client_id`]), and by which metrics are told apart.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.config().client_id
    }

    /// Closes the client for all its clones: connections are closed, what is in flight fails, and every later call
    /// returns [`ErrorKind::Closed`]. Close producers and consumers first. A second call does nothing.
    pub fn close(&self) {
        self.shared().close();
    }

    /// What the client and all its producers and consumers have counted until now: connections, requests, batches and
    /// bytes. It costs a few microseconds and a copy of each number; nothing waits for it. It may be called after
    /// [`close`](Self::close).
    ///
    /// ```no_run
    /// # async fn example(client: milena::Client) {
    /// let metrics = client.metrics();
    /// for (broker, counted) in &metrics.brokers {
    ///     println!("broker {broker}: {} requests, p99 {:?}", counted.requests, counted.request_latency.p99());
    /// }
    /// println!("{} records sent", metrics.produced_total().records);
    /// # }
    /// ```
    #[must_use]
    pub fn metrics(&self) -> MetricsSnapshot {
        self.shared().metrics.snapshot()
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// Where the roles count.
    pub(crate) fn counters(&self) -> &Arc<Metrics> {
        &self.shared().metrics
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared().config
    }

    pub(crate) fn now(&self) -> Now {
        self.shared().clock.now()
    }

    pub(crate) fn clock(&self) -> Clock {
        self.shared().clock
    }

    /// Sends a call on its way, and its outcome to `reply`. Never blocks. A call to a broker whose address is not
    /// known waits for the next view of the cluster, until its deadline, and fails unsent if that lacks the broker too.
    pub(crate) fn submit(&self, call: Call, reply: ReplyTo) {
        self.shared().submit(call, reply);
    }

    /// Sends the calls of an owner on their way, and their outcomes to its mailbox. As [`submit`](Self::submit).
    pub(crate) fn submit_all(&self, owner: Owner, calls: &mut Vec<Call>, mailbox: &Arc<Mailbox>) {
        for mut call in calls.drain(..) {
            call.purpose = call.purpose.owned_by(owner);
            let reply = mailbox.reply(call.token);
            self.submit(call, reply);
        }
    }

    /// A new owner of connections, whose calls no other owner's calls hold up.
    pub(crate) fn new_owner(&self) -> Owner {
        self.shared().new_owner()
    }

    /// Closes an owner's connections.
    pub(crate) fn release(&self, owner: Owner) {
        self.shared().release(owner);
    }

    /// Whether the client was closed, or its runtime has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared().is_closed()
    }

    /// What is known of the cluster now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.shared().snapshot()
    }

    /// Tells each new view of the cluster.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.shared().watch()
    }

    /// Has the topic in the snapshots from now on, and asks for it at once if it is not there. The interest ends ten
    /// minutes after it was last said, so whoever uses a topic for long says it again with each new snapshot. A topic
    /// that does not exist is asked for about every second, for as long as it was wanted less than a minute ago.
    pub(crate) fn want(&self, topic: &TopicName) {
        self.shared().inbox.want(topic);
    }

    /// Asks the brokers anew, soon: requests of many callers become one.
    pub(crate) fn refresh(&self) {
        self.shared().inbox.refresh();
    }

    /// Takes over what a broker's answer said about a new leader (KIP-951), if it is newer than what is known.
    pub(crate) fn leader_changed(&self, hint: LeaderHint) {
        self.shared().inbox.hint(hint);
    }

    /// The topic, as soon as it is known.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownTopic`] with `setting` if it has not appeared after `timeout`; at once
    /// [`ErrorKind::InvalidTopic`], or [`ErrorKind::NotAuthorized`]; [`ErrorKind::Closed`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing, except that the topic stays wanted for a while.
    pub(crate) async fn topic(
        &self,
        name: &TopicName,
        timeout: Duration,
        setting: &'static str,
    ) -> Result<Arc<Topic>> {
        TopicName::check(name)?;
        self.shared().topic(name, timeout, setting).await
    }

    /// The topic, if it is known now. If it is not, or could not be used when it was last asked for, it is asked for
    /// again.
    ///
    /// # Errors
    /// [`ErrorKind::MetadataPending`]; what [`topic`](Self::topic) says at once.
    pub(crate) fn topic_now(&self, name: &TopicName) -> Result<Arc<Topic>> {
        TopicName::check(name)?;
        if self.is_closed() {
            return Err(ErrorKind::Closed { what: "client" }.into());
        }
        let snapshot = self.snapshot();
        if let Some(topic) = snapshot.topic(name) {
            return Ok(Arc::clone(topic));
        }
        self.want(name);
        match snapshot.topic_error(name) {
            Some(code) if !code.is_retriable() => {
                // What was refused may be granted now.
                self.refresh();
                Err(topic_error(name, code))
            }
            _ => Err(ErrorKind::MetadataPending { topic: name.clone() }.into()),
        }
    }

    /// Makes one call, once, and tells what kept its answer from coming: [`ErrorKind::Io`] and the like,
    /// [`ErrorKind::Timeout`], [`ErrorKind::UnsupportedVersion`], [`ErrorKind::Closed`]. Error codes in the answer are
    /// the caller's. Dropping the future drops the answer; the request may have been carried out.
    async fn outcome(&self, call: Call) -> Outcome {
        let (reply, outcome) = ReplyTo::oneshot();
        self.submit(call, reply);
        outcome.await.unwrap_or_else(|_| {
            Err(Failure { maybe_sent: true, error: ErrorKind::Closed { what: "client" }.into() })
        })
    }
}

#[cfg(test)]
mod tests;
