//! Dead letters on their way back.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use milena::{Client, Commit, Isolation, Message, Offset, OffsetSpec, Position, TopicName, TopicPartition};

use crate::{
    clock,
    dead_letter::{self, DeadLetter},
    publisher::Publisher,
    service::ServiceError,
};

/// How often a record may be redriven where nothing else is said.
const MOST_REDRIVES: u32 = 5;

/// Sends dead letters back to the topics they come from, in the order in which they were written, so that their group
/// handles them again; services of other groups skip them. It ends with the last letter that is there when it begins.
///
/// A run goes on where the last one has ended: how far it came is committed under the group `{topic}.redrive`. Letters that
/// the [filter](Self::filter) leaves are passed by for good, unless it is a [dry run](Self::dry_run); what is to be left
/// for later is better not filtered out but redriven later. Letters that have been redriven [too
/// often](Self::most_redrives) are counted and left.
///
/// ```no_run
/// # async fn example(client: milena::Client) -> Result<(), milena_service::ServiceError> {
/// use milena_service::Redrive;
///
/// let letters = Redrive::new(&client, "orders.billing.dlq").filter(|letter| letter.error_type == "Timeout");
/// println!("{}", letters.dry_run().await?);
///
/// let letters = Redrive::new(&client, "orders.billing.dlq").per_second(100);
/// println!("{}", letters.run().await?);
/// # Ok(()) }
/// ```
#[must_use = "nothing is redriven until it is run"]
pub struct Redrive {
    client: Client,
    topic: TopicName,
    filter: Filter,
    per_second: Option<u32>,
    most_redrives: u32,
}

type Filter = Box<dyn Fn(&DeadLetter, &Message) -> bool + Send + Sync>;

/// What a [`Redrive`] has done, or would do.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedriveReport {
    /// How many letters went back, or would.
    pub redriven: u64,
    /// How many the filter has left.
    pub filtered: u64,
    /// How many have been redriven too often before.
    pub exhausted: u64,
    /// How many had lost a part of their value because they were too large. They are not sent back.
    pub truncated: u64,
    /// How many records were no dead letters.
    pub foreign: u64,
    /// How many letters went back, or would, by the kind of their failure.
    pub by_error: BTreeMap<String, u64>,
}

/// What becomes of a record in a dead-letter topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Redriven,
    Filtered,
    Exhausted,
    Truncated,
    Foreign,
}

impl Redrive {
    /// All letters of a dead-letter topic.
    pub fn new(client: &Client, topic: impl Into<TopicName>) -> Self {
        Self {
            client: client.clone(),
            topic: topic.into(),
            filter: Box::new(|_, _| true),
            per_second: None,
            most_redrives: MOST_REDRIVES,
        }
    }

    /// Only the letters of which this is true.
    pub fn filter(self, keeps: impl Fn(&DeadLetter) -> bool + Send + Sync + 'static) -> Self {
        self.filter_records(move |letter, _| keeps(letter))
    }

    /// Only the letters of which this is true, by the record as well: its key, its value, its other headers.
    pub fn filter_records(
        mut self,
        keeps: impl Fn(&DeadLetter, &Message) -> bool + Send + Sync + 'static,
    ) -> Self {
        let former = self.filter;
        self.filter = Box::new(move |letter, message| former(letter, message) && keeps(letter, message));
        self
    }

    /// No more than so many a second (at least 1). The default is as fast as it goes.
    pub fn per_second(mut self, letters: u32) -> Self {
        self.per_second = Some(letters.max(1));
        self
    }

    /// How often a record may be redriven in all. The default is 5.
    pub fn most_redrives(mut self, times: u32) -> Self {
        self.most_redrives = times;
        self
    }

    /// Reads the letters as a run would, and tells what it would do.
    ///
    /// # Errors
    /// What the client cannot do.
    ///
    /// # Cancel safety
    /// Dropped, nothing has happened.
    pub async fn dry_run(&self) -> Result<RedriveReport, ServiceError> {
        self.go(None).await
    }

    /// Sends the letters back.
    ///
    /// # Errors
    /// What the client cannot do. What was sent back until then is committed, and the next run goes on behind it.
    ///
    /// # Cancel safety
    /// Dropped, up to a second's letters may be sent back once more by the next run.
    pub async fn run(&self) -> Result<RedriveReport, ServiceError> {
        let publisher = Publisher::start(&self.client)?;
        let report = self.go(Some(&publisher)).await;
        publisher.stop().await?;
        report
    }

    async fn go(&self, publisher: Option<&Publisher>) -> Result<RedriveReport, ServiceError> {
        let mut left = self.ends().await?;
        let mut report = RedriveReport::default();
        if left.is_empty() {
            return Ok(report);
        }
        let consumer = self
            .client
            .consumer(format!("{}.redrive", self.topic))
            .topics([self.topic.clone()])
            .start_at(Position::Earliest)
            .isolation(Isolation::ReadCommitted)
            .commit(if publisher.is_some() {
                Commit::Acknowledged(Duration::from_secs(1))
            } else {
                Commit::Manual
            })
            .build()?;
        let began = clock::now();
        while !is_done(&consumer, &mut left) {
            let Some(message) = next(&consumer).await? else { continue };
            let fate = self.judge(&message);
            report.count(fate, &message);
            if let (Fate::Redriven, Some(publisher), Some(letter)) =
                (fate, publisher, DeadLetter::of(&message))
            {
                if let Some(rate) = self.per_second {
                    let due = Duration::from_secs(report.redriven - 1) / rate;
                    wait_until(began + due).await;
                }
                if let Err(error) = publisher.send(&dead_letter::back(&message, &letter)).await {
                    consumer.close().await?;
                    return Err(error.into());
                }
            }
            message.ack();
        }
        consumer.close().await?;
        Ok(report)
    }

    fn judge(&self, message: &Message) -> Fate {
        match DeadLetter::of(message) {
            None => Fate::Foreign,
            Some(letter) if !(self.filter)(&letter, message) => Fate::Filtered,
            Some(letter) if letter.redrive_count >= self.most_redrives => Fate::Exhausted,
            Some(letter) if letter.truncated.is_some() => Fate::Truncated,
            Some(_) => Fate::Redriven,
        }
    }

    /// Where the partitions end now, of those that hold something.
    async fn ends(&self) -> Result<BTreeMap<TopicPartition, Offset>, ServiceError> {
        let described = self.client.admin().describe_topics([self.topic.clone()]).await?;
        let mut partitions = BTreeSet::new();
        for (topic, description) in described {
            let count = description?.partitions.len();
            let numbers = (0..).take(count);
            partitions.extend(numbers.map(|number| TopicPartition::new(topic.clone(), number)));
        }
        let asked = partitions.into_iter().map(|partition| (partition, OffsetSpec::Latest));
        let ends = self.client.admin().list_offsets(asked, Isolation::ReadCommitted).await?;
        let mut left = BTreeMap::new();
        for (partition, end) in ends {
            if let Some(end) = end?.filter(|end| end.offset > Offset(0)) {
                left.insert(partition, end.offset);
            }
        }
        Ok(left)
    }
}

impl RedriveReport {
    fn count(&mut self, fate: Fate, message: &Message) {
        let counter = match fate {
            Fate::Redriven => &mut self.redriven,
            Fate::Filtered => &mut self.filtered,
            Fate::Exhausted => &mut self.exhausted,
            Fate::Truncated => &mut self.truncated,
            Fate::Foreign => &mut self.foreign,
        };
        *counter += 1;
        if let (Fate::Redriven, Some(letter)) = (fate, DeadLetter::of(message)) {
            *self.by_error.entry(letter.error_type).or_default() += 1;
        }
    }
}

impl fmt::Display for RedriveReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { redriven, filtered, exhausted, truncated, foreign, by_error } = self;
        write!(
            f,
            "{redriven} redriven, {filtered} filtered, {exhausted} redriven too often, {truncated} truncated, {foreign} no dead letters"
        )?;
        by_error.iter().try_for_each(|(kind, count)| write!(f, "\n{count:>8}  {kind}"))
    }
}

/// Whether all is read that was there.
fn is_done(consumer: &milena::Consumer, left: &mut BTreeMap<TopicPartition, Offset>) -> bool {
    left.retain(|partition, end| consumer.position(partition).is_none_or(|position| position < *end));
    left.is_empty()
}

/// The next record; `None` now and then, because what ends a partition may be no record.
#[expect(clippy::disallowed_methods, reason = "the end of a log is not told but asked for")]
async fn next(consumer: &milena::Consumer) -> Result<Option<Message>, ServiceError> {
    match tokio::time::timeout(Duration::from_millis(100), consumer.next()).await {
        Ok(Some(message)) => Ok(Some(message?)),
        Ok(None) => Err(ServiceError::Ended),
        Err(_) => Ok(None),
    }
}

#[expect(clippy::disallowed_methods, reason = "a limit on the rate is a wait")]
async fn wait_until(due: std::time::Instant) {
    tokio::time::sleep_until(due.into()).await;
}

impl fmt::Debug for Redrive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redrive")
            .field("topic", &self.topic)
            .field("per_second", &self.per_second)
            .field("most_redrives", &self.most_redrives)
            .finish_non_exhaustive()
    }
}
