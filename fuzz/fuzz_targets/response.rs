#![no_main]

use bytes::BytesMut;
use kafka_protocol::messages::{ApiKey, ResponseKind};
use milena::doors::fuzz;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::response(input);
    compare(input);
});

/// What we read and write, another codec reads and writes alike. It is not given the input itself: it reserves what a
/// length in it says.
fn compare(input: &[u8]) {
    let Some((key, version, body)) = fuzz::canonical(input) else { return };
    let Ok(key) = ApiKey::try_from(key) else { return };
    let known = key.valid_versions();
    if !(known.min..=known.max).contains(&version) {
        return;
    }
    let mut rest = body.clone();
    let response = ResponseKind::decode(key, &mut rest, version);
    let response = match response {
        Ok(response) => response,
        // It refuses a tag that a later version knows; to be skipped, as all that are unknown.
        Err(error) if format!("{error:#}").contains("is not valid for version") => return,
        Err(error) => panic!("{key:?} version {version} is not read: {error:#}"),
    };
    assert!(rest.is_empty(), "{key:?} version {version}: {} bytes are not read", rest.len());
    let mut written = BytesMut::new();
    let result = response.encode(&mut written, version);
    result.unwrap_or_else(|error| panic!("{key:?} version {version} is not written: {error}"));
    // Its tags have a sign, and a negative one is not written at all; the map of them begins with it.
    if written != body && format!("{response:?}").contains("unknown_tagged_fields: {-") {
        return;
    }
    assert_eq!(written, body, "{key:?} version {version} is written in two ways");
}
