//! The headers of a record, read when they are asked for.

use crate::{record::Header, wire::batch::HeadersIter};

/// The headers of a record, in their order; the same name may come twice, and a value may be null.
#[derive(Clone, Debug)]
pub struct Headers<'a>(HeadersIter<'a>);

impl<'a> Headers<'a> {
    pub(super) fn new(headers: HeadersIter<'a>) -> Self {
        Self(headers)
    }

    /// The value of the last header with this name, which is the one that counts where a name comes twice. The outer
    /// `None` says that there is no such header.
    #[must_use]
    pub fn last_named(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.clone().filter(|(other, _)| *other == name).last().map(|(_, value)| value)
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        // Headers were checked when their record was read.
        self.0.next()?.ok()
    }
}
