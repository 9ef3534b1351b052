//! librdkafka's side, through its C interface, without a binding's own costs.

use std::error::Error;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::thread;

use rdkafka_sys as sys;
use rdkafka_sys::{RDKafkaConf, RDKafkaConfRes, RDKafkaErrorCode, RDKafkaRespErr, RDKafkaTopic, RDKafkaType};

use crate::measure::{Measured, Meter};
use crate::task::Task;

/// What both must do.
const SETTINGS: [(&CStr, &CStr); 3] =
    [(c"acks", c"all"), (c"enable.idempotence", c"true"), (c"linger.ms", c"5")];
/// What makes it fastest: large batches, and room for many records.
const TUNING: [(&CStr, &CStr); 4] = [
    (c"batch.size", c"1000000"),
    (c"batch.num.messages", c"1000000"),
    (c"queue.buffering.max.messages", c"1000000"),
    (c"queue.buffering.max.kbytes", c"1048576"),
];
/// Lets the partitioner choose: a macro in C, which the binding lacks.
const UNASSIGNED: i32 = -1;
/// How long the last records may take.
const FLUSH_MS: c_int = 120_000;

/// What the deliveries said.
#[derive(Default)]
struct Counts {
    acknowledged: AtomicUsize,
    failed: AtomicUsize,
    last_error: AtomicI32,
}

/// Sends the records one by one, and counts the delivery of each.
pub(crate) fn produce(task: &Task) -> Result<Measured, Box<dyn Error>> {
    let counts = Counts::default();
    let client = Client::new(task, &counts)?;
    let values = task.values();
    let send = |index| client.send(values.get(index));
    let stopping = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stopping.load(Ordering::Relaxed) {
                client.poll();
            }
        });
        let measured = (|| {
            // So that the connection, the topic and the producer's id are there.
            send(0)?;
            client.flush()?;
            let meter = Meter::start()?;
            (0..task.records).try_for_each(send)?;
            client.flush()?;
            Ok(meter.stop(counts.check(task.records + 1)? - 1)?)
        })();
        stopping.store(true, Ordering::Relaxed);
        measured
    })
}

/// Reads the records from the beginning, many with each call: the cheapest way that it has.
pub(crate) fn consume(task: &Task) -> Result<Measured, Box<dyn Error>> {
    const MANY: usize = 10_000;
    let reader = Reader::new(task)?;
    let meter = Meter::start()?;
    reader.assign(task)?;
    let mut messages: Vec<*mut sys::rd_kafka_message_t> = vec![ptr::null_mut(); MANY];
    let (mut count, mut bytes) = (0, 0);
    // One more was written, ahead of the others.
    while count < task.records + 1 {
        // SAFETY: the queue is valid, and there is room for as many messages.
        let got = unsafe { sys::rd_kafka_consume_batch_queue(reader.queue, 1000, messages.as_mut_ptr(), MANY) };
        for message in messages.iter().take(usize::try_from(got)?) {
            // SAFETY: it was just got, and is destroyed once.
            let (error, length) = unsafe {
                let (error, length) = ((**message).err, (**message).len);
                sys::rd_kafka_message_destroy(*message);
                (error, length)
            };
            if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(format!("a record was not read: {}", error as i32).into());
            }
            bytes += length;
            count += 1;
        }
    }
    let measured = meter.stop(count)?;
    if bytes != count * task.workload.bytes {
        return Err(format!("{count} records of {} B had {bytes} B", task.workload.bytes).into());
    }
    Ok(measured)
}

/// A consumer of chosen partitions.
struct Reader {
    client: *mut sys::rd_kafka_t,
    queue: *mut sys::rd_kafka_queue_t,
}

impl Reader {
    fn new(task: &Task) -> Result<Self, Box<dyn Error>> {
        let bootstrap = CString::new(task.bootstrap.as_str())?;
        let settings = [
            (c"bootstrap.servers", bootstrap.as_c_str()),
            (c"group.id", c"peers"),
            (c"enable.auto.commit", c"false"),
            (c"isolation.level", c"read_uncommitted"),
        ];
        // SAFETY: makes a configuration, which `rd_kafka_new` takes over; after an error the process ends.
        let conf = unsafe { sys::rd_kafka_conf_new() };
        for (key, value) in settings {
            set(conf, key, value)?;
        }
        let mut said = Said::default();
        // SAFETY: the configuration is valid.
        let client = unsafe {
            sys::rd_kafka_new(RDKafkaType::RD_KAFKA_CONSUMER, conf, said.pointer(), said.len())
        };
        if client.is_null() {
            return Err(said.text().into());
        }
        // SAFETY: the client is valid.
        let queue = unsafe {
            sys::rd_kafka_poll_set_consumer(client);
            sys::rd_kafka_queue_get_consumer(client)
        };
        Ok(Self { client, queue })
    }

    fn assign(&self, task: &Task) -> Result<(), Box<dyn Error>> {
        /// A macro in C, which the binding lacks.
        const BEGINNING: i64 = -2;
        let name = CString::new(task.topic.as_str())?;
        let count = i32::try_from(task.workload.partitions)?;
        // SAFETY: the list is ours, its entries are valid as long as it is, and it is copied by the call that takes it.
        let error = unsafe {
            let list = sys::rd_kafka_topic_partition_list_new(count);
            for index in 0..count {
                let entry = sys::rd_kafka_topic_partition_list_add(list, name.as_ptr(), index);
                (*entry).offset = BEGINNING;
            }
            let error = sys::rd_kafka_assign(self.client, list);
            sys::rd_kafka_topic_partition_list_destroy(list);
            RDKafkaErrorCode::from(error)
        };
        match error {
            RDKafkaErrorCode::NoError => Ok(()),
            error => Err(format!("assign: {error}").into()),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // SAFETY: both are valid, and nobody uses them any more.
        unsafe {
            sys::rd_kafka_queue_destroy(self.queue);
            sys::rd_kafka_consumer_close(self.client);
            sys::rd_kafka_destroy(self.client);
        }
    }
}

impl Counts {
    fn check(&self, sent: usize) -> Result<usize, Box<dyn Error>> {
        let (acknowledged, failed) =
            (self.acknowledged.load(Ordering::SeqCst), self.failed.load(Ordering::SeqCst));
        if acknowledged == sent && failed == 0 {
            return Ok(acknowledged);
        }
        let error = self.last_error.load(Ordering::SeqCst);
        Err(format!(
            "of {sent} records {acknowledged} were acknowledged, {failed} failed, the last with {error}"
        )
        .into())
    }
}

/// Called once for each record, from whoever polls.
unsafe extern "C" fn delivered(
    _client: *mut sys::rd_kafka_t,
    message: *const sys::rd_kafka_message_t,
    counts: *mut c_void,
) {
    // SAFETY: librdkafka passes a message that lives until this returns, and the opaque pointer that it was given, which
    // is to the counts; these outlive the client.
    let (message, counts) = unsafe { (&*message, &*counts.cast::<Counts>()) };
    if message.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        counts.acknowledged.fetch_add(1, Ordering::Relaxed);
    } else {
        counts.failed.fetch_add(1, Ordering::Relaxed);
        counts.last_error.store(message.err as i32, Ordering::Relaxed);
    }
}

/// A producer and its topic.
struct Client<'a> {
    client: *mut sys::rd_kafka_t,
    topic: *mut RDKafkaTopic,
    _counts: &'a Counts,
}

// SAFETY: librdkafka's handles may be used from all threads at once.
unsafe impl Sync for Client<'_> {}

impl<'a> Client<'a> {
    fn new(task: &Task, counts: &'a Counts) -> Result<Self, Box<dyn Error>> {
        let codec = if task.workload.lz4 { c"lz4" } else { c"none" };
        let (bootstrap, name) = (CString::new(task.bootstrap.as_str())?, CString::new(task.topic.as_str())?);
        let own = [(c"bootstrap.servers", bootstrap.as_c_str()), (c"compression.type", codec)];
        let tuning = if task.defaults { &[] } else { TUNING.as_slice() };
        // SAFETY: makes a configuration, which `rd_kafka_new` takes over; after an error the process ends.
        let conf = unsafe { sys::rd_kafka_conf_new() };
        for (key, value) in own.iter().chain(&SETTINGS).chain(tuning) {
            set(conf, key, value)?;
        }
        let mut said = Said::default();
        // SAFETY: the configuration is valid, the opaque pointer is to what outlives the client, and the callback has the
        // signature that is asked for.
        let client = unsafe {
            sys::rd_kafka_conf_set_opaque(conf, ptr::from_ref(counts).cast_mut().cast());
            sys::rd_kafka_conf_set_dr_msg_cb(conf, Some(delivered));
            sys::rd_kafka_new(RDKafkaType::RD_KAFKA_PRODUCER, conf, said.pointer(), said.len())
        };
        if client.is_null() {
            return Err(said.text().into());
        }
        // SAFETY: the client is valid, the name a C string; no configuration means the default one.
        let topic = unsafe { sys::rd_kafka_topic_new(client, name.as_ptr(), ptr::null_mut()) };
        Ok(Self { client, topic, _counts: counts })
    }

    /// Waits for room where need be. The record is copied: so its owner may do with it what he likes.
    fn send(&self, value: &[u8]) -> Result<(), Box<dyn Error>> {
        let flags = sys::RD_KAFKA_MSG_F_COPY | sys::RD_KAFKA_MSG_F_BLOCK;
        // SAFETY: the topic is valid, and the value is read during the call alone.
        let failed = unsafe {
            sys::rd_kafka_produce(
                self.topic,
                UNASSIGNED,
                flags,
                value.as_ptr().cast_mut().cast(),
                value.len(),
                ptr::null(),
                0,
                ptr::null_mut(),
            )
        };
        if failed == 0 {
            return Ok(());
        }
        // SAFETY: reads the calling thread's last error.
        let error = RDKafkaErrorCode::from(unsafe { sys::rd_kafka_last_error() });
        Err(format!("a record was not taken: {error}").into())
    }

    fn poll(&self) {
        // SAFETY: the client is valid.
        unsafe { sys::rd_kafka_poll(self.client, 100) };
    }

    fn flush(&self) -> Result<(), Box<dyn Error>> {
        // SAFETY: the client is valid.
        let error = RDKafkaErrorCode::from(unsafe { sys::rd_kafka_flush(self.client, FLUSH_MS) });
        match error {
            RDKafkaErrorCode::NoError => Ok(()),
            error => Err(format!("flush: {error}").into()),
        }
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        // SAFETY: both are valid, and nobody uses them any more.
        unsafe {
            sys::rd_kafka_topic_destroy(self.topic);
            sys::rd_kafka_destroy(self.client);
        }
    }
}

fn set(conf: *mut RDKafkaConf, key: &CStr, value: &CStr) -> Result<(), String> {
    let mut said = Said::default();
    // SAFETY: the configuration is valid, and the strings are C strings.
    let result =
        unsafe { sys::rd_kafka_conf_set(conf, key.as_ptr(), value.as_ptr(), said.pointer(), said.len()) };
    if result == RDKafkaConfRes::RD_KAFKA_CONF_OK { Ok(()) } else { Err(said.text()) }
}

/// Where librdkafka writes what was wrong.
struct Said([u8; 512]);

impl Default for Said {
    fn default() -> Self {
        Self([0; 512])
    }
}

impl Said {
    fn pointer(&mut self) -> *mut c_char {
        self.0.as_mut_ptr().cast()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn text(&self) -> String {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default().to_string_lossy().into_owned()
    }
}
