//! Why a record could not be handled.

use std::{any, borrow::Cow, error::Error, fmt};

/// An error of any type.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Why a record could not be handled, as logs, metrics and the headers of dead letters tell it.
pub struct Failure {
    kind: Cow<'static, str>,
    error: BoxError,
}

impl Failure {
    /// From an error, whose type is told as the kind.
    pub fn new<E: Error + Send + Sync + 'static>(error: E) -> Self {
        Self { kind: Cow::Borrowed(short_name(any::type_name::<E>())), error: Box::new(error) }
    }

    /// From an error of an unknown type, or a text, under a name of its own.
    pub fn named(kind: impl Into<Cow<'static, str>>, error: impl Into<BoxError>) -> Self {
        Self { kind: kind.into(), error: error.into() }
    }

    pub(crate) fn with_kind(self, kind: Cow<'static, str>) -> Self {
        Self { kind, ..self }
    }

    /// What kind of failure it is: the name of the error's type without its path, or the name that was given.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The error, which can be downcast.
    #[must_use]
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.error
    }

    pub(crate) fn into_error(self) -> BoxError {
        self.error
    }

    /// What caused the error, outermost first, without the error itself.
    pub fn causes(&self) -> impl Iterator<Item = &(dyn Error + 'static)> {
        causes(self.error.source())
    }
}

/// An error and what caused it, outermost first.
pub(crate) fn causes<'a>(
    error: Option<&'a (dyn Error + 'static)>,
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error, |&error| error.source())
}

/// `Refused<T>` of `crate::orders::Refused<T>`.
fn short_name(path: &'static str) -> &'static str {
    let end = path.find('<').unwrap_or(path.len());
    let start = path.get(..end).and_then(|head| head.rfind("::")).map_or(0, |at| at + 2);
    path.get(start..).unwrap_or(path)
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure").field("kind", &self.kind).field("error", &self.error).finish()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        self.causes().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("no amount")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_failure_tells_its_kind_and_its_causes() {
        let Err(cause) = "x".parse::<u32>() else { unreachable!() };
        let failure = Failure::new(Outer(cause));
        assert_eq!(failure.kind(), "Outer");
        assert_eq!(failure.to_string(), "no amount: invalid digit found in string");
        assert_eq!(failure.causes().count(), 1);
        assert!(failure.error().is::<Outer>());
    }

    #[test]
    fn names_of_types_lose_their_paths() {
        assert_eq!(short_name("a::b::Refused"), "Refused");
        assert_eq!(short_name("a::Refused<b::C>"), "Refused<b::C>");
        assert_eq!(short_name("u8"), "u8");
        assert_eq!(Failure::named("timeout", "too late").kind(), "timeout");
    }
}
