//! Requests and responses of all APIs as one type each, in the frames that a connection carries.

use bytes::Bytes;

use super::codec::{Decode, DecodeError, Encode, EncodeError, Reader, Segments, Writer};
use super::messages::{self, RequestHeader, ResponseHeader, for_each_api};
use super::str::Str;
use super::versions::ApiKey;
#[cfg(any(test, feature = "testing"))]
use super::versions::VersionRange;

/// Kafka's error code for a version that a broker does not have.
const UNSUPPORTED_VERSION: i16 = 35;

/// Defines [`Request`] and [`Response`] from the generated table of APIs.
macro_rules! calls {
    ($($api:ident = $key:literal: $request:ident $response:ident,
       versions $min:literal to $max:literal, flexible $request_flex:expr, $response_flex:expr;)*) => {
        /// What a client asks.
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) enum Request {
            $($api(messages::$request),)*
        }

        /// What a broker answers.
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) enum Response {
            $($api(messages::$response),)*
        }

        impl Request {
            pub(crate) fn key(&self) -> ApiKey {
                match self {
                    $(Self::$api(_) => ApiKey::$api,)*
                }
            }

            fn encode_body(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
                match self {
                    $(Self::$api(request) => request.encode(w, version),)*
                }
            }

            #[cfg(any(test, feature = "testing"))]
            fn decode_body(key: ApiKey, r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
                match key {
                    $(ApiKey::$api => messages::$request::decode(r, version).map(Self::$api),)*
                }
            }
        }

        impl Response {
            pub(crate) fn key(&self) -> ApiKey {
                match self {
                    $(Self::$api(_) => ApiKey::$api,)*
                }
            }

            /// Milliseconds for which the broker asks the client to send nothing more on this connection. As the broker
            /// says it: it may be negative, or years.
            pub(crate) fn throttle_time_ms(&self) -> i32 {
                match self {
                    $(Self::$api(response) => response.throttle(),)*
                }
            }

            fn decode_body(key: ApiKey, r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
                match key {
                    $(ApiKey::$api => messages::$response::decode(r, version).map(Self::$api),)*
                }
            }

            #[cfg(any(test, feature = "testing"))]
            fn encode_body(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
                match self {
                    $(Self::$api(response) => response.encode(w, version),)*
                }
            }
        }

        $(
            impl From<messages::$request> for Request {
                fn from(request: messages::$request) -> Self {
                    Self::$api(request)
                }
            }

            impl From<messages::$response> for Response {
                fn from(response: messages::$response) -> Self {
                    Self::$api(response)
                }
            }

            impl TryFrom<Response> for messages::$response {
                type Error = WrongResponse;

                fn try_from(response: Response) -> Result<Self, WrongResponse> {
                    match response {
                        Response::$api(response) => Ok(response),
                        other => Err(WrongResponse { expected: ApiKey::$api, found: other.key() }),
                    }
                }
            }
        )*
    };
}
for_each_api!(calls);

/// A response is of another API than the caller asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongResponse {
    pub(crate) expected: ApiKey,
    pub(crate) found: ApiKey,
}

impl std::fmt::Display for WrongResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a response of {} where one of {} was due", self.found, self.expected)
    }
}

impl std::error::Error for WrongResponse {}

impl Request {
    /// The whole frame: length, header, body. Record batches in it are passed on, not copied.
    pub(crate) fn encode_frame(
        &self,
        version: i16,
        correlation_id: i32,
        client_id: Option<&Str>,
    ) -> Result<Segments, EncodeError> {
        let key = self.key();
        let header = RequestHeader {
            request_api_key: key.number(),
            request_api_version: version,
            correlation_id,
            client_id: client_id.cloned(),
            unknown_tags: Vec::new(),
        };
        let mut w = Writer::frame();
        header.encode(&mut w, key.request_header_version(version))?;
        self.encode_body(&mut w, version)?;
        w.finish_frame(key.name())
    }
}

/// The correlation id of a response's frame (without its length prefix), by which the request is found whose key and
/// version [`Response::decode_frame`] needs.
pub(crate) fn correlation_id(frame: &Bytes) -> Result<i32, DecodeError> {
    Reader::new(frame.clone()).i32("ResponseHeader.correlation_id")
}

impl Response {
    /// Reads a frame without its length prefix, as the answer to a request of `key` in `version`.
    pub(crate) fn decode_frame(key: ApiKey, version: i16, frame: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(frame);
        ResponseHeader::decode(&mut r, key.response_header_version(version))?;
        let body = r.rest();
        Self::decode(key, version, body)
    }

    /// Reads what follows the response's header.
    ///
    /// A broker that does not know the version of an ApiVersions request answers in version 0, with an error and the
    /// versions that it does know (KIP-511); that answer is read too.
    pub(crate) fn decode(key: ApiKey, version: i16, body: Bytes) -> Result<Self, DecodeError> {
        if key == ApiKey::ApiVersions && version > 0 {
            let error_code = Reader::new(body.clone()).i16("ApiVersionsResponse.error_code")?;
            let fallback = || Self::decode_body(key, &mut Reader::new(body.clone()), 0);
            if let (UNSUPPORTED_VERSION, Ok(response)) = (error_code, fallback()) {
                return Ok(response);
            }
        }
        Self::decode_body(key, &mut Reader::new(body), version)
    }
}

/// A request as a broker gets it.
#[cfg(any(test, feature = "testing"))]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Received {
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: Option<Str>,
    pub(crate) request: Request,
}

/// Why a broker cannot read a request. Brokers answer an ApiVersions of unknown version and close the connection on all
/// else.
#[cfg(any(test, feature = "testing"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestError {
    /// No such API.
    UnknownApi {
        key: i16,
        version: i16,
    },
    /// The API has no such version.
    UnsupportedVersion {
        key: ApiKey,
        version: i16,
        correlation_id: i32,
        supported: VersionRange,
    },
    Malformed(DecodeError),
}

#[cfg(any(test, feature = "testing"))]
impl From<DecodeError> for RequestError {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}

/// Reads a request's frame, without its length prefix, as a broker does.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn decode_request(frame: Bytes) -> Result<Received, RequestError> {
    let mut peek = Reader::new(frame.clone());
    let number = peek.i16("RequestHeader.request_api_key")?;
    let version = peek.i16("RequestHeader.request_api_version")?;
    let correlation_id = peek.i32("RequestHeader.correlation_id")?;
    let Some(key) = ApiKey::from_number(number) else {
        return Err(RequestError::UnknownApi { key: number, version });
    };
    let supported = key.supported();
    if !supported.contains(version) {
        return Err(RequestError::UnsupportedVersion { key, version, correlation_id, supported });
    }
    let mut r = Reader::new(frame);
    let header = RequestHeader::decode(&mut r, key.request_header_version(version))?;
    let request = Request::decode_body(key, &mut r, version)?;
    Ok(Received { version, correlation_id, client_id: header.client_id, request })
}

#[cfg(any(test, feature = "testing"))]
impl Response {
    /// The whole frame, as a broker answers a request of `version`: length, header, body.
    pub(crate) fn encode_frame(&self, version: i16, correlation_id: i32) -> Result<Segments, EncodeError> {
        let key = self.key();
        let mut w = Writer::frame();
        let header = ResponseHeader { correlation_id, unknown_tags: Vec::new() };
        header.encode(&mut w, key.response_header_version(version))?;
        self.encode_body(&mut w, version)?;
        w.finish_frame(key.name())
    }
}

#[cfg(test)]
mod tests;
