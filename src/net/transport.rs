//! How bytes reach a broker: TCP, or whatever else is put behind [`Transport`].

use std::{fmt, future::Future, io, net::SocketAddr, pin::Pin};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
};

/// What the methods of a [`Transport`] return: a future in a box, so that a transport can stand behind `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A connection in both directions. Every type that has what it needs is one.
///
/// Requests are written vectored; a stream that does not support that
/// ([`AsyncWrite::is_write_vectored`]) works, with more writes.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How connections to brokers are opened. The client uses [`Tcp`]; tests put an in-memory network in its place.
///
/// A client bounds each attempt, both steps together, by `connect_timeout`, and drops the futures then: an
/// implementation needs no timeouts of its own.
pub trait Transport: fmt::Debug + Send + Sync {
    /// The addresses of a host, in the order in which to try them. It is asked before each attempt, so an answer
    /// need not be kept.
    ///
    /// # Errors
    /// What the name service said. No address at all counts as an error.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;

    /// Opens a connection to one address.
    ///
    /// # Errors
    /// Why it could not be opened. The next address is tried then.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Stream>>>;
}

/// TCP without delay (`TCP_NODELAY`), with the operating system's name service.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Tcp;

impl Transport for Tcp {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(lookup_host((host, port)).await?.collect()) })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            // A request is written whole, so there is nothing for Nagle's algorithm to gather.
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

impl<T: Transport + ?Sized> Transport for std::sync::Arc<T> {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        (**self).resolve(host, port)
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        (**self).connect(address)
    }
}
