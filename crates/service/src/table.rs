//! Read models: compacted topics as tables in memory.

mod builder;
mod decode;
mod driver;
mod error;
mod expiry;
mod handle;
mod position;
mod range;
mod shared;
mod view;

pub use builder::TableBuilder;
pub use decode::{Decode, DecodeJson};
pub use driver::OnUndecodable;
pub use error::TableError;
pub use handle::{Table, TableChanges, TableHealth};
pub use position::LogPosition;
