//! Opens a connection: the host's addresses, one after the other.

use std::{io, net::SocketAddr, sync::Arc};

use super::transport::{Stream, Transport};
use crate::{
    engine::conn::Address,
    error::{Error, ErrorKind, Result},
};

/// A connection, and the name that errors and logs give its other end.
pub(super) type Dialed = (Box<dyn Stream>, String);

/// Connects to the first address of the host that answers. Each attempt begins with the next one, so that a silent
/// address, which uses up all the time there is, does not hide the others for ever.
pub(super) async fn dial(transport: Arc<dyn Transport>, address: Address, attempt: u32) -> Result<Dialed> {
    let Address { host, port } = &address;
    let failed = |error: &io::Error, detail: String| -> Error {
        ErrorKind::Io { peer: address.to_string(), kind: error.kind(), detail }.into()
    };
    let mut addresses = match transport.resolve(host, *port).await {
        Ok(addresses) => addresses,
        Err(error) => return Err(failed(&error, format!("resolving {host}: {error}"))),
    };
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let mut reasons = Vec::new();
    let count = addresses.len();
    addresses.rotate_left(usize::try_from(attempt).unwrap_or(0).checked_rem(count).unwrap_or(0));
    for resolved in addresses {
        match transport.connect(resolved).await {
            Ok(stream) => return Ok((stream, name(&address, resolved))),
            Err(error) => {
                reasons.push(format!("{resolved}: {error}"));
                last = error;
            }
        }
    }
    if reasons.is_empty() {
        reasons.push(format!("{host} has no address"));
    }
    Err(failed(&last, reasons.join(", ")))
}

fn name(address: &Address, resolved: SocketAddr) -> String {
    let (configured, resolved) = (address.to_string(), resolved.to_string());
    if configured == resolved { resolved } else { format!("{configured} ({resolved})") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::Mutex;

    use super::*;
    use crate::{net::transport::BoxFuture, sync::lock, wire::str::Str};

    /// A host with these addresses, of which only those with port 1 answer.
    #[derive(Debug, Default)]
    struct Host {
        addresses: Vec<SocketAddr>,
        tried: Mutex<Vec<SocketAddr>>,
    }

    impl Transport for Host {
        fn resolve<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
            Box::pin(async { Ok(self.addresses.clone()) })
        }

        fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
            lock(&self.tried).push(address);
            Box::pin(async move {
                match address.port() {
                    1 => Ok(Box::new(tokio::io::empty()) as Box<dyn Stream>),
                    _ => Err(io::ErrorKind::ConnectionRefused.into()),
                }
            })
        }
    }

    fn host(addresses: &[&str]) -> Arc<Host> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Host { addresses, ..Host::default() })
    }

    async fn try_host(host: &Arc<Host>, attempt: u32) -> Result<String> {
        let address = Address { host: Str::from("kafka"), port: 9092 };
        dial(Arc::clone(host) as Arc<dyn Transport>, address, attempt).await.map(|(_, name)| name)
    }

    #[tokio::test]
    async fn every_address_is_tried_until_one_answers() {
        let host = host(&["10.0.0.1:2", "10.0.0.2:1", "10.0.0.3:1"]);
        assert_eq!(try_host(&host, 0).await.unwrap(), "kafka:9092 (10.0.0.2:1)");
        assert_eq!(lock(&host.tried).len(), 2);
        // The next attempt begins one further.
        assert_eq!(try_host(&host, 2).await.unwrap(), "kafka:9092 (10.0.0.3:1)");
    }

    #[tokio::test]
    async fn the_error_names_every_address() {
        let error = try_host(&host(&["10.0.0.1:2", "[::1]:2"]), 7).await.unwrap_err().to_string();
        assert!(error.contains("kafka:9092: [::1]:2: connection refused, 10.0.0.1:2: "), "{error}");
        let error = try_host(&host(&[]), 7).await.unwrap_err().to_string();
        assert!(error.contains("kafka has no address"), "{error}");
    }
}
