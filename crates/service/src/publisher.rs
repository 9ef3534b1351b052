//! Publishing.

use std::fmt;

use bytes::Bytes;
use milena::{Client, Delivery, Error, Header, Producer, Result, TopicName};
use serde::Serialize;
use tracing::Instrument;

#[cfg(feature = "testing")]
use crate::testing::MockProducer;
use crate::{
    event::Event, handler_error::HandlerError, outgoing::Outgoing, published::Published, topic::Topic, trace,
};

/// Publishes records. It is cheap to clone, and all clones share a producer.
///
/// ```no_run
/// # async fn example(client: milena::Client) -> Result<(), milena_service::HandlerError> {
/// use milena_service::Publisher;
///
/// let publisher = Publisher::start(&client)?;
/// let at = publisher.publish_json("orders", "order-1", &["tea", "salt"]).await?;
/// println!("written to partition {} at {:?}", at.partition, at.offset);
/// publisher.stop().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Publisher(Sink);

#[derive(Clone)]
enum Sink {
    Producer(Producer),
    #[cfg(feature = "testing")]
    Mock(MockProducer),
}

impl Publisher {
    /// With a producer of its own, with the client's defaults: idempotent, acknowledged by all replicas in sync.
    ///
    /// # Errors
    /// Those of [`milena::ProducerBuilder::build`].
    pub fn start(client: &Client) -> Result<Self> {
        Ok(Self::of(client.producer().build()?))
    }

    /// With this producer.
    #[must_use]
    pub const fn of(producer: Producer) -> Self {
        Self(Sink::Producer(producer))
    }

    /// Publishes a record, and waits until brokers have acknowledged it.
    ///
    /// # Errors
    /// Those of [`milena::Producer::send`].
    ///
    /// # Cancel safety
    /// Dropped, the record may be published or not.
    pub async fn send(&self, record: &Outgoing) -> Result<Published> {
        let span = trace::send(std::slice::from_ref(record));
        let sending = async {
            match &self.0 {
                Sink::Producer(producer) => {
                    let delivery = enqueue(producer, record).await?;
                    Ok(Published::new(record.topic().clone(), &delivery.await?))
                }
                #[cfg(feature = "testing")]
                Sink::Mock(mock) => mock.send(record).await,
            }
        };
        let sent = sending.instrument(span.clone()).await;
        sent.inspect_err(|error| trace::failed(&span, error))
    }

    /// Publishes an event, under its own [key](Event::key), and waits until brokers have acknowledged it.
    ///
    /// ```no_run
    /// # async fn example(publisher: milena_service::Publisher) -> Result<(), milena_service::HandlerError> {
    /// use milena_service::{Event, Topic};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize)]
    /// #[event(type = "user.created", source = "/users", key = user_id)]
    /// struct UserCreated {
    ///     user_id: u64,
    ///     email: String,
    /// }
    ///
    /// const USERS: Topic<UserCreated> = Topic::new("user.created");
    ///
    /// publisher.publish(&USERS, &UserCreated { user_id: 7, email: "a@example.org".to_owned() }).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// An event that its codec cannot encode, and those of [`send`](Self::send).
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    pub async fn publish<E: Event + Sync>(
        &self,
        topic: &Topic<E>,
        event: &E,
    ) -> Result<Published, HandlerError> {
        Ok(self.send(&topic.outgoing(event)?).await?)
    }

    /// Publishes an event under this key instead of its own.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    pub async fn publish_keyed<E: Event + Sync>(
        &self,
        topic: &Topic<E>,
        key: impl Into<Bytes>,
        event: &E,
    ) -> Result<Published, HandlerError> {
        Ok(self.send(&topic.outgoing(event)?.key(key)).await?)
    }

    /// Publishes a value in JSON, under a key: records of one key keep their order.
    ///
    /// # Errors
    /// A value that JSON has no form for, and those of [`send`](Self::send).
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    pub async fn publish_json(
        &self,
        topic: impl Into<TopicName>,
        key: impl Into<Bytes>,
        value: &(impl Serialize + Sync + ?Sized),
    ) -> Result<Published, HandlerError> {
        Ok(self.send(&Outgoing::json(topic, value)?.key(key)).await?)
    }

    /// Publishes several records, and waits until all are acknowledged. Those of one partition are written in this order.
    ///
    /// # Errors
    /// The first failure; others may have been published.
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    pub async fn send_all(&self, records: &[Outgoing]) -> Result<Vec<Published>> {
        let span = trace::send(records);
        let sent = self.send_each(records).instrument(span.clone()).await;
        sent.inspect_err(|error| trace::failed(&span, error))
    }

    async fn send_each(&self, records: &[Outgoing]) -> Result<Vec<Published>> {
        let mut published = Vec::with_capacity(records.len());
        match &self.0 {
            Sink::Producer(producer) => {
                let mut deliveries = Vec::with_capacity(records.len());
                for record in records {
                    deliveries.push(enqueue(producer, record).await?);
                }
                for (record, delivery) in records.iter().zip(deliveries) {
                    published.push(Published::new(record.topic().clone(), &delivery.await?));
                }
            }
            #[cfg(feature = "testing")]
            Sink::Mock(mock) => {
                for record in records {
                    published.push(mock.send(record).await?);
                }
            }
        }
        Ok(published)
    }

    /// Waits until everything is acknowledged that was published before.
    ///
    /// # Errors
    /// Those of [`milena::Producer::flush`].
    pub async fn flush(&self) -> Result<()> {
        match &self.0 {
            Sink::Producer(producer) => producer.flush().await,
            #[cfg(feature = "testing")]
            Sink::Mock(_) => Ok(()),
        }
    }

    /// Waits as [`flush`](Self::flush) does, and ends the producer, for all clones.
    ///
    /// # Errors
    /// Those of [`milena::Producer::close`].
    pub async fn stop(self) -> Result<()> {
        match self.0 {
            Sink::Producer(producer) => producer.close().await,
            #[cfg(feature = "testing")]
            Sink::Mock(_) => Ok(()),
        }
    }
}

#[cfg(feature = "testing")]
impl MockProducer {
    /// A publisher that publishes here.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher(Sink::Mock(self.clone()))
    }
}

async fn enqueue(producer: &Producer, record: &Outgoing) -> Result<Delivery> {
    let headers: Vec<Header<'_>> = record.headers().collect();
    producer.enqueue(record.record(&headers)).await
}

/// Whether a record was refused for what it is, so that it is never taken.
pub(crate) fn is_refused_for_good(error: &Error) -> bool {
    use milena::ErrorKind::{InvalidTopic, RecordTooLarge};
    matches!(error.kind(), RecordTooLarge { .. } | InvalidTopic { .. })
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}
