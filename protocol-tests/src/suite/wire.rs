//! The way between a client and its brokers, with somebody on it. So bytes can be damaged and answers lost on every
//! target alike.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use milena::transport::{BoxFuture, Stream, Tcp, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What becomes of bytes that have come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seen {
    /// They go on, changed or not.
    Pass,
    /// They are lost, and the connection with them.
    Cut,
}

/// Looks at what comes in: the key of the request that was written last on the connection, and the bytes.
type Eye = Arc<dyn Fn(i16, &mut [u8]) -> Seen + Send + Sync>;

/// TCP with somebody on it.
pub(super) struct Watched(pub(super) Eye);

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

impl Transport for Watched {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Tcp::default().resolve(host, port).await })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let stream = Tcp::default().connect(address).await?;
            let eye = Arc::clone(&self.0);
            Ok(Box::new(WatchedStream { stream, eye, sent: Requests::default() }) as Box<dyn Stream>)
        })
    }
}

struct WatchedStream {
    stream: Box<dyn Stream>,
    eye: Eye,
    sent: Requests,
}

/// The requests that went out, as far as it takes to know the last one's key.
#[derive(Default)]
struct Requests {
    /// The length and the key, as far as they are known.
    head: Vec<u8>,
    /// What is still to come of the request behind its key.
    left: usize,
    last: i16,
}

impl Requests {
    const HEAD: usize = 6;

    fn saw(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let wanted = (Self::HEAD - self.head.len()).min(bytes.len());
            self.head.extend(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if let [a, b, c, d, e, f] = self.head[..] {
                let length = u32::from_be_bytes([a, b, c, d]);
                self.left = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(2);
                self.last = i16::from_be_bytes([e, f]);
                self.head.clear();
            }
        }
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() == before {
            return Poll::Ready(Ok(()));
        }
        match (self.eye)(self.sent.last, &mut buf.filled_mut()[before..]) {
            Seen::Pass => Poll::Ready(Ok(())),
            Seen::Cut => {
                buf.set_filled(before);
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
        }
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.sent.saw(&buf[..written]);
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
    use super::Requests;

    #[test]
    fn the_key_of_the_last_request_is_known_however_the_bytes_are_cut() {
        let request = |key: u8, body: usize| {
            let length = u8::try_from(2 + body).unwrap_or_default();
            [&[0, 0, 0, length, 0, key][..], &vec![9; body]].concat()
        };
        let bytes = [request(18, 5), request(3, 0), request(1, 40)].concat();
        for chunk in 1..bytes.len() {
            let mut requests = Requests::default();
            for part in bytes.chunks(chunk) {
                requests.saw(part);
            }
            assert_eq!((requests.last, requests.left), (1, 0), "in chunks of {chunk}");
        }
    }
}
