//! Whether a broker is up and what it offers: calls written by hand, so that no fault of the client can hide behind
//! them.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const API_VERSIONS: i16 = 18;
const METADATA: i16 = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const READ_TIMEOUT: Duration = Duration::from_secs(15);
/// Far more than either answer takes: what is longer did not come from a broker.
const MAX_ANSWER: usize = 1 << 20;

/// Asks for ApiVersions v0 and returns the APIs that the broker offers: key, lowest and highest version.
///
/// # Errors
/// What the connection or the broker said.
pub fn api_versions(address: &str) -> io::Result<Vec<(i16, i16, i16)>> {
    let body = Vec::new();
    let answer = call(address, &Call { api: API_VERSIONS, version: 0, flexible: false, body })?;
    let mut fields = Fields(&answer);
    match fields.i16()? {
        0 => (0..fields.count()?).map(|_| Ok((fields.i16()?, fields.i16()?, fields.i16()?))).collect(),
        code => Err(io::Error::other(format!("ApiVersions was answered with error code {code}"))),
    }
}

/// Asks for Metadata v1 without topics and returns the ids of the brokers that are in service.
pub(crate) fn brokers(address: &str) -> io::Result<Vec<i32>> {
    let body = 0_i32.to_be_bytes().to_vec();
    let answer = call(address, &Call { api: METADATA, version: 1, flexible: false, body })?;
    let mut fields = Fields(&answer);
    let mut ids = Vec::new();
    for _ in 0..fields.count()? {
        ids.push(fields.i32()?);
        let (_host, _port, _rack) = (fields.string()?, fields.i32()?, fields.string()?);
    }
    Ok(ids)
}

/// One request, as it goes over the wire behind its header.
pub(crate) struct Call {
    pub(crate) api: i16,
    pub(crate) version: i16,
    /// Whether the header of this version has tags.
    pub(crate) flexible: bool,
    pub(crate) body: Vec<u8>,
}

/// Makes one call over its own connection; the answer behind the correlation id: the header's tags, if it has any, and
/// the body.
pub(crate) fn call(address: &str, call: &Call) -> io::Result<Vec<u8>> {
    const CORRELATION: i32 = 42;
    const NO_CLIENT_ID: i16 = -1;
    let mut request = Vec::new();
    request.extend(call.api.to_be_bytes());
    request.extend(call.version.to_be_bytes());
    request.extend(CORRELATION.to_be_bytes());
    request.extend(NO_CLIENT_ID.to_be_bytes());
    request.extend(call.flexible.then_some(0));
    request.extend(&call.body);
    let length = u32::try_from(request.len()).map_err(io::Error::other)?;

    let mut stream = connect(address)?;
    stream.write_all(&[&length.to_be_bytes(), request.as_slice()].concat())?;

    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).map_err(io::Error::other)?;
    if length > MAX_ANSWER {
        return Err(io::Error::other(format!("an answer of {length} bytes, and {MAX_ANSWER} are the most")));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    let mut fields = Fields(&answer);
    match fields.i32()? {
        CORRELATION => Ok(fields.0.to_vec()),
        other => Err(io::Error::other(format!("an answer to call {other}, and {CORRELATION} was made"))),
    }
}

/// Connects to the first address that answers; what is silent for longer than an election takes is given up.
fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(READ_TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The fields of an answer, from the front.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk::<N>().ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = rest;
        Ok(*front)
    }

    pub(crate) fn u8(&mut self) -> io::Result<u8> {
        self.take().map(u8::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> io::Result<i64> {
        self.take().map(i64::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> io::Result<i16> {
        self.take().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> io::Result<i32> {
        self.take().map(i32::from_be_bytes)
    }

    pub(crate) fn count(&mut self) -> io::Result<usize> {
        usize::try_from(self.i32()?).map_err(io::Error::other)
    }

    /// The bytes of a string; a null one is empty.
    pub(crate) fn string(&mut self) -> io::Result<&'a [u8]> {
        let length = usize::try_from(self.i16()?).unwrap_or(0);
        let (front, rest) = self.0.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = rest;
        Ok(front)
    }
}
