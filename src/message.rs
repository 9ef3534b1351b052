//! What comes out: records as a consumer hands them over, one by one or by the batch.

mod batch;
mod fault;
mod headers;
mod owned;

pub(crate) use self::fault::corrupt_batch;
pub use self::{
    batch::{Batch, RecordRef, Records},
    headers::Headers,
    owned::Message,
};

#[cfg(test)]
mod tests;
