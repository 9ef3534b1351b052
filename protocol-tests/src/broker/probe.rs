//! Whether a broker is up: two calls written by hand, so that no fault of the client can hide behind them.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const API_VERSIONS: i16 = 18;
const METADATA: i16 = 3;
const TIMEOUT: Duration = Duration::from_secs(2);
/// Far more than either answer takes: what is longer did not come from a broker.
const MAX_ANSWER: usize = 1 << 20;

/// Asks for ApiVersions v0 and returns how many APIs the broker offers.
pub(crate) fn api_versions(port: u16) -> io::Result<usize> {
    let answer = call(port, API_VERSIONS, 0, &[])?;
    let mut fields = Fields(&answer);
    match fields.i16()? {
        0 => fields.count(),
        code => Err(io::Error::other(format!("ApiVersions was answered with error code {code}"))),
    }
}

/// Asks for Metadata v1 without topics and returns the ids of the brokers that are in service.
pub(crate) fn brokers(port: u16) -> io::Result<Vec<i32>> {
    let no_topics = 0_i32.to_be_bytes();
    let answer = call(port, METADATA, 1, &no_topics)?;
    let mut fields = Fields(&answer);
    let mut ids = Vec::new();
    for _ in 0..fields.count()? {
        ids.push(fields.i32()?);
        let (_host, _port, _rack) = (fields.string()?, fields.i32()?, fields.string()?);
    }
    Ok(ids)
}

/// One call over its own connection: the body of the answer, behind the correlation id.
fn call(port: u16, api: i16, version: i16, body: &[u8]) -> io::Result<Vec<u8>> {
    const CORRELATION: i32 = 42;
    const NO_CLIENT_ID: i16 = -1;
    let mut request = Vec::new();
    request.extend(api.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(CORRELATION.to_be_bytes());
    request.extend(NO_CLIENT_ID.to_be_bytes());
    request.extend(body);
    let length = u32::try_from(request.len()).map_err(io::Error::other)?;

    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
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

/// The fields of an answer, from the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk::<N>().ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = rest;
        Ok(*front)
    }

    fn i16(&mut self) -> io::Result<i16> {
        self.take().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> io::Result<i32> {
        self.take().map(i32::from_be_bytes)
    }

    fn count(&mut self) -> io::Result<usize> {
        usize::try_from(self.i32()?).map_err(io::Error::other)
    }

    /// The bytes of a string; a null one is empty.
    fn string(&mut self) -> io::Result<&'a [u8]> {
        let length = usize::try_from(self.i16()?).unwrap_or(0);
        let (front, rest) = self.0.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = rest;
        Ok(front)
    }
}
