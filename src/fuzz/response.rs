//! Answers of brokers.

use bytes::{Buf, Bytes};

use super::input::Input;
use crate::wire::{
    calls::{Response, correlation_id},
    codec::EncodeError,
    versions::ApiKey,
};

/// Decodes a frame as the answer of an API in a version; what can be read can be written, and means the same then.
///
/// Input: the API's key, the version (two bytes each), the frame without its length.
pub fn response(input: &[u8]) {
    let mut input = Input::new(input);
    let (key, version) = (input.i16(), input.i16());
    let frame = Bytes::copy_from_slice(input.rest());
    let key = ApiKey::from_number(key).unwrap_or(ApiKey::Metadata);
    let Ok(response) = Response::decode_frame(key, version, frame.clone()) else { return };
    let id = correlation_id(&frame).expect("a frame that was read has a correlation id");
    let _ = response.throttle_time_ms();
    if is_fallback(version, &response) {
        return;
    }
    let mut written = match response.encode_frame(version, id) {
        Ok(written) => written.into_bytes(),
        // Nothing is lost in reading, so a tag that is there twice stays twice, and that cannot be written.
        Err(EncodeError::DuplicateTag { .. }) => return,
        Err(error) => panic!("{key} version {version} was read and cannot be written: {error}: {response:?}"),
    };
    written.advance(4);
    assert_eq!(correlation_id(&written), Ok(id));
    let again = Response::decode_frame(key, version, written);
    assert_eq!(again.as_ref(), Ok(&response), "{key} version {version} changes when it is written");
}

/// The answer's body as this crate writes it, where the input is one that can be read and written: key, version, body.
/// Takes what `response` takes. For comparison with other codecs.
#[must_use]
pub fn canonical(input: &[u8]) -> Option<(i16, i16, Bytes)> {
    let mut input = Input::new(input);
    let key = ApiKey::from_number(input.i16())?;
    let version = input.i16();
    let response = Response::decode_frame(key, version, Bytes::copy_from_slice(input.rest())).ok()?;
    if is_fallback(version, &response) {
        return None;
    }
    let mut frame = response.encode_frame(version, 0).ok()?.into_bytes();
    // Length, correlation id, and in flexible versions no tagged fields.
    frame.advance(8 + usize::from(key.response_header_version(version) > 0));
    Some((key.number(), version, frame))
}

/// Whether it is a refusal of the version, which is read as version 0 (KIP-511).
fn is_fallback(version: i16, response: &Response) -> bool {
    matches!(response, Response::ApiVersions(refusal) if version > 0 && refusal.error_code == 35)
}
