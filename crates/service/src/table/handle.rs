//! A table as its users see it.

use std::{
    borrow::Borrow,
    error::Error,
    fmt::{self, Write},
    ops::RangeBounds,
    sync::Arc,
    time::Duration,
};

use milena::TopicName;
use tokio::sync::watch;

use super::{
    error::TableError,
    position::LogPosition,
    range,
    shared::{News, Shared, within},
    view::Reached,
};
use crate::failure::causes;

/// The read model of a compacted topic: of each key the newest value, kept in memory and up to date.
///
/// A table reads all partitions of its topic from their beginning, in no group, and only what is committed. A record
/// puts the value of its key, a tombstone removes it. Partitions that are added to the topic later are read too. Once it
/// is ready, what a table holds of a partition is what that held at some moment; for several partitions, the moments
/// differ.
///
/// Values are shared: [`get`](Self::get) gives an `Arc`, and nothing is locked while it is used. Handles are cheap to
/// clone. The table's task ends with the last one, or by [`stop`](Self::stop).
///
/// A table fails rather than to hold something else than its topic: if a record cannot be decoded (see
/// [`OnUndecodable`](crate::OnUndecodable)), if there are too many keys, if the topic is gone, was created anew or may
/// not be read any more, if retention has deleted records before they were read, or the log has lost some that were.
/// Then it keeps what it has, goes no further, and [`failure`](Self::failure) says why.
///
/// ```no_run
/// use std::time::Duration;
/// use milena_service::{LogPosition, Table};
///
/// #[derive(serde::Deserialize)]
/// struct User { email: String }
///
/// # async fn example(client: milena::Client, producer: milena::Producer) -> Result<(), Box<dyn std::error::Error>> {
/// let users: Table<String, User> = Table::start(&client, "users").await?;
/// users.ready().await?;
///
/// let record = milena::Record::new("users", r#"{"email": "ada@example.org"}"#).key("ada");
/// let delivered = producer.send(record).await?;
/// if let Some(position) = LogPosition::of_delivered("users", &delivered) {
///     users.wait_for(position, Duration::from_secs(1)).await?;
/// }
/// println!("{}", users.get("ada").map_or("nobody".to_owned(), |user| user.email.clone()));
/// # Ok(()) }
/// ```
///
/// # Limits
/// Where the last records of a partition were compacted away, such as a tombstone that nothing has followed for longer
/// than `delete.retention.ms`, and its segment was closed, no broker tells that nothing is left to read: the table is
/// not [`ready`](Self::ready) until something is written to that partition.
pub struct Table<K, V>(Arc<Handle<K, V>>);

struct Handle<K, V> {
    shared: Arc<Shared<K, V>>,
    /// Dropped, it stops the task as well.
    stop: watch::Sender<bool>,
}

/// How a table stands, for probes and metrics.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TableHealth {
    /// The topic.
    pub topic: TopicName,
    /// As [`Table::is_ready`].
    pub is_ready: bool,
    /// How many keys there are.
    pub entries: usize,
    /// How many records were skipped since they could not be decoded.
    pub undecodable: u64,
    /// As [`Table::failure`].
    pub failure: Option<TableError>,
    /// What keeps the table from reading on now, as far as it may pass by itself: forgotten when something is read.
    pub last_error: Option<milena::Error>,
}

impl TableHealth {
    fn check(self) -> Result<(), String> {
        let Self { topic, is_ready, failure, last_error, .. } = self;
        if is_ready {
            return Ok(());
        }
        let mut why = match &failure {
            Some(failure) => failure.to_string(),
            None => format!("the table of {topic} has not read everything yet"),
        };
        let cause = match &failure {
            Some(failure) => failure.source(),
            None => last_error.as_ref().map(|error| error as &dyn Error),
        };
        for cause in causes(cause) {
            // Writing into a string does not fail.
            let _written = write!(why, ": {cause}");
        }
        Err(why)
    }
}

impl<K: Ord + Clone, V> Table<K, V> {
    pub(super) fn new(shared: Arc<Shared<K, V>>, stop: watch::Sender<bool>) -> Self {
        Self(Arc::new(Handle { shared, stop }))
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.shared().topic
    }

    /// Waits until the table has got to where its partitions ended when it was started. Transactions that were open
    /// then are not waited for.
    ///
    /// # Errors
    /// The [`failure`](Self::failure) of the table, before it was ready or since.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn ready(&self) -> Result<(), TableError> {
        self.shared().wait_until(|view| view.is_ready().then_some(())).await
    }

    /// Whether the table has got to where its partitions ended when it was started, and has not failed since.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.shared().view().is_ready()
    }

    /// Whether it is [ready](Self::is_ready), and if not, why: for [`Service::ready_when`](crate::Service::ready_when).
    ///
    /// ```no_run
    /// # fn example(service: milena_service::Service, users: &milena_service::Table<String, u64>) {
    /// let users = users.clone();
    /// let service = service.ready_when("users", move || users.check());
    /// # }
    /// ```
    ///
    /// # Errors
    /// That it has failed, or is not there yet, with what keeps it from reading.
    pub fn check(&self) -> Result<(), String> {
        self.health().check()
    }

    /// Waits until the record at this position was applied, so that the table shows it, or what came after it: for
    /// those who want to read what they have just written. A position that holds no record for the table, since it was
    /// compacted away or its transaction aborted, is waited for in the same way.
    ///
    /// # Errors
    /// [`TableError::Timeout`]; [`TableError::NotRead`], at once for another topic, and after `timeout` for a partition
    /// that has not appeared by then; the [`failure`](Self::failure) of the table, unless it had got there before.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn wait_for(
        &self,
        position: impl Into<LogPosition>,
        timeout: Duration,
    ) -> Result<(), TableError> {
        let position = position.into();
        let (partition, offset) = (position.topic_partition.partition, position.offset);
        let shared = self.shared();
        let not_read = |position| Err(TableError::NotRead { position, topic: shared.topic.clone() });
        if position.topic_partition.topic != shared.topic || partition.0 < 0 {
            return not_read(position);
        }
        if shared.view().reached(partition, offset) == Reached::Yes {
            return Ok(());
        }
        let watching = shared.watch(partition);
        let got_there =
            shared.wait_until(|view| (view.reached(partition, offset) == Reached::Yes).then_some(()));
        let outcome = within(timeout, got_there).await;
        drop(watching);
        match outcome {
            Some(outcome) => outcome,
            None if shared.view().reached(partition, offset) == Reached::Unknown => not_read(position),
            None => Err(TableError::Timeout { position, after: timeout }),
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
    {
        self.shared().view().get(key).map(Arc::clone)
    }

    /// Whether there is a key.
    #[must_use]
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.shared().view().get(key).is_some()
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared().view().len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `limit` entries of a range, in the order of their keys, all of one moment. For the next ones, ask from
    /// behind the last key on; nothing is applied meanwhile, so ask for thousands rather than for all.
    ///
    /// ```no_run
    /// # fn example(users: milena_service::Table<String, u64>) {
    /// let of_ada = users.range("ada".to_owned().., 100);
    /// # }
    /// ```
    #[must_use]
    pub fn range<R: RangeBounds<K>>(&self, range: R, limit: usize) -> Vec<(K, Arc<V>)> {
        if range::is_empty(&range) {
            return Vec::new();
        }
        self.shared().view().range(range, limit)
    }

    /// All entries, in the order of their keys, all of one moment. It copies each key, and nothing is applied
    /// meanwhile.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(K, Arc<V>)> {
        self.shared().view().range(.., usize::MAX)
    }

    /// Tells when entries change. It tells that there are changes, and not which: what has changed several times since
    /// is told once, so that nothing is queued however slow the one is who looks.
    #[must_use]
    pub fn changes(&self) -> TableChanges<K, V> {
        let news = self.shared().news();
        let seen = self.shared().view().version();
        TableChanges { shared: Arc::clone(self.shared()), news, seen }
    }

    /// Why the table goes no further, if it does not: it has failed or was stopped.
    #[must_use]
    pub fn failure(&self) -> Option<TableError> {
        self.shared().view().failure().cloned()
    }

    /// How many records were skipped since they could not be decoded.
    #[must_use]
    pub fn undecodable(&self) -> u64 {
        self.shared().view().undecodable()
    }

    /// How the table stands.
    #[must_use]
    pub fn health(&self) -> TableHealth {
        let last_error = self.shared().news().borrow().last_error.clone();
        let view = self.shared().view();
        TableHealth {
            topic: self.topic().clone(),
            is_ready: view.is_ready(),
            entries: view.len(),
            undecodable: view.undecodable(),
            failure: view.failure().cloned(),
            last_error,
        }
    }

    /// Reads no further, and waits until the table's task has ended. What the table holds can still be looked at. A
    /// second call only waits.
    ///
    /// # Cancel safety
    /// Once the future was polled the table stops whether or not the future is dropped.
    pub async fn stop(&self) {
        self.0.stop.send_replace(true);
        // The sender lives as long as this handle.
        let _ = self.shared().news().wait_for(|news| news.has_ended).await;
    }

    fn shared(&self) -> &Arc<Shared<K, V>> {
        &self.0.shared
    }
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Ord + Clone, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TableHealth { topic, is_ready, entries, failure, .. } = self.health();
        f.debug_struct("Table")
            .field("topic", &topic)
            .field("is_ready", &is_ready)
            .field("entries", &entries)
            .field("failure", &failure)
            .finish_non_exhaustive()
    }
}

/// Tells when the entries of a table change. From [`Table::changes`]. It does not keep the table's task alive.
pub struct TableChanges<K, V> {
    shared: Arc<Shared<K, V>>,
    news: watch::Receiver<News>,
    seen: u64,
}

impl<K: Ord + Clone, V> TableChanges<K, V> {
    /// Waits until entries have changed since the last call, or, at first, since this was made. It gives a number that
    /// grows with each change.
    ///
    /// # Errors
    /// The [failure](Table::failure) of the table, when all changes before it were told.
    ///
    /// # Cancel safety
    /// Dropping the future misses no change.
    pub async fn changed(&mut self) -> Result<u64, TableError> {
        loop {
            // Before it is compared, so that what comes in between is not missed.
            self.news.mark_unchanged();
            {
                let view = self.shared.view();
                if view.version() != self.seen {
                    self.seen = view.version();
                    return Ok(self.seen);
                }
                if let Some(failure) = view.failure() {
                    return Err(failure.clone());
                }
            }
            if self.news.changed().await.is_err() {
                return Err(self.shared.stopped());
            }
        }
    }
}

impl<K, V> fmt::Debug for TableChanges<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableChanges").field("seen", &self.seen).finish_non_exhaustive()
    }
}
