//! The share consumer as its user sees it.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;
use tokio::sync::{mpsc, oneshot};

use super::{
    driver::Driver,
    inner::{Command, closed},
    message::ShareMessage,
    settings::{Acknowledge, Settings},
};
use crate::{
    client::Client,
    engine::{
        backoff::Random,
        hand::ConsumerEvent,
        share_hand::{ShareHand, ShareStage},
    },
    error::Result,
    sync::wake::Wake,
    types::TopicPartition,
};

/// Commands that wait for the consumer's task.
const COMMANDS: usize = 64;

/// Reads records as a member of a share group ([`Client::share_consumer`]). Each record is locked for one member at a time,
/// which accepts it, releases it for others, or rejects it; what a member has not decided of when its lock's time is over,
/// others get.
///
/// A task of its own sends heartbeats, asks for records when they are wanted, and tells brokers what was decided; records are
/// checked, decompressed and decoded in the task that asks for them. All methods take `&self`: tasks that work side by side
/// use [`Acknowledge::Explicit`].
///
/// ```no_run
/// # async fn send(mail: &milena::ShareMessage) -> Result<(), String> { Ok(()) }
/// # async fn example(client: milena::Client) -> milena::Result<()> {
/// use milena::Acknowledge;
///
/// let consumer = client.share_consumer("mails").topics(["mails"]).acknowledge(Acknowledge::Explicit).build()?;
/// while let Some(mail) = consumer.next().await {
///     let mail = mail?;
///     tokio::spawn(async move {
///         match send(&mail).await {
///             Ok(()) => mail.accept(),
///             Err(_) if mail.delivery_count() < 3 => mail.release(),
///             Err(_) => mail.reject(),
///         }
///     });
/// }
/// # Ok(()) }
/// ```
///
/// When a share consumer is dropped, its task tells what was decided and leaves the group by itself;
/// [`close`](Self::close) waits for that. Records that are still undecided are released.
pub struct ShareConsumer {
    hand: Arc<ShareHand>,
    commands: mpsc::Sender<Command>,
}

impl ShareConsumer {
    pub(super) fn start(client: Client, settings: &Settings) -> Result<Self> {
        let wake = Arc::new(Wake::default());
        let is_explicit = settings.acknowledge == Acknowledge::Explicit;
        let metrics = Arc::clone(client.counters());
        let (limit, records) = (settings.max_decompressed_batch_bytes, settings.max_records);
        let hand = Arc::new(ShareHand::new(Arc::clone(&wake), limit, records, is_explicit, metrics));
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let mut random = Random::from_entropy();
        let core = settings.core(client.config(), &mut random);
        Driver::spawn(client, core, Arc::clone(&hand), wake, receiver, random)?;
        Ok(Self { hand, commands })
    }

    /// The next record, as soon as there is one. `None` once the consumer is closed.
    ///
    /// With [`Acknowledge::Implicit`] it accepts what was handed out before.
    ///
    /// # Errors
    /// Errors do not end the consumer. [`CorruptBatch`](crate::ErrorKind::CorruptBatch) for a batch that does not read: it is
    /// released, and brokers give up on it once it was delivered too often.
    /// [`NotAuthorized`](crate::ErrorKind::NotAuthorized) for a topic or the group,
    /// [`UnknownTopic`](crate::ErrorKind::UnknownTopic),
    /// [`UnsupportedVersion`](crate::ErrorKind::UnsupportedVersion) of brokers without share groups, again and again for as
    /// long as the reason lasts. [`Closed`](crate::ErrorKind::Closed) once the client is closed.
    ///
    /// # Cancel safety
    /// Dropping the future loses no record: a record is taken when the future returns it.
    pub async fn next(&self) -> Option<Result<ShareMessage>> {
        // Else a task that finds records again and again would keep the runtime from getting more.
        tokio::task::consume_budget().await;
        let mut call = Call { hand: &self.hand, stage: ShareStage::default() };
        poll_fn(move |cx| call.poll(cx)).await
    }

    /// The records as a stream, for which all that is said of [`next`](Self::next) holds.
    pub fn stream(&self) -> ShareStream<'_> {
        ShareStream { call: Call { hand: &self.hand, stage: ShareStage::default() } }
    }

    /// Has all that was decided so far told to the brokers, and waits until they have answered. With
    /// [`Acknowledge::Implicit`] everything that was handed out is accepted before.
    ///
    /// # Errors
    /// [`Broker`](crate::ErrorKind::Broker) with `INVALID_RECORD_STATE` if the lock's time was over, or with
    /// `SHARE_SESSION_NOT_FOUND` or a connection error if the session with a broker was lost: others may get the records,
    /// which [`next_event`](Self::next_event) names. [`Closed`](crate::ErrorKind::Closed).
    ///
    /// # Cancel safety
    /// Once the future was polled the commit goes on whether or not the future is dropped.
    pub async fn commit(&self) -> Result<()> {
        self.ask(|reply| Command::Commit { reply }).await?
    }

    /// The partitions that the group has this member read from, in order.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed).
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn assignment(&self) -> Result<Vec<TopicPartition>> {
        self.ask(|reply| Command::Assignment { reply }).await
    }

    /// What happens to this consumer that its records do not show, as soon as there is something: decisions that did not count,
    /// throttling, errors. The last 256 events are kept until they are taken. `None` once the consumer has ended and all were
    /// taken.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    pub async fn next_event(&self) -> Option<ConsumerEvent> {
        poll_fn(|cx| self.hand.poll_event(cx)).await
    }

    /// Stops reading, tells brokers what was decided, releases what was not, and leaves the group. From then on
    /// [`next`](Self::next) returns `None`.
    ///
    /// What was handed out last is undecided with [`Acknowledge::Implicit`]; [`commit`](Self::commit) before to accept it.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) if it is closed already, or ends unfinished because its client is closed or
    /// its runtime ends.
    ///
    /// # Cancel safety
    /// Once the future was polled the consumer closes whether or not the future is dropped.
    pub async fn close(&self) -> Result<()> {
        self.ask(|reply| Command::Close { reply }).await?
    }

    /// Sends a command and waits for what comes of it.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T> {
        let (reply, outcome) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| closed())?;
        outcome.await.map_err(|_| closed())
    }
}

impl fmt::Debug for ShareConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShareConsumer").finish_non_exhaustive()
    }
}

/// A call for a record.
struct Call<'a> {
    hand: &'a Arc<ShareHand>,
    stage: ShareStage,
}

impl Call<'_> {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Result<ShareMessage>>> {
        let handed = self.hand.poll_next(&mut self.stage, cx);
        handed.map(|handed| {
            handed.map(|handed| handed.map(|handed| ShareMessage::new(handed, Arc::clone(self.hand))))
        })
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.hand.end_call(&mut self.stage);
    }
}

/// Yields what [`ShareConsumer::next`] returns, and ends when the consumer is closed.
#[must_use = "streams do nothing unless polled"]
pub struct ShareStream<'a> {
    call: Call<'a>,
}

impl Stream for ShareStream<'_> {
    type Item = Result<ShareMessage>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().call.poll(cx)
    }
}

impl fmt::Debug for ShareStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShareStream").finish_non_exhaustive()
    }
}
