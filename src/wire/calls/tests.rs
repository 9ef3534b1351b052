#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use bytes::{Buf, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::wire::codec::DecodeErrorKind;
use crate::wire::messages::api_versions_response::ApiVersion;
use crate::wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use crate::wire::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, ProduceRequest};

/// Messages as Kafka's Java classes write them; see the README beside the file.
static JAVA_MESSAGES: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/java-messages.bin"));

#[derive(Clone, Debug)]
struct Golden {
    is_request: bool,
    key: ApiKey,
    version: i16,
    body: Bytes,
}

impl Golden {
    /// Reads `body` and writes it again.
    fn round_trip(&self, body: Bytes) -> Result<Bytes, DecodeError> {
        let mut r = Reader::new(body);
        let mut w = Writer::new();
        if self.is_request {
            let request = Request::decode_body(self.key, &mut r, self.version)?;
            request.encode_body(&mut w, self.version).expect("what was read can be written");
        } else {
            let response = Response::decode_body(self.key, &mut r, self.version)?;
            response.encode_body(&mut w, self.version).expect("what was read can be written");
        }
        Ok(w.finish().into_bytes())
    }
}

/// Those of an API that is compiled in.
static GOLDEN: LazyLock<Vec<Golden>> = LazyLock::new(|| {
    let mut file = JAVA_MESSAGES;
    let mut messages = Vec::new();
    while file.has_remaining() {
        let is_request = file.get_u8() == 0;
        let (key, version) = (ApiKey::from_number(file.get_i16()), file.get_i16());
        let length = usize::try_from(file.get_i32()).unwrap();
        let body = file.copy_to_bytes(length);
        if let Some(key) = key {
            messages.push(Golden { is_request, key, version, body });
        }
    }
    messages
});

#[test]
fn what_java_writes_is_read_and_written_alike() {
    let mut seen = BTreeSet::new();
    for golden in GOLDEN.iter() {
        let &Golden { is_request, key, version, .. } = golden;
        let written = golden.round_trip(golden.body.clone()).unwrap_or_else(|e| {
            panic!("{key} version {version}, request {is_request}: {e}: {:02x?}", &golden.body[..])
        });
        assert_eq!(written, golden.body, "{key} version {version}, request {is_request}");
        seen.insert((is_request, key, version));
    }
    for &key in ApiKey::ALL {
        for version in key.supported().min..=key.supported().max {
            for is_request in [true, false] {
                assert!(seen.contains(&(is_request, key, version)), "{key} version {version}: no message");
            }
        }
    }
}

#[test]
fn every_truncation_is_an_error() {
    for golden in GOLDEN.iter() {
        for end in 0..golden.body.len() {
            let cut = golden.body.slice(..end);
            assert!(
                golden.round_trip(cut).is_err(),
                "{} version {} cut at {end}",
                golden.key,
                golden.version
            );
        }
    }
}

#[test]
fn bytes_behind_a_message_are_tolerated() {
    for golden in GOLDEN.iter() {
        let mut longer = BytesMut::from(&golden.body[..]);
        longer.extend_from_slice(&[0xff; 9]);
        let written = golden.round_trip(longer.freeze());
        assert_eq!(written.as_ref(), Ok(&golden.body), "{} version {}", golden.key, golden.version);
    }
}

proptest! {
    /// Whatever is read of flipped bytes can be written, and what was written means the same.
    #[test]
    fn flipped_bytes_never_panic(
        index in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let golden = index.get(&GOLDEN);
        let mut bytes = golden.body.to_vec();
        for (at, value) in flips {
            let length = bytes.len();
            if let Some(byte) = bytes.get_mut(if length == 0 { 0 } else { at.index(length) }) {
                *byte = value;
            }
        }
        let _ = decode_only(golden, Bytes::from(bytes));
    }

    #[test]
    fn random_bytes_never_panic(
        key in prop::sample::select(ApiKey::ALL),
        version in -1..20i16,
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let body = Bytes::from(body);
        let _ = Response::decode(key, version, body.clone());
        let _ = Request::decode_body(key, &mut Reader::new(body.clone()), version);
        let _ = decode_request(body);
    }
}

/// Mutated bytes may hold what cannot be written, such as one tag twice; reading is what must not panic.
fn decode_only(golden: &Golden, body: Bytes) -> Result<(), DecodeError> {
    let mut r = Reader::new(body);
    if golden.is_request {
        Request::decode_body(golden.key, &mut r, golden.version).map(drop)
    } else {
        Response::decode_body(golden.key, &mut r, golden.version).map(drop)
    }
}

#[test]
fn a_count_that_the_bytes_cannot_hold_is_an_error_before_anything_is_reserved() {
    // Metadata version 1 with 2^31 - 1 brokers, in four bytes; a broker takes at least 12 bytes.
    let body = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
    let error = Response::decode(ApiKey::Metadata, 1, body).unwrap_err();
    assert_eq!(error.field, "MetadataResponse.brokers");
    assert_eq!(error.kind, DecodeErrorKind::Count { count: 0x7fff_ffff, remaining: 0 });
}

fn produce(records: Option<Bytes>) -> Request {
    Request::from(ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: Str::from("orders"),
            partition_data: vec![PartitionProduceData { index: 3, records, ..Default::default() }],
            ..Default::default()
        }],
        ..Default::default()
    })
}

#[test]
fn a_frame_holds_its_length_the_header_and_the_body() {
    let request = Request::from(MetadataRequest { topics: None, ..Default::default() });
    let version_1 = request.encode_frame(1, 7, Some(&Str::from("me"))).unwrap().into_bytes();
    assert_eq!(version_1, &b"\0\0\0\x10\0\x03\0\x01\0\0\0\x07\0\x02me\xff\xff\xff\xff"[..]);
    // From version 9 on the header has tagged fields, and the client's id is still not compact.
    let version_9 = request.encode_frame(9, 7, None).unwrap().into_bytes();
    assert_eq!(version_9, &b"\0\0\0\x10\0\x03\0\x09\0\0\0\x07\xff\xff\0\0\x01\0\0\0"[..]);
}

#[test]
fn what_a_client_sends_a_broker_reads() {
    for &key in &[ApiKey::Produce, ApiKey::Metadata] {
        let request = match key {
            ApiKey::Produce => produce(Some(Bytes::from_static(b"records"))),
            _ => Request::from(MetadataRequest { topics: Some(Vec::new()), ..Default::default() }),
        };
        let version = key.supported().max.min(12);
        let mut frame = request.encode_frame(version, 42, Some(&Str::from("app"))).unwrap().into_bytes();
        let length = frame.get_i32();
        assert_eq!(usize::try_from(length).unwrap(), frame.len());
        let received = decode_request(frame).unwrap();
        let client_id = Some(Str::from("app"));
        assert_eq!(received, Received { version, correlation_id: 42, client_id, request });
    }
}

#[test]
fn large_records_are_not_copied() {
    let records = Bytes::from(vec![7; 5000]);
    let segments = produce(Some(records.clone())).encode_frame(9, 1, None).unwrap();
    let parts: Vec<&Bytes> = segments.parts().collect();
    let [head, body, tail] = parts.as_slice() else { panic!("{} segments", parts.len()) };
    assert_eq!(body.as_ptr(), records.as_ptr());
    let total = head.len() + body.len() + tail.len();
    assert_eq!(segments.len(), total);
    assert_eq!(head[..4], u32::try_from(total - 4).unwrap().to_be_bytes());
    let received = decode_request(segments.into_bytes().slice(4..)).unwrap();
    assert_eq!(received.request, produce(Some(records)));
}

#[test]
fn a_response_is_read_behind_its_header() {
    let response = Response::from(messages::HeartbeatResponse { error_code: 27, ..Default::default() });
    for version in [0, 4] {
        let frame = response.encode_frame(version, 99).unwrap().into_bytes().slice(4..);
        assert_eq!(correlation_id(&frame), Ok(99));
        assert_eq!(Response::decode_frame(ApiKey::Heartbeat, version, frame), Ok(response.clone()));
    }
}

#[test]
fn an_api_versions_answer_of_version_0_is_read_whatever_was_asked() {
    let own = ApiVersion { api_key: 18, min_version: 0, max_version: 3, ..Default::default() };
    let response =
        Response::from(ApiVersionsResponse { error_code: 35, api_keys: vec![own], ..Default::default() });
    let frame = response.encode_frame(0, 1).unwrap().into_bytes().slice(4..);
    assert_eq!(Response::decode_frame(ApiKey::ApiVersions, 5, frame), Ok(response));
    // An answer in the version asked for is read in that version, whatever its error.
    let rebootstrap = Response::from(ApiVersionsResponse { error_code: 129, ..Default::default() });
    let frame = rebootstrap.encode_frame(5, 1).unwrap().into_bytes().slice(4..);
    assert_eq!(Response::decode_frame(ApiKey::ApiVersions, 5, frame), Ok(rebootstrap));
}

#[test]
fn a_broker_tells_unknown_apis_versions_and_garbage_apart() {
    let frame = |key: i16, version: i16| {
        let mut frame = BytesMut::new();
        frame.extend_from_slice(&key.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 5, 0xff, 0xff, 0]);
        frame.freeze()
    };
    assert_eq!(decode_request(frame(300, 1)), Err(RequestError::UnknownApi { key: 300, version: 1 }));
    let supported = ApiKey::ApiVersions.supported();
    assert_eq!(
        decode_request(frame(18, 99)),
        Err(RequestError::UnsupportedVersion {
            key: ApiKey::ApiVersions,
            version: 99,
            correlation_id: 5,
            supported
        })
    );
    assert!(matches!(decode_request(frame(3, 9)), Err(RequestError::Malformed(_))));
    assert!(matches!(decode_request(Bytes::new()), Err(RequestError::Malformed(_))));
}

#[test]
fn a_field_that_a_version_cannot_carry_is_refused() {
    let request = Request::from(ApiVersionsRequest {
        unknown_tags: vec![(9, Bytes::from_static(b"x"))],
        ..Default::default()
    });
    assert_eq!(
        request.encode_frame(2, 1, None).unwrap_err(),
        EncodeError::UnsupportedField { field: "ApiVersionsRequest.unknown_tags", version: 2 }
    );
    let all_topics = Request::from(MetadataRequest { topics: None, ..Default::default() });
    assert_eq!(
        all_topics.encode_frame(0, 1, None).unwrap_err(),
        EncodeError::Null { field: "MetadataRequest.topics", version: 0 }
    );
    assert_eq!(
        produce(None).encode_frame(2, 1, None).unwrap_err(),
        EncodeError::Version { message: "ProduceRequest", version: 2, min: 3, max: 13 }
    );
}

#[test]
fn a_response_of_another_api_is_refused() {
    let response = Response::from(messages::HeartbeatResponse::default());
    let wrong = messages::MetadataResponse::try_from(response).unwrap_err();
    assert_eq!(wrong, WrongResponse { expected: ApiKey::Metadata, found: ApiKey::Heartbeat });
}
