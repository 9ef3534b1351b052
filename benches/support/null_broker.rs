//! A broker that costs its client nothing: it acknowledges at once without looking at the records, and serves the
//! largest batch that it was ever sent, again and again and without an end.
//!
//! It speaks few versions of each API, none of them with tagged fields, so any client's requests are read in a few
//! lines. It has one node, and all topics have the same number of partitions.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const LIST_OFFSETS: i16 = 2;
const METADATA: i16 = 3;
const FIND_COORDINATOR: i16 = 10;
const API_VERSIONS: i16 = 18;
const INIT_PRODUCER_ID: i16 = 22;
/// The APIs, each with its oldest and newest version. librdkafka takes a broker for one that knows today's batches by
/// Produce 3, and for one that knows LZ4 by FindCoordinator 0, which no producer asks for.
const APIS: [(i16, i16, i16); 7] = [
    (PRODUCE, 3, 7),
    (FETCH, 4, 4),
    (LIST_OFFSETS, 2, 2),
    (METADATA, 4, 4),
    (FIND_COORDINATOR, 0, 0),
    (API_VERSIONS, 0, 0),
    (INIT_PRODUCER_ID, 0, 0),
];
/// From this version on, an answer to Produce tells where the log starts.
const PRODUCE_WITH_LOG_START: i16 = 5;

const UNSUPPORTED_VERSION: i16 = 35;
/// Where the count of records stands in a batch.
const COUNT_AT: usize = 57;
const NODE: i32 = 1;

/// The batch that is served.
#[derive(Default)]
struct Canned {
    batch: Vec<u8>,
    records: i64,
}

/// What the connections share.
struct Shared {
    partitions: i32,
    /// Where clients are told to find the broker.
    port: u16,
    canned: Mutex<Canned>,
}

/// Serves until the process ends.
pub(crate) struct NullBroker {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl NullBroker {
    /// Starts a broker on a free port of loopback, with a thread for each connection. Clients are told that it is at the
    /// port `advertised`, as one says who stands behind a proxy, or at its own.
    pub(crate) fn start(partitions: i32, advertised: Option<u16>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let port = advertised.unwrap_or_else(|| address.port());
        let shared = Arc::new(Shared { partitions, port, canned: Mutex::default() });
        let broker = Self { address, shared: Arc::clone(&shared) };
        named().spawn(move || {
            for stream in listener.incoming().flatten() {
                let connection = Connection { stream, shared: Arc::clone(&shared) };
                // A connection ends when its client closes it.
                let _ = named().spawn(move || connection.serve());
            }
        })?;
        Ok(broker)
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Serves nothing of what was sent until now.
    pub(crate) fn forget(&self) {
        *lock(&self.shared.canned) = Canned::default();
    }
}

/// So that a profiler tells the broker from its client.
fn named() -> thread::Builder {
    thread::Builder::new().name("null broker".to_owned())
}

struct Connection {
    stream: TcpStream,
    shared: Arc<Shared>,
}

impl Connection {
    fn serve(mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        let (mut request, mut response) = (Vec::new(), Vec::new());
        loop {
            let mut length = [0; 4];
            self.stream.read_exact(&mut length)?;
            request.resize(u32::from_be_bytes(length) as usize, 0);
            self.stream.read_exact(&mut request)?;
            response.clear();
            response.extend_from_slice(&[0; 4]);
            self.answer(&mut Reader(&request), &mut response);
            let length = (response.len() - 4) as u32;
            response[..4].copy_from_slice(&length.to_be_bytes());
            self.stream.write_all(&response)?;
        }
    }

    /// Panics on a request that it does not know: then the bench shows nothing.
    fn answer(&self, request: &mut Reader<'_>, out: &mut Vec<u8>) {
        let (api, version, correlation_id) = (request.i16(), request.i16(), request.i32());
        put_i32(out, correlation_id);
        if api == API_VERSIONS {
            return api_versions(version, out);
        }
        let _client_id = request.string();
        match api {
            PRODUCE => self.produce(version, request, out),
            FETCH => self.fetch(request, out),
            LIST_OFFSETS => list_offsets(request, out),
            METADATA => self.metadata(request, out),
            INIT_PRODUCER_ID => {
                put_i32(out, 0);
                put_i16(out, 0);
                put_i64(out, 7);
                put_i16(out, 0);
            }
            _ => panic!("nobody was expected to ask for API {api}"),
        }
    }

    fn produce(&self, version: i16, request: &mut Reader<'_>, out: &mut Vec<u8>) {
        let (_transactional_id, _acks, _timeout) = (request.string(), request.i16(), request.i32());
        each_topic(request, out, |request, out| {
            let (partition, records) = (request.i32(), request.bytes());
            self.keep(records);
            put_i32(out, partition);
            put_i16(out, 0);
            // Base offset, append time.
            put_i64(out, 0);
            put_i64(out, -1);
            if version >= PRODUCE_WITH_LOG_START {
                put_i64(out, 0);
            }
        });
        put_i32(out, 0);
    }

    fn keep(&self, batch: &[u8]) {
        let mut canned = lock(&self.shared.canned);
        if batch.len() > canned.batch.len() {
            canned.records = i64::from(Reader(&batch[COUNT_AT..]).i32());
            canned.batch = batch.to_vec();
        }
    }

    fn fetch(&self, request: &mut Reader<'_>, out: &mut Vec<u8>) {
        let (_replica, _max_wait, _min_bytes) = (request.i32(), request.i32(), request.i32());
        let (_max_bytes, _isolation) = (request.i32(), request.skip(1));
        put_i32(out, 0);
        each_topic(request, out, |request, out| {
            let (partition, offset, max_bytes) = (request.i32(), request.i64(), request.i32());
            put_i32(out, partition);
            put_i16(out, 0);
            // High watermark, last stable offset, no aborted transactions.
            put_i64(out, i64::MAX);
            put_i64(out, i64::MAX);
            put_i32(out, -1);
            self.put_records(offset, max_bytes as usize, out);
        });
    }

    fn put_records(&self, offset: i64, max_bytes: usize, out: &mut Vec<u8>) {
        let canned = lock(&self.shared.canned);
        assert!(canned.records > 0, "a fetch before anything was produced");
        let count = (max_bytes / canned.batch.len()).max(1);
        put_i32(out, (count * canned.batch.len()) as i32);
        let mut base_offset = offset - offset % canned.records;
        for _ in 0..count {
            // The checksum does not cover the offset.
            put_i64(out, base_offset);
            out.extend_from_slice(&canned.batch[8..]);
            base_offset += canned.records;
        }
    }

    fn metadata(&self, request: &mut Reader<'_>, out: &mut Vec<u8>) {
        put_i32(out, 0);
        put_i32(out, 1);
        put_i32(out, NODE);
        put_string(out, "127.0.0.1");
        put_i32(out, i32::from(self.shared.port));
        // No rack, no cluster id; the controller.
        put_i16(out, -1);
        put_i16(out, -1);
        put_i32(out, NODE);
        let topics: Vec<_> = (0..request.i32().max(0)).map(|_| request.string()).collect();
        put_i32(out, topics.len() as i32);
        for topic in topics {
            put_i16(out, 0);
            put_string(out, topic);
            out.push(0);
            put_i32(out, self.shared.partitions);
            for partition in 0..self.shared.partitions {
                put_i16(out, 0);
                put_i32(out, partition);
                put_i32(out, NODE);
                for _replicas_then_in_sync in 0..2 {
                    put_i32(out, 1);
                    put_i32(out, NODE);
                }
            }
        }
    }
}

fn api_versions(version: i16, out: &mut Vec<u8>) {
    put_i16(out, if version == 0 { 0 } else { UNSUPPORTED_VERSION });
    put_i32(out, APIS.len() as i32);
    for (api, oldest, newest) in APIS {
        put_i16(out, api);
        put_i16(out, oldest);
        put_i16(out, newest);
    }
}

/// Both ends of every partition are 0: what is served begins at any offset.
fn list_offsets(request: &mut Reader<'_>, out: &mut Vec<u8>) {
    let (_replica, _isolation) = (request.i32(), request.skip(1));
    put_i32(out, 0);
    each_topic(request, out, |request, out| {
        let (partition, _timestamp) = (request.i32(), request.i64());
        put_i32(out, partition);
        put_i16(out, 0);
        put_i64(out, -1);
        put_i64(out, 0);
    });
}

/// Goes through the partitions of a request and puts the topics' frame around the answers.
fn each_topic(
    request: &mut Reader<'_>,
    out: &mut Vec<u8>,
    mut partition: impl FnMut(&mut Reader<'_>, &mut Vec<u8>),
) {
    let topics = request.i32();
    put_i32(out, topics);
    for _ in 0..topics {
        put_string(out, request.string());
        let partitions = request.i32();
        put_i32(out, partitions);
        for _ in 0..partitions {
            partition(request, out);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn skip(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        taken.copy_from_slice(self.skip(N));
        taken
    }

    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take())
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take())
    }

    fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take())
    }

    /// Null is as good as empty.
    fn string(&mut self) -> &'a str {
        let length = self.i16().max(0) as usize;
        std::str::from_utf8(self.skip(length)).unwrap_or_default()
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.i32().max(0) as usize;
        self.skip(length)
    }
}

fn put_i16(out: &mut Vec<u8>, value: i16) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_string(out: &mut Vec<u8>, value: &str) {
    put_i16(out, value.len() as i16);
    out.extend_from_slice(value.as_bytes());
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
