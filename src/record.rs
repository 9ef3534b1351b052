//! What goes in: a record to send, borrowed until it is copied into its batch.

use crate::types::Partition;

/// A header: a name and a value. Kafka keeps the order, allows the same name twice, and allows a null value.
pub type Header<'a> = (&'a str, Option<&'a [u8]>);

/// A record to send. It borrows everything, because sending copies it once, straight into its batch.
///
/// ```
/// use milena::Record;
/// let record = Record::new("orders", "created").key("order-1").headers(&[("source", Some(b"shop"))]);
/// let deleted = Record::tombstone("orders", "order-1");
/// # let _ = (record, deleted);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub(crate) topic: &'a str,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [Header<'a>],
    pub(crate) partition: Option<Partition>,
    pub(crate) timestamp: Option<i64>,
}

impl<'a> Record<'a> {
    /// A record with a value and no key.
    pub fn new(topic: &'a str, value: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { value: Some(value.as_ref()), ..Self::empty(topic) }
    }

    /// A record with a null value, which deletes `key` on a compacted topic.
    pub fn tombstone(topic: &'a str, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { key: Some(key.as_ref()), ..Self::empty(topic) }
    }

    /// A record with neither key nor value.
    #[must_use]
    pub fn empty(topic: &'a str) -> Self {
        Self { topic, key: None, value: None, headers: &[], partition: None, timestamp: None }
    }

    /// Sets the key. Records with the same key go to the same partition.
    #[must_use]
    pub fn key(self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { key: Some(key.as_ref()), ..self }
    }

    /// Sets the headers.
    #[must_use]
    pub fn headers(self, headers: &'a [Header<'a>]) -> Self {
        Self { headers, ..self }
    }

    /// Chooses the partition, past any partitioner.
    #[must_use]
    pub fn partition(self, partition: impl Into<Partition>) -> Self {
        Self { partition: Some(partition.into()), ..self }
    }

    /// Sets the timestamp, in milliseconds since the Unix epoch. The default is the time of the call.
    #[must_use]
    pub fn timestamp(self, timestamp: i64) -> Self {
        Self { timestamp: Some(timestamp), ..self }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The key, which a partitioner looks at.
    #[must_use]
    pub fn key_bytes(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The headers, in their order.
    #[must_use]
    pub fn header_fields(&self) -> &'a [Header<'a>] {
        self.headers
    }

    /// The partition that was chosen for it; `None` leaves it to the partitioner.
    #[must_use]
    pub fn given_partition(&self) -> Option<Partition> {
        self.partition
    }

    /// The timestamp that was set for it; `None` stands for the time of the call.
    #[must_use]
    pub fn given_timestamp(&self) -> Option<i64> {
        self.timestamp
    }

    /// The value; `None` for a tombstone.
    #[must_use]
    pub fn value_bytes(&self) -> Option<&'a [u8]> {
        self.value
    }
}
