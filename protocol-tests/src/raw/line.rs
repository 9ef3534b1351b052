//! One connection: frames, headers and correlation ids.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::codec::{decode, encode};
use super::schema::{self, Message};

/// Longer than any answer takes that comes at all.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Far more than any answer has.
const MAX_ANSWER: usize = 64 << 20;
const API_VERSIONS: i16 = 18;
const UNSUPPORTED_VERSION: i16 = 35;

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// An answer.
    Answer(Value),
    /// The broker closed the connection instead.
    Closed,
}

/// A connection to a broker.
#[derive(Debug)]
pub struct Line {
    stream: TcpStream,
    correlation: i32,
    /// The requests that are to be answered.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    correlation: i32,
    version: i16,
    response: Arc<Message>,
}

impl Line {
    /// Connects.
    ///
    /// # Errors
    /// As the system says.
    pub fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, correlation: 0, waiting: VecDeque::new() })
    }

    /// Sends a request: the name of its API, such as `Fetch`, a version, which need not exist, and its fields.
    ///
    /// # Errors
    /// A request that the schema does not allow.
    pub fn send(&mut self, api: &str, version: i16, body: &Value) -> Result<(), String> {
        let request = schema::message(&format!("{api}Request"))?;
        let body = encode(&request, version, body).map_err(|error| format!("{api} v{version}: {error}"))?;
        self.correlation += 1;
        let header = json!({
            "RequestApiKey": request.key,
            "RequestApiVersion": version,
            "CorrelationId": self.correlation,
            "ClientId": "raw",
        });
        let header_version = if request.is_flexible(version) { 2 } else { 1 };
        let of_header = schema::message("RequestHeader")?;
        let header = encode(&of_header, header_version, &header)?;
        let response = schema::message(&format!("{api}Response"))?;
        self.waiting.push_back(Waiting { correlation: self.correlation, version, response });
        self.send_frame(&[header, body].concat());
        Ok(())
    }

    /// Forgets the newest request: it has no answer.
    pub fn expect_silence(&mut self) {
        self.waiting.pop_back();
    }

    /// Sends bytes as a frame. Whether the broker still takes them shows when the answer is read.
    pub fn send_frame(&mut self, frame: &[u8]) {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes();
        let _ = self.stream.write_all(&[&length, frame].concat());
    }

    /// Reads the answer to the oldest request that has none yet.
    ///
    /// # Errors
    /// No answer in time, or one that is not what the schema says.
    pub fn receive(&mut self) -> Result<Outcome, String> {
        let frame = match self.frame() {
            Ok(frame) => frame,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(format!("no answer in {TIMEOUT:?}"));
            }
            Err(error) if error.kind() == ErrorKind::InvalidData => return Err(error.to_string()),
            Err(_) => return Ok(Outcome::Closed),
        };
        let waiting = self.waiting.pop_front().ok_or("an answer to nothing")?;
        let (correlation, body) = frame.split_first_chunk::<4>().ok_or("an answer without header")?;
        let correlation = i32::from_be_bytes(*correlation);
        if correlation != waiting.correlation {
            return Err(format!("an answer to request {correlation}, not to {}", waiting.correlation));
        }
        waiting.read(body).map(Outcome::Answer)
    }

    fn frame(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_ANSWER {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("an answer of {length} bytes")));
        }
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame)?;
        Ok(frame)
    }
}

/// Reads the answer to a request of this API and version: what follows the correlation id.
///
/// # Errors
/// One that is not what the schema says.
pub fn answer(api: &str, version: i16, body: &[u8]) -> Result<Value, String> {
    let response = schema::message(&format!("{api}Response"))?;
    Waiting { correlation: 0, version, response }.read(body)
}

impl Waiting {
    fn read(&self, body: &[u8]) -> Result<Value, String> {
        let (response, version) = (&*self.response, self.version);
        if response.key == API_VERSIONS {
            // Its header is never flexible, and a version that the broker does not know is answered in version 0.
            let refused = body.first_chunk() == Some(&UNSUPPORTED_VERSION.to_be_bytes());
            return decode(response, if refused { 0 } else { version }, body);
        }
        let body = if response.is_flexible(version) {
            body.strip_prefix(&[0]).ok_or("a header with tagged fields")?
        } else {
            body
        };
        decode(response, version, body)
            .map_err(|error| format!("{error} in an answer of {} bytes", body.len()))
    }
}
