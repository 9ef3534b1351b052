//! A client's conversations with its brokers, written down with the times.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use milena::transport::{BoxFuture, Stream, Tcp, Transport};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::raw;

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;

/// What went over each connection of a client.
#[derive(Clone, Default)]
pub struct Recording(Arc<Mutex<Vec<Conversation>>>);

/// What went over one connection.
struct Conversation {
    with: SocketAddr,
    pieces: Vec<Piece>,
}

/// Bytes that went one way together.
#[derive(Debug)]
struct Piece {
    way: Way,
    at: Instant,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Out,
    In,
}

/// A broker's wish, in the answer to a Produce request, that nothing be sent for a while.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Silence {
    /// When the client was given the answer.
    pub since: Instant,
    /// For how long.
    pub wanted: Duration,
    /// When the next request on the connection began, if there was one.
    pub broken: Option<Instant>,
}

impl Recording {
    /// Every wish for silence until now.
    ///
    /// # Errors
    /// A frame that is none of Kafka's.
    pub fn silences(&self) -> Result<Vec<Silence>, String> {
        let connections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let silences = connections.iter().map(|connection| silences(&frames(&connection.pieces)));
        Ok(silences.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// The answers to every Fetch request until now, connection by connection.
    ///
    /// # Errors
    /// A frame that is none of Kafka's.
    pub fn fetches(&self) -> Result<Vec<Value>, String> {
        self.fetches_of(|_| true)
    }

    /// Those of the broker at this address.
    ///
    /// # Errors
    /// As [`fetches`](Self::fetches).
    pub fn fetches_from(&self, address: &str) -> Result<Vec<Value>, String> {
        self.fetches_of(|connection| connection.with.to_string() == address)
    }

    fn fetches_of(&self, is_wanted: impl Fn(&&Conversation) -> bool) -> Result<Vec<Value>, String> {
        let connections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fetches = Vec::new();
        for connection in connections.iter().filter(is_wanted) {
            let frames = frames(&connection.pieces);
            fetches.extend(answers(&frames, FETCH, "Fetch")?.into_iter().map(|(_, answer)| answer));
        }
        Ok(fetches)
    }

    /// The key and the version of every request until now, connection by connection.
    #[must_use]
    pub fn requests(&self) -> Vec<(i16, i16)> {
        let connections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let frames = connections.iter().flat_map(|connection| frames(&connection.pieces));
        let requests = frames.filter(|frame| frame.way == Way::Out);
        let head = requests.filter_map(|frame| frame.bytes.first_chunk::<4>().copied());
        head.map(|[a, b, c, d]| (i16::from_be_bytes([a, b]), i16::from_be_bytes([c, d]))).collect()
    }

    fn connection(&self, with: SocketAddr) -> usize {
        let mut connections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connections.push(Conversation { with, pieces: Vec::new() });
        connections.len() - 1
    }

    fn note(&self, connection: usize, way: Way, bytes: &[u8]) {
        let piece = Piece { way, at: Instant::now(), bytes: bytes.to_vec() };
        let mut connections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = connections.get_mut(connection) {
            connection.pieces.push(piece);
        }
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recording")
    }
}

/// A request or an answer without its length.
struct Frame {
    way: Way,
    /// The first byte's time and the last one's.
    began: Instant,
    ended: Instant,
    bytes: Vec<u8>,
}

/// The whole frames of a connection, in the order in which they ended.
fn frames(pieces: &[Piece]) -> Vec<Frame> {
    let mut frames = Vec::new();
    for way in [Way::Out, Way::In] {
        let mut open: Option<(Instant, Vec<u8>)> = None;
        for piece in pieces.iter().filter(|piece| piece.way == way) {
            for &byte in &piece.bytes {
                let (began, bytes) = open.get_or_insert_with(|| (piece.at, Vec::new()));
                bytes.push(byte);
                let Some((length, body)) = bytes.split_first_chunk::<4>() else { continue };
                if body.len() == u32::from_be_bytes(*length) as usize {
                    frames.push(Frame { way, began: *began, ended: piece.at, bytes: body.to_vec() });
                    open = None;
                }
            }
        }
    }
    frames.sort_by_key(|frame| frame.ended);
    frames
}

fn silences(frames: &[Frame]) -> Result<Vec<Silence>, String> {
    let mut silences = Vec::new();
    for (frame, answer) in answers(frames, PRODUCE, "Produce")? {
        let wanted = answer["ThrottleTimeMs"].as_u64().ok_or("an answer without a throttle time")?;
        if wanted == 0 {
            continue;
        }
        let later = frames.iter().filter(|other| other.way == Way::Out && other.began > frame.ended);
        let broken = later.map(|other| other.began).min();
        silences.push(Silence { since: frame.ended, wanted: Duration::from_millis(wanted), broken });
    }
    Ok(silences)
}

/// The answers to the requests of one API, given by its key and its name.
fn answers<'a>(frames: &'a [Frame], key: i16, api: &str) -> Result<Vec<(&'a Frame, Value)>, String> {
    let mut versions = BTreeMap::new();
    for frame in frames.iter().filter(|frame| frame.way == Way::Out) {
        if let Some(&[a, b, c, d, e, f, g, h]) = frame.bytes.first_chunk::<8>()
            && i16::from_be_bytes([a, b]) == key
        {
            versions.insert([e, f, g, h], i16::from_be_bytes([c, d]));
        }
    }
    let mut answers = Vec::new();
    for frame in frames.iter().filter(|frame| frame.way == Way::In) {
        let Some((correlation, body)) = frame.bytes.split_first_chunk::<4>() else { continue };
        let Some(version) = versions.get(correlation) else { continue };
        answers.push((frame, raw::answer(api, *version, body)?));
    }
    Ok(answers)
}

/// TCP that is recorded.
#[derive(Debug)]
pub(super) struct Recorded(pub(super) Recording);

impl Transport for Recorded {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Tcp::default().resolve(host, port).await })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let stream = Tcp::default().connect(address).await?;
            let connection = self.0.connection(address);
            let recording = self.0.clone();
            Ok(Box::new(RecordedStream { stream, recording, connection }) as Box<dyn Stream>)
        })
    }
}

struct RecordedStream {
    stream: Box<dyn Stream>,
    recording: Recording,
    connection: usize,
}

impl AsyncRead for RecordedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.recording.note(self.connection, Way::In, &buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for RecordedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.recording.note(self.connection, Way::Out, &buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE_TAGS: i16 = 3;

    /// A frame with this in it.
    fn frame(bytes: &[&[u8]]) -> Vec<u8> {
        let body = bytes.concat();
        [&u32::try_from(body.len()).unwrap_or_default().to_be_bytes()[..], &body].concat()
    }

    fn request(api: i16, correlation: i32) -> Vec<u8> {
        frame(&[
            &api.to_be_bytes(),
            &BEFORE_TAGS.to_be_bytes(),
            &correlation.to_be_bytes(),
            b"\xff\xff, and so on",
        ])
    }

    /// The answer to a Produce request with no topics.
    fn answer(correlation: i32, throttle: i32) -> Vec<u8> {
        frame(&[&correlation.to_be_bytes(), &0_i32.to_be_bytes(), &throttle.to_be_bytes()])
    }

    #[test]
    fn a_silence_lasts_until_the_next_request_begins() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let piece = |way, ms, bytes: &[u8]| Piece { way, at: at(ms), bytes: bytes.to_vec() };
        let (next, throttled) = (request(3, 8), answer(7, 300));
        let pieces = [
            piece(Way::Out, 0, &[request(PRODUCE, 6), request(PRODUCE, 7)].concat()),
            piece(Way::In, 10, &answer(6, 0)),
            piece(Way::In, 20, &throttled[..9]),
            piece(Way::In, 30, &throttled[9..]),
            piece(Way::Out, 130, &next[..5]),
            piece(Way::Out, 400, &next[5..]),
        ];
        let recording = Recording::default();
        recording.connection(SocketAddr::from(([127, 0, 0, 1], 9092)));
        for piece in &pieces {
            recording.note(0, piece.way, &piece.bytes);
        }
        assert_eq!(recording.requests(), [(PRODUCE, 3), (PRODUCE, 3), (3, 3)]);
        let found = silences(&frames(&pieces)).unwrap_or_default();
        let found: Vec<_> = found.iter().map(|s| (s.since, s.wanted, s.broken)).collect();
        assert_eq!(found, [(at(30), Duration::from_millis(300), Some(at(130)))]);
        let unbroken = silences(&frames(&pieces[..4])).unwrap_or_default();
        assert_eq!(unbroken.iter().map(|s| s.broken).collect::<Vec<_>>(), [None]);
    }
}
