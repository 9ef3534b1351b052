//! What the codecs are called, how they are set, and how they fail.

use std::fmt;

/// How the records of a batch are compressed: bits 0 to 2 of its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Codec {
    Gzip,
    Lz4,
    None,
    Snappy,
    Zstd,
}

impl Codec {
    /// Every codec, in the order of their ids.
    pub(crate) const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    pub(crate) const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    pub(crate) const fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The name that Kafka's `compression.type` gives it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A codec and how hard it works.
///
/// A level outside the codec's range is brought into it; lz4 and snappy have no levels here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compression {
    pub(crate) codec: Codec,
    /// gzip 1 to 9 (default 6), zstd -131072 to 22 (default 3).
    pub(crate) level: Option<i32>,
}

impl Compression {
    pub(crate) const NONE: Self = Self::new(Codec::None);

    /// `codec` at its default level.
    pub(crate) const fn new(codec: Codec) -> Self {
        Self { codec, level: None }
    }
}

/// Why data could not be compressed or decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CompressError {
    /// The data is no legal stream of its codec; `reason` says where it broke.
    Corrupt { codec: Codec, reason: &'static str },
    /// This build lacks the codec; `feature` is the Cargo feature that has it.
    NotBuilt { codec: Codec, feature: &'static str },
    /// The data ends within a stream.
    Truncated { codec: Codec },
    /// The data decompresses to more than `limit` bytes.
    TooLarge { codec: Codec, limit: usize },
}

impl fmt::Display for CompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt { codec, reason } => write!(f, "corrupt {codec} data: {reason}"),
            Self::NotBuilt { codec, feature } => {
                write!(f, "{codec} needs the Cargo feature `{feature}`, which this build lacks")
            }
            Self::Truncated { codec } => write!(f, "{codec} data ends too early"),
            Self::TooLarge { codec, limit } => {
                write!(f, "{codec} data decompresses to more than the limit of {limit} bytes")
            }
        }
    }
}
