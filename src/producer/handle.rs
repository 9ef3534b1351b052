//! The handle that records are sent with.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::{mpsc, oneshot};

use super::{
    creation::Creation,
    delivery::{Delivered, Delivery, TrySendError},
    driver::{Command, Driver},
    partitioner::partition_for_key,
    settings::Settings,
    transaction::desk::Desk,
};
use crate::{
    client::Client,
    engine::{
        backoff::Random,
        produce::{
            accumulator::Accumulator,
            gate::Pass,
            outcome::Fate,
            queue::{BatchSize, PartitionQueue, Refused},
            topics::TopicQueues,
        },
    },
    error::{Error, ErrorKind, Result},
    net::task,
    record::Record,
    sync::{
        done::{Done, Waiting},
        wake::Wake,
    },
    types::{Partition, TopicName},
    wire::batch::size_bound,
};

/// Sends records. Share it freely: clones are the same producer.
///
/// Three calls differ only in what they wait for: [`send`](Self::send) for the acknowledgement,
/// [`enqueue`](Self::enqueue) for room, [`try_enqueue`](Self::try_enqueue) for nothing. Records of one partition
/// are written in the order in which they were enqueued.
///
/// When the last clone is dropped, what was enqueued is still sent in the background, as long as the runtime lives;
/// [`close`](Self::close) waits for it.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    accumulator: Arc<Accumulator>,
    commands: mpsc::Sender<Command>,
    closed: AtomicBool,
    /// A batch was filled, and since then nobody has let other tasks run for it.
    turn_due: AtomicBool,
    /// How the task has ended.
    ended: Arc<Done<Result<()>>>,
    random: AtomicU64,
    settings: Settings,
    creation: Creation,
}

/// What a record without room got as far as.
enum Placed<'q> {
    Done(Delivery),
    NoRoom(Place<'q>),
}

/// Where a record goes.
#[derive(Clone, Copy)]
struct Place<'q> {
    topic: &'q TopicQueues,
    queue: &'q Arc<PartitionQueue>,
    /// What it needs of the budget.
    bytes: usize,
}

impl Producer {
    /// Starts the task, whose bell is `wake`. One with transactions has a desk in it.
    pub(super) fn start(
        client: Client,
        settings: Settings,
        wake: Arc<Wake>,
        desk: Option<Desk>,
    ) -> Result<Self> {
        let accumulator = Arc::new(Accumulator::new(settings.buffer_memory, wake));
        let ended = Arc::new(Done::default());
        let (commands, inbox) = mpsc::channel(16);
        Driver::spawn(&client, &settings, Arc::clone(&accumulator), inbox, Arc::clone(&ended), desk)?;
        let random = AtomicU64::new(Random::from_entropy().next_u64());
        let (closed, turn_due) = (AtomicBool::new(false), AtomicBool::new(false));
        let creation = Creation::default();
        let shared =
            Shared { client, accumulator, commands, closed, turn_due, ended, random, settings, creation };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Sends a record and waits until it is acknowledged.
    ///
    /// Awaited one by one, sends are as slow as round trips; to send many, enqueue them and await the deliveries
    /// later, or send from many tasks.
    ///
    /// # Errors
    /// Those of [`enqueue`](Self::enqueue) and of [`Delivery`].
    ///
    /// # Cancel safety
    /// Dropped before the record is enqueued, it is not sent; dropped later, it is sent all the same.
    pub async fn send(&self, record: Record<'_>) -> Result<Delivered> {
        self.enqueue(record).await?.await
    }

    /// Copies a record into its batch, waiting for room and for the topic's partitions where need be. After each batch
    /// that was filled it lets other tasks run once, so that a loop that does nothing else does not keep them from
    /// sending.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTopic`], [`ErrorKind::UnknownTopic`] after `max_block`, [`ErrorKind::UnknownPartition`],
    /// [`ErrorKind::NotAuthorized`] for the topic, [`ErrorKind::RecordTooLarge`], [`ErrorKind::Closed`], and
    /// [`ErrorKind::NoRuntime`] where the topic is not known yet and the call is made outside a tokio runtime. The
    /// record was not sent, and other records are not affected.
    ///
    /// # Cancel safety
    /// Dropped before it returns, the record is not sent.
    pub fn enqueue(&self, record: Record<'_>) -> impl Future<Output = Result<Delivery>> {
        self.enqueue_with(Pass::FREE, record)
    }

    /// As [`enqueue`](Self::enqueue), with the pass of a transaction.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn copies its arguments once more, which is felt here"
    )]
    pub(super) fn enqueue_with(
        &self,
        pass: Pass,
        mut record: Record<'_>,
    ) -> impl Future<Output = Result<Delivery>> {
        async move {
            self.check_open()?;
            self.intercept(&mut record);
            if self.shared.turn_due.load(Ordering::Relaxed) {
                self.shared.turn_due.store(false, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
            let topic = match self.shared.accumulator.topic(record.topic) {
                Some(topic) if has_partition(topic, &record) => topic,
                // In a box, since it is rare and large, and every send is a future that holds it.
                _ => Box::pin(self.look_up(&record)).await?,
            };
            match self.place(pass, topic, &record)? {
                Placed::Done(delivery) => Ok(delivery),
                Placed::NoRoom(place) => {
                    let taken = self.shared.accumulator.budget.take(place.bytes).await;
                    taken.map_err(|_| closed())?;
                    // From here to the append there is no await: what was taken is used or given back.
                    self.append(pass, place, &record)
                }
            }
        }
    }

    /// Copies a record into its batch without waiting for anything.
    ///
    /// # Errors
    /// Those of [`enqueue`](Self::enqueue), with the record handed back. [`ErrorKind::Full`] where there is no room
    /// now; [`ErrorKind::MetadataPending`] where the topic's partitions are not known yet: they were asked for.
    pub fn try_enqueue<'a>(&self, record: Record<'a>) -> Result<Delivery, TrySendError<'a>> {
        self.try_enqueue_with(Pass::FREE, record)
    }

    /// As [`try_enqueue`](Self::try_enqueue), with the pass of a transaction.
    pub(super) fn try_enqueue_with<'a>(
        &self,
        pass: Pass,
        record: Record<'a>,
    ) -> Result<Delivery, TrySendError<'a>> {
        let refuse = |error| TrySendError { record, error };
        self.check_open().map_err(refuse)?;
        let mut record = record;
        self.intercept(&mut record);
        let topic = match self.shared.accumulator.topic(record.topic) {
            Some(topic) if has_partition(topic, &record) => topic,
            _ => self.look_up_now(&record).map_err(refuse)?,
        };
        match self.place(pass, topic, &record).map_err(refuse)? {
            Placed::Done(delivery) => Ok(delivery),
            Placed::NoRoom(place) => {
                let limit = self.shared.accumulator.budget.limit();
                Err(refuse(ErrorKind::Full { needed: place.bytes, limit, setting: "buffer_memory" }.into()))
            }
        }
    }

    /// Sends everything that was enqueued before, without lingering, and waits until each record is acknowledged or
    /// has failed. How a record fared is told by its [`Delivery`].
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] when the producer ended first.
    ///
    /// # Cancel safety
    /// Dropped, it has asked for the flush and does not wait for it.
    pub async fn flush(&self) -> Result<()> {
        self.check_open()?;
        let (reply, outstanding) = oneshot::channel();
        self.shared.commands.send(Command::Flush { reply }).await.map_err(|_| closed())?;
        let mut outstanding = outstanding.await.map_err(|_| closed())?;
        while let Some(batch) = outstanding.pop() {
            if let Fate::Divided(stretches) = wait_for(&batch.fate).await {
                outstanding.extend(stretches.iter().map(|stretch| Arc::clone(&stretch.done)));
            }
        }
        Ok(())
    }

    /// Refuses new records, sends everything that was enqueued, waits until each record is acknowledged or has
    /// failed, and ends the producer with all its clones. It takes as long as the delivery timeout at most.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] when it was closed before, or its client was, or its runtime has ended.
    ///
    /// # Cancel safety
    /// Dropped, the producer still closes, in the background.
    pub async fn close(self) -> Result<()> {
        self.end().await
    }

    /// The bytes that records take now, sent or not, until they are acknowledged.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.shared.accumulator.budget.used()
    }

    /// Why a transaction takes nothing more.
    pub(super) fn why_ended(&self, pass: Pass) -> Error {
        self.failure(pass).unwrap_or_else(|| {
            let transactional_id = self.transactional_id().to_owned();
            ErrorKind::TransactionEnded { transactional_id }.into()
        })
    }

    /// Why the transaction with this pass has failed, if it has.
    pub(super) fn failure(&self, pass: Pass) -> Option<Error> {
        self.shared.accumulator.gate.reason(pass)
    }

    /// The id of its transactions; empty where it has none.
    pub(super) fn transactional_id(&self) -> &str {
        self.shared.settings.transactional_id.as_deref().unwrap_or_default()
    }

    /// Ends what is enqueued and waits, as [`close`](Self::close) does.
    pub(super) async fn end(&self) -> Result<()> {
        if self.shared.closed.swap(true, Ordering::SeqCst) {
            return Err(closed());
        }
        self.shared.accumulator.close();
        wait_for(&self.shared.ended).await.clone()
    }

    #[inline]
    fn intercept(&self, record: &mut Record<'_>) {
        if let Some(interceptor) = &self.shared.settings.interceptor {
            *record = interceptor.on_send(*record);
        }
    }

    fn check_open(&self) -> Result<()> {
        if self.shared.closed.load(Ordering::Relaxed) { Err(closed()) } else { Ok(()) }
    }

    async fn look_up(&self, record: &Record<'_>) -> Result<&TopicQueues> {
        task::check_runtime("Producer::enqueue")?;
        let name = TopicName::from(record.topic);
        let topic = self.shared.creation.look_up(&self.shared.client, &name, &self.shared.settings).await?;
        self.prepare(&name, topic.partition_count(), record)
    }

    fn look_up_now(&self, record: &Record<'_>) -> Result<&TopicQueues> {
        let name = TopicName::from(record.topic);
        let topic = self.shared.creation.look_up_now(&self.shared.client, &name, &self.shared.settings)?;
        self.prepare(&name, topic.partition_count(), record)
    }

    fn prepare(&self, name: &TopicName, count: u32, record: &Record<'_>) -> Result<&TopicQueues> {
        let queues = self.shared.accumulator.prepare(name, count);
        if has_partition(queues, record) {
            return Ok(queues);
        }
        let partition = record.partition.unwrap_or(Partition(0));
        // It may have been added just now: then the next record for it finds it.
        self.shared.client.refresh();
        Err(ErrorKind::UnknownPartition { topic: name.clone(), partition, count }.into())
    }

    /// Chooses the partition, and appends the record if there is room.
    #[inline]
    fn place<'q>(&self, pass: Pass, topic: &'q TopicQueues, record: &Record<'_>) -> Result<Placed<'q>> {
        let bytes = size_bound(record.key, record.value, record.headers);
        if bytes > self.shared.settings.max_request_size {
            return Err(self.too_large(bytes));
        }
        let partition = self.choose(topic, record);
        let queue = usize::try_from(partition.0).ok().and_then(|index| topic.partitions.get(index));
        let Some(queue) = queue else {
            let count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
            return Err(ErrorKind::UnknownPartition { topic: topic.topic.clone(), partition, count }.into());
        };
        let place = Place { topic, queue, bytes };
        if !self.shared.accumulator.budget.try_take(bytes) {
            return Ok(Placed::NoRoom(place));
        }
        self.append(pass, place, record).map(Placed::Done)
    }

    #[inline]
    fn append(&self, pass: Pass, place: Place<'_>, record: &Record<'_>) -> Result<Delivery> {
        let Place { topic, queue, bytes } = place;
        let now = self.shared.client.now();
        let timestamp = record.timestamp.unwrap_or(now.unix_ms);
        let most = self.shared.settings.max_request_size;
        let size = BatchSize { sent: self.shared.settings.batch_size.min(most), raw: most };
        match queue.append(pass, now.instant, timestamp, record, bytes, size) {
            Ok(appended) => {
                topic.sticky.wrote(queue.partition, appended.bytes, appended.filled, appended.full_at);
                if appended.news {
                    self.shared.accumulator.announce(queue);
                }
                if appended.filled {
                    self.shared.turn_due.store(true, Ordering::Relaxed);
                }
                Ok(Delivery::new(appended, timestamp))
            }
            Err(refused) => {
                self.shared.accumulator.budget.give(bytes);
                Err(match refused {
                    Refused::Closed => closed(),
                    Refused::Ended => self.why_ended(pass),
                    Refused::TooLarge => self.too_large(bytes),
                })
            }
        }
    }

    #[cold]
    fn too_large(&self, size: usize) -> Error {
        let limit = self.shared.settings.max_request_size;
        ErrorKind::RecordTooLarge { size, limit: Some(limit), setting: "max_request_size" }.into()
    }

    #[inline]
    fn choose(&self, topic: &TopicQueues, record: &Record<'_>) -> Partition {
        if let Some(partition) = record.partition {
            return partition;
        }
        let count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
        if let Some(partitioner) = &self.shared.settings.partitioner
            && let Some(partition) = partitioner.partition(record, count, &topic.available())
        {
            return partition;
        }
        match record.key {
            Some(key) => partition_for_key(key, count),
            None => {
                let chosen = topic.sticky.choose(|| self.pick(topic));
                // With no partition available any will do: its records wait for a leader.
                chosen.unwrap_or(Partition(0))
            }
        }
    }

    fn pick(&self, topic: &TopicQueues) -> Option<Partition> {
        topic.pick(&mut Random::new(self.shared.random.fetch_add(1, Ordering::Relaxed)))
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("buffered_bytes", &self.buffered_bytes())
            .field("closed", &self.shared.closed.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

async fn wait_for<T>(done: &Done<T>) -> &T {
    let mut waiting = Waiting::default();
    std::future::poll_fn(|cx| done.poll(cx, &mut waiting)).await
}

fn has_partition(topic: &TopicQueues, record: &Record<'_>) -> bool {
    let count = topic.partitions.len();
    record.partition.is_none_or(|partition| usize::try_from(partition.0).is_ok_and(|index| index < count))
}

fn closed() -> Error {
    ErrorKind::Closed { what: "producer" }.into()
}
