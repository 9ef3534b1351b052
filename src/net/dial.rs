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
