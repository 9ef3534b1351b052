//! The first words on a connection: which versions the broker speaks.

use super::peer::{Expected, Peer};
use crate::{
    error::{Code, Error, ErrorKind},
    wire::{
        calls::{Request, Response},
        messages::ApiVersionsResponse,
        versions::{ApiKey, VersionRange, Versions, api_versions},
    },
};

/// Where the handshake stands.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    version: i16,
    fell_back: bool,
    expected: Option<Expected>,
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send this request in this version.
    Ask(Request, i16),
    /// The connection is ready.
    Done(Versions),
}

impl Handshake {
    /// Begins with ApiVersions in the newest version that we speak.
    pub(crate) fn start(expected: Option<Expected>) -> (Self, Step) {
        let version = ApiKey::ApiVersions.supported().max;
        let handshake = Self { version, fell_back: false, expected };
        let step = handshake.ask();
        (handshake, step)
    }

    fn ask(&self) -> Step {
        let mut request = api_versions();
        // Before version 5 there is no place for it. A broker wants both or neither.
        if let Some(Expected { cluster_id, node }) = self.expected.as_ref().filter(|_| self.version >= 5) {
            request.cluster_id = Some(cluster_id.clone());
            request.node_id = node.0;
        }
        Step::Ask(request.into(), self.version)
    }

    /// Takes the answer to what was asked.
    pub(crate) fn answer(&mut self, peer: &Peer, response: Response) -> Result<Step, Error> {
        let response =
            ApiVersionsResponse::try_from(response).map_err(|wrong| peer.malformed(wrong.to_string()))?;
        match Code::new(response.error_code) {
            Code::NONE => Ok(Step::Done(Versions::from_api_versions(&response))),
            Code::UNSUPPORTED_VERSION => self.fall_back(&response),
            // Whoever knows where the broker went can be asked, so this passes.
            Code::REBOOTSTRAP_REQUIRED => {
                let detail = "another broker, or one of another cluster, listens there now".to_owned();
                Err(peer.io(std::io::ErrorKind::ConnectionRefused, detail))
            }
            code => Err(Error::broker(code, ApiKey::ApiVersions.name(), "")),
        }
    }

    /// An older broker refuses the version and says, in version 0, which ones it has. So it is asked again in the
    /// newest of those, once; a broker that says nothing has version 0.
    fn fall_back(&mut self, response: &ApiVersionsResponse) -> Result<Step, Error> {
        let ours = ApiKey::ApiVersions.supported();
        let advertised = response.api_keys.iter().find(|api| api.api_key == ApiKey::ApiVersions.number());
        let theirs = match advertised {
            Some(api) => VersionRange::new(api.min_version, api.max_version),
            None => VersionRange::new(0, 0),
        };
        let common = theirs.and_then(|theirs| theirs.intersect(ours)).map(|range| range.max);
        match common.filter(|version| !self.fell_back && *version < self.version) {
            Some(version) => {
                self.version = version;
                self.fell_back = true;
                Ok(self.ask())
            }
            None => Err(ErrorKind::UnsupportedVersion {
                request: ApiKey::ApiVersions.name(),
                ours: (ours.min, ours.max),
                theirs: advertised.map(|api| (api.min_version, api.max_version)),
            }
            .into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::types::NodeId;
    use crate::wire::messages::api_versions_response::ApiVersion;
    use crate::wire::{messages::ApiVersionsRequest, str::Str};

    fn peer() -> Peer {
        Peer::from("b:1".to_owned())
    }

    fn refusal(ranges: &[(i16, i16, i16)]) -> Response {
        let entry = |&(api_key, min_version, max_version): &(i16, i16, i16)| ApiVersion {
            api_key,
            min_version,
            max_version,
            ..ApiVersion::default()
        };
        let api_keys = ranges.iter().map(entry).collect();
        let error_code = Code::UNSUPPORTED_VERSION.get();
        ApiVersionsResponse { error_code, api_keys, ..ApiVersionsResponse::default() }.into()
    }

    fn asked(step: &Step) -> Option<i16> {
        match step {
            Step::Ask(_, version) => Some(*version),
            Step::Done(_) => None,
        }
    }

    #[test]
    fn an_older_broker_is_asked_again_in_its_newest_version_and_only_once() {
        let (mut handshake, first) = Handshake::start(None);
        assert_eq!(asked(&first), Some(ApiKey::ApiVersions.supported().max));
        let second = handshake.answer(&peer(), refusal(&[(18, 0, 3)])).unwrap();
        assert_eq!(asked(&second), Some(3));
        let error = handshake.answer(&peer(), refusal(&[(18, 0, 2)])).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::UnsupportedVersion { theirs: Some((0, 2)), .. }),
            "{error}"
        );
    }

    #[test]
    fn a_refusal_without_versions_means_version_0() {
        let (mut handshake, _) = Handshake::start(None);
        assert_eq!(asked(&handshake.answer(&peer(), refusal(&[])).unwrap()), Some(0));
    }

    #[test]
    fn a_refusal_with_nothing_in_common_is_an_error_and_no_loop() {
        for range in [(18, 90, 99), (18, 3, 1), (18, -5, -1), (18, 0, 99)] {
            let (mut handshake, _) = Handshake::start(None);
            assert!(handshake.answer(&peer(), refusal(&[range])).is_err(), "{range:?}");
        }
    }

    #[test]
    fn the_expected_broker_is_named_where_the_version_has_room() {
        let expected = || Some(Expected { cluster_id: Str::from("c"), node: NodeId(7) });
        let identity = |step: &Step| match step {
            Step::Ask(Request::ApiVersions(request), _) => {
                (request.cluster_id.as_deref() == Some("c"), request.node_id)
            }
            step => panic!("{step:?}"),
        };
        let (mut handshake, first) = Handshake::start(expected());
        assert_eq!(identity(&first), (true, 7));
        assert_eq!(identity(&handshake.answer(&peer(), refusal(&[(18, 0, 4)])).unwrap()), (false, -1));
        let (_, anonymous) = Handshake::start(None);
        assert_eq!(identity(&anonymous), (false, -1));
        let (mut handshake, _) = Handshake::start(expected());
        let error_code = Code::REBOOTSTRAP_REQUIRED.get();
        let refused = ApiVersionsResponse { error_code, ..ApiVersionsResponse::default() };
        let error = handshake.answer(&peer(), refused.into()).unwrap_err();
        assert!(error.is_retriable() && error.to_string().contains("another broker"), "{error}");
    }

    #[test]
    fn the_software_name_is_one_that_brokers_take() {
        let ApiVersionsRequest { client_software_name, client_software_version, .. } = api_versions();
        for text in [&*client_software_name, &*client_software_version] {
            let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
            assert!(text.chars().all(inner), "{text}");
            assert!(text.starts_with(|c: char| c.is_ascii_alphanumeric()), "{text}");
            assert!(text.ends_with(|c: char| c.is_ascii_alphanumeric()), "{text}");
        }
    }
}
