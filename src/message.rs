//! What comes out: records as a consumer hands them over, one by one or by the batch.

mod batch;
mod fault;
mod headers;
mod ledger;
mod owned;

pub use self::{
    batch::{Batch, RecordRef, Records},
    headers::Headers,
    owned::Message,
};
pub(crate) use self::{
    fault::corrupt_batch,
    ledger::{Desk, Ledger, Receipt},
};

#[cfg(test)]
mod tests;
