//! Which version of an API to speak with a broker: what both sides have.

use std::collections::BTreeMap;
use std::fmt;

use super::messages::{ApiVersionsRequest, ApiVersionsResponse, for_each_api};
use super::str::Str;

/// What brokers see of us (KIP-511). They take letters, digits, dots and dashes, and refuse the whole request for
/// anything else.
const SOFTWARE_NAME: &str = env!("CARGO_PKG_NAME");
const SOFTWARE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The question for what a broker can do.
pub(crate) fn api_versions() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: Str::from(SOFTWARE_NAME),
        client_software_version: Str::from(SOFTWARE_VERSION),
        ..ApiVersionsRequest::default()
    }
}

/// Versions from `min` to `max`, both included. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VersionRange {
    pub(crate) min: i16,
    pub(crate) max: i16,
}

impl VersionRange {
    /// `None` unless there is a version in it: `min <= max`, and no version is negative.
    pub(crate) fn new(min: i16, max: i16) -> Option<Self> {
        (min <= max && max >= 0).then_some(Self { min: min.max(0), max })
    }

    /// The versions that are in both.
    pub(crate) fn intersect(self, other: Self) -> Option<Self> {
        Self::new(self.min.max(other.min), self.max.min(other.max))
    }

    pub(crate) fn contains(self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.min, self.max)
    }
}

/// Defines [`ApiKey`] from the generated table of APIs.
macro_rules! api_keys {
    ($($api:ident = $key:literal: $request:ident $response:ident,
       versions $min:literal to $max:literal, flexible $request_flex:expr, $response_flex:expr;)*) => {
        /// The APIs that are compiled in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub(crate) enum ApiKey {
            $($api = $key,)*
        }

        impl ApiKey {
            /// In the order of their numbers.
            pub(crate) const ALL: &[Self] = &[$(Self::$api,)*];

            /// `None` for an API that is not compiled in.
            pub(crate) fn from_number(key: i16) -> Option<Self> {
                match key {
                    $($key => Some(Self::$api),)*
                    _ => None,
                }
            }

            /// The number that stands for the API in a request.
            pub(crate) fn number(self) -> i16 {
                match self {
                    $(Self::$api => $key,)*
                }
            }

            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$api => stringify!($api),)*
                }
            }

            /// The versions that we use: those that the request and the response share, without unstable ones and those
            /// that only brokers may use.
            pub(crate) fn supported(self) -> VersionRange {
                match self {
                    $(Self::$api => VersionRange { min: $min, max: $max },)*
                }
            }

            /// The version of the header in front of a request of `version`.
            pub(crate) fn request_header_version(self, version: i16) -> i16 {
                let flexible = match self {
                    $(Self::$api => version >= $request_flex,)*
                };
                if flexible { 2 } else { 1 }
            }

            /// The version of the header in front of a response of `version`. ApiVersions keeps the first one, so that a
            /// client can read the answer of a broker which does not know the version that it asked in (KIP-511).
            pub(crate) fn response_header_version(self, version: i16) -> i16 {
                let flexible = match self {
                    Self::ApiVersions => false,
                    $(#[allow(unreachable_patterns, reason = "ApiVersions is in the table too")]
                    Self::$api => version >= $response_flex,)*
                };
                i16::from(flexible)
            }
        }
    };
}
for_each_api!(api_keys);

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a broker says it can do, and what of it we use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Versions {
    apis: BTreeMap<ApiKey, Negotiated>,
    /// The level of each finalized feature of the cluster.
    features: BTreeMap<String, i16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Negotiated {
    /// As the broker says it; `None` if what it says holds no version.
    advertised: Option<VersionRange>,
    usable: Option<VersionRange>,
}

impl Versions {
    /// Reads an answer to ApiVersions. Nothing in it is trusted: a range without a version, or beyond ours, makes the API
    /// unsupported, and of an API that is named twice only what all its entries allow is used. Our own lower end holds
    /// whatever is advertised: brokers advertise Produce from 0, and close the connection on a request below 3.
    pub(crate) fn from_api_versions(response: &ApiVersionsResponse) -> Self {
        let mut versions = Self::default();
        for entry in &response.api_keys {
            let Some(key) = ApiKey::from_number(entry.api_key) else { continue };
            let mut advertised = VersionRange::new(entry.min_version, entry.max_version);
            if let Some(earlier) = versions.apis.get(&key) {
                advertised = earlier.advertised.zip(advertised).and_then(|(a, b)| a.intersect(b));
            }
            let usable = advertised.and_then(|range| range.intersect(key.supported()));
            versions.apis.insert(key, Negotiated { advertised, usable });
        }
        for feature in &response.finalized_features {
            versions.features.insert(feature.name.as_str().to_owned(), feature.max_version_level);
        }
        versions
    }

    /// A broker that has all that we have.
    pub(crate) fn all_supported() -> Self {
        let negotiate = |&key: &ApiKey| {
            let range = Some(key.supported());
            (key, Negotiated { advertised: range, usable: range })
        };
        Self { apis: ApiKey::ALL.iter().map(negotiate).collect(), features: BTreeMap::new() }
    }

    /// The highest version that both sides have and that is at most `max`.
    pub(crate) fn pick(&self, key: ApiKey, max: Option<i16>) -> Option<i16> {
        let usable = self.usable(key)?;
        let version = max.map_or(usable.max, |max| max.min(usable.max));
        usable.contains(version).then_some(version)
    }

    /// The versions that both sides have.
    pub(crate) fn usable(&self, key: ApiKey) -> Option<VersionRange> {
        self.apis.get(&key)?.usable
    }

    /// What the broker says, for an error to tell. `None` if it does not name the API, or names no version of it.
    pub(crate) fn advertised(&self, key: ApiKey) -> Option<VersionRange> {
        self.apis.get(&key)?.advertised
    }

    /// The finalized level of a cluster's feature, such as `transaction.version`. `None` if it has none.
    pub(crate) fn feature(&self, name: &str) -> Option<i16> {
        self.features.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::wire::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey};

    fn negotiate(entries: &[(i16, i16, i16)]) -> Versions {
        let api_keys = entries
            .iter()
            .map(|&(api_key, min_version, max_version)| ApiVersion {
                api_key,
                min_version,
                max_version,
                ..ApiVersion::default()
            })
            .collect();
        Versions::from_api_versions(&ApiVersionsResponse { api_keys, ..ApiVersionsResponse::default() })
    }

    #[test]
    fn the_highest_common_version_is_picked() {
        let versions = negotiate(&[(0, 0, 9), (1, 4, 99), (3, 0, 13)]);
        assert_eq!(versions.pick(ApiKey::Produce, None), Some(9));
        assert_eq!(versions.pick(ApiKey::Fetch, None), Some(ApiKey::Fetch.supported().max));
        assert_eq!(versions.pick(ApiKey::Metadata, Some(5)), Some(5));
        assert_eq!(versions.pick(ApiKey::Heartbeat, None), None);
    }

    #[test]
    fn our_own_lower_end_holds_against_what_is_advertised() {
        let versions = negotiate(&[(0, 0, 13)]);
        assert_eq!(versions.usable(ApiKey::Produce), VersionRange::new(3, 13));
        assert_eq!(versions.advertised(ApiKey::Produce), VersionRange::new(0, 13));
        assert_eq!(versions.pick(ApiKey::Produce, Some(2)), None);
        assert_eq!(negotiate(&[(0, 0, 2)]).pick(ApiKey::Produce, None), None);
    }

    #[test]
    fn an_unstable_version_is_not_used() {
        assert_eq!(negotiate(&[(22, 0, 6)]).pick(ApiKey::InitProducerId, None), Some(5));
    }

    #[test]
    fn lies_make_an_api_unsupported_and_nothing_else() {
        // Nothing at all; min above max; negative; only the future; only the past; no such API.
        assert_eq!(negotiate(&[]), Versions::default());
        for range in [(9, 3), (-5, -1), (i16::MIN, i16::MIN), (5000, i16::MAX), (0, 0), (i16::MAX, i16::MIN)]
        {
            let versions = negotiate(&[(1, range.0, range.1), (300, 0, 1), (-1, 0, 1), (3, 0, 13)]);
            assert_eq!(versions.pick(ApiKey::Fetch, None), None, "{range:?}");
            assert_eq!(versions.pick(ApiKey::Metadata, None), Some(13), "{range:?}");
        }
        assert_eq!(negotiate(&[(3, -7, 4)]).pick(ApiKey::Metadata, None), Some(4));
    }

    #[test]
    fn of_an_api_named_twice_only_what_all_entries_allow_is_used() {
        assert_eq!(negotiate(&[(3, 0, 9), (3, 4, 13)]).usable(ApiKey::Metadata), VersionRange::new(4, 9));
        assert_eq!(negotiate(&[(3, 4, 13), (3, 0, 9)]).usable(ApiKey::Metadata), VersionRange::new(4, 9));
        assert_eq!(negotiate(&[(3, 0, 2), (3, 5, 9), (3, 0, 13)]).usable(ApiKey::Metadata), None);
    }

    #[test]
    fn finalized_features_are_kept() {
        let level = FinalizedFeatureKey {
            name: Str::from("transaction.version"),
            max_version_level: 2,
            ..FinalizedFeatureKey::default()
        };
        let response =
            ApiVersionsResponse { finalized_features: vec![level], ..ApiVersionsResponse::default() };
        let versions = Versions::from_api_versions(&response);
        assert_eq!(versions.feature("transaction.version"), Some(2));
        assert_eq!(versions.feature("group.version"), None);
    }

    #[test]
    fn keys_and_numbers_agree() {
        for &key in ApiKey::ALL {
            assert_eq!(ApiKey::from_number(key.number()), Some(key));
            assert_eq!(Versions::all_supported().pick(key, None), Some(key.supported().max));
        }
        assert_eq!(ApiKey::from_number(300), None);
    }
}
