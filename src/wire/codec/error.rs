use std::fmt;

/// Why bytes are not the message that they were taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DecodeError {
    /// The field being read, as `Struct.field`.
    pub(crate) field: &'static str,
    /// Where the reader stood, in bytes from the start of its buffer.
    pub(crate) offset: usize,
    pub(crate) kind: DecodeErrorKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DecodeErrorKind {
    /// Fewer bytes are left than the field needs.
    Truncated { needed: usize, remaining: usize },
    /// An array claims more elements than the bytes left can hold.
    Count { count: usize, remaining: usize },
    /// A length below zero that does not mean null.
    NegativeLength(i64),
    /// Null where this version of the schema has no null.
    Null,
    /// A variable-length integer beyond 32 bits, or of more than five bytes.
    Varint,
    /// A string that is not UTF-8.
    Utf8,
    /// A version outside the schema's.
    Version { version: i16, min: i16, max: i16 },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: ", self.field, self.offset)?;
        match &self.kind {
            DecodeErrorKind::Truncated { needed, remaining } => {
                write!(f, "needs {needed} bytes, {remaining} are left")
            }
            DecodeErrorKind::Count { count, remaining } => {
                write!(f, "claims {count} elements, which the {remaining} bytes left cannot hold")
            }
            DecodeErrorKind::NegativeLength(length) => write!(f, "negative length {length}"),
            DecodeErrorKind::Null => f.write_str("null in a version without null"),
            DecodeErrorKind::Varint => f.write_str("variable-length integer over 32 bits"),
            DecodeErrorKind::Utf8 => f.write_str("not UTF-8"),
            DecodeErrorKind::Version { version, min, max } => {
                write!(f, "version {version} is outside {min} to {max}")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

/// Why a value cannot be written in the version asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EncodeError {
    /// The field holds a value, the version has no place for it, and the schema does not allow dropping it.
    UnsupportedField { field: &'static str, version: i16 },
    /// The field is null, and the version has no null.
    Null { field: &'static str, version: i16 },
    /// The field is longer than its length prefix can say.
    TooLong { field: &'static str, length: usize, limit: usize },
    /// Two tagged fields of one struct have the same tag.
    DuplicateTag { field: &'static str, tag: u32 },
    /// A version outside the schema's.
    Version { message: &'static str, version: i16, min: i16, max: i16 },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnsupportedField { field, version } => {
                write!(f, "{field} is set, but version {version} cannot carry it")
            }
            Self::Null { field, version } => write!(f, "{field} is null, but version {version} has no null"),
            Self::TooLong { field, length, limit } => {
                write!(f, "{field} has a length of {length}, over the format's limit of {limit}")
            }
            Self::DuplicateTag { field, tag } => write!(f, "{field} holds the tag {tag} twice"),
            Self::Version { message, version, min, max } => {
                write!(f, "{message} has the versions {min} to {max}, not {version}")
            }
        }
    }
}

impl std::error::Error for EncodeError {}
