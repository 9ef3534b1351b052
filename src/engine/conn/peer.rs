//! The other end of a link, and the errors that name it.

use std::{fmt, time::Duration};

use crate::{
    error::{Error, ErrorKind},
    types::NodeId,
    wire::{
        codec::EncodeError,
        frame::FrameError,
        str::Str,
        versions::{ApiKey, Versions},
    },
};

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: Str,
    pub(crate) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Which broker of which cluster is expected at the other end (KIP-1242). Addresses are given to other brokers, and
/// one of those must not get what was meant for this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) cluster_id: Str,
    pub(crate) node: NodeId,
}

/// Where a link goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: Address,
    /// `None` where anybody will do: at an address of the bootstrap list.
    pub(crate) expected: Option<Expected>,
}

/// The address, with what it resolved to once that is known.
#[derive(Clone, Debug)]
pub(crate) struct Peer(String);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&Address> for Peer {
    fn from(address: &Address) -> Self {
        Self(address.to_string())
    }
}

impl From<String> for Peer {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl Peer {
    pub(crate) fn timeout(&self, key: ApiKey, after: Duration, reason: &str) -> Error {
        let what = format!("{key} to {self}{reason}");
        ErrorKind::Timeout { what, after, setting: "request_timeout" }.into()
    }

    pub(crate) fn connect_timeout(&self, after: Duration) -> Error {
        let what = format!("connecting to {self}");
        ErrorKind::Timeout { what, after, setting: "connect_timeout" }.into()
    }

    pub(crate) fn io(&self, kind: std::io::ErrorKind, detail: String) -> Error {
        ErrorKind::Io { peer: self.0.clone(), kind, detail }.into()
    }

    pub(crate) fn malformed(&self, detail: String) -> Error {
        ErrorKind::Malformed { peer: self.0.clone(), detail }.into()
    }

    pub(crate) fn bad_frame(&self, error: FrameError) -> Error {
        let peer = self.0.clone();
        let FrameError { length, limit, looks_like } = error;
        match looks_like {
            Some(looks_like) => ErrorKind::NotKafka { peer, looks_like }.into(),
            None => {
                let setting = "receive_message_max_bytes";
                ErrorKind::FrameSize { peer, length: length.into(), limit, setting }.into()
            }
        }
    }

    /// The broker lacks every version of `key` up to `max` that we speak.
    pub(crate) fn unsupported(&self, key: ApiKey, max: Option<i16>, versions: &Versions) -> Error {
        let ours = key.supported();
        ErrorKind::UnsupportedVersion {
            request: key.name(),
            ours: (ours.min, max.map_or(ours.max, |max| max.min(ours.max))),
            theirs: versions.advertised(key).map(|range| (range.min, range.max)),
        }
        .into()
    }

    /// Why a request was not written. What the version that both speak cannot carry needs a newer broker.
    pub(crate) fn unencodable(
        &self,
        key: ApiKey,
        version: i16,
        error: &EncodeError,
        versions: &Versions,
    ) -> Error {
        if let EncodeError::UnsupportedField { .. } | EncodeError::Null { .. } = error {
            tracing::debug!(peer = %self, %error, "the broker is too old for a request");
            let (request, ours) = (key.name(), (version.saturating_add(1), key.supported().max));
            let theirs = versions.advertised(key).map(|range| (range.min, range.max));
            return ErrorKind::UnsupportedVersion { request, ours, theirs }.into();
        }
        let detail = format!("the request does not fit its format: {error}");
        self.io(std::io::ErrorKind::InvalidInput, detail)
    }
}
