use std::fmt;
use std::str::FromStr;

/// A version of Apache Kafka that the tests run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(&'static str);

impl Version {
    /// The last line with ZooKeeper's era of protocol versions.
    pub const V3_9_1: Self = Self("3.9.1");
    /// The first that dropped old versions of the calls (KIP-896) and completed KIP-848.
    pub const V4_0_0: Self = Self("4.0.0");
    /// The newest, and the default.
    pub const V4_4_0: Self = Self("4.4.0");

    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::V3_9_1, Self::V4_0_0, Self::V4_4_0];

    /// As in the names of Kafka's jars.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// The value of `group.coordinator.rebalance.protocols` that switches on everything that this version has.
    pub(crate) fn rebalance_protocols(self) -> &'static str {
        match self {
            Self::V3_9_1 => "classic,consumer",
            Self::V4_0_0 => "classic,consumer,share",
            _ => "classic,consumer,streams,share",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.iter().find(|version| version.0 == text);
        known.copied().ok_or_else(|| {
            format!("unknown Kafka version `{text}`; known are {}", Self::ALL.map(Self::as_str).join(", "))
        })
    }
}
