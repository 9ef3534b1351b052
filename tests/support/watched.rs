//! A way to a cluster with somebody on it, who sees all that brokers answer.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use milena::{
    Client, Config,
    testing::Cluster,
    transport::{BoxFuture, Stream, Transport},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Sees all bytes that come in, and may change them.
type Eye = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// A way to the cluster with somebody on it.
struct Watched {
    transport: Arc<dyn Transport>,
    eye: Eye,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

impl Transport for Watched {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        self.transport.resolve(host, port)
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let stream = self.transport.connect(address).await?;
            Ok(Box::new(WatchedStream { stream, eye: Arc::clone(&self.eye) }) as Box<dyn Stream>)
        })
    }
}

struct WatchedStream {
    stream: Box<dyn Stream>,
    eye: Eye,
}

impl AsyncRead for WatchedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        (this.eye)(&mut buf.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// A client whose answers pass by `eye`.
pub(crate) async fn watched(cluster: &Cluster, eye: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Client {
    let transport = Watched { transport: cluster.transport(), eye: Arc::new(eye) };
    Client::connect_over(transport, Config::new(cluster.bootstrap())).await.unwrap()
}
