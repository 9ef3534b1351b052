//! Ports that are ours: reserved against other tests, below the range from which the system gives out its own.

use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::{env, process};

use super::error::BrokerError;

/// Linux gives out 32768 and up, macOS and Windows 49152 and up; a broker that is down for a while would lose a port
/// of those to any connection.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port, reserved as long as this lives: by a locked file that all tests of this machine look at.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    _lock: File,
}

/// Reserves `count` ports on which nobody listens.
pub(crate) fn reserve(count: usize) -> Result<Vec<Port>, BrokerError> {
    let directory = env::temp_dir().join("milena-ports");
    fs::create_dir_all(&directory).map_err(BrokerError::io(format!("create {}", directory.display())))?;
    // Processes begin at different places, so that they seldom try the same port.
    let start = process::id().wrapping_mul(97) % u32::from(COUNT);
    let mut ports = Vec::with_capacity(count);
    for step in 0..u32::from(COUNT) {
        let offset = u16::try_from((start + step) % u32::from(COUNT)).unwrap_or_default();
        let number = FIRST + offset;
        let path = directory.join(number.to_string());
        let lock = File::create(&path).map_err(BrokerError::io(format!("create {}", path.display())))?;
        match lock.try_lock() {
            Ok(()) if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() => {
                ports.push(Port { number, _lock: lock });
            }
            Ok(()) | Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => {
                return Err(BrokerError::io(format!("lock {}", path.display()))(error));
            }
        }
        if ports.len() == count {
            return Ok(ports);
        }
    }
    Err(BrokerError::Unavailable {
        reason: format!("no {count} free ports from {FIRST} to {}", FIRST + COUNT - 1),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::HashSet;

    use super::reserve;

    #[test]
    fn reservations_do_not_overlap() {
        let (first, second) = (reserve(3).unwrap(), reserve(3).unwrap());
        let numbers: HashSet<u16> = first.iter().chain(&second).map(|port| port.number).collect();
        assert_eq!(numbers.len(), 6);
    }
}
