//! Raw conversations with a broker, recorded and compared.
//!
//! A script is a function over a [`Talk`]: it sends requests over named connections, reads ids out of the answers and
//! builds further requests from them. Run against two brokers it leaves two transcripts, and [`compare()`] tells where
//! they differ, field by field.
//!
//! Nothing here shares code with the client: requests and answers are JSON trees, encoded and decoded by walking Kafka's
//! own message schemas, in every version that these know and in those that they do not.

mod batch;
mod codec;
mod compare;
mod line;
mod schema;
mod talk;

pub(crate) use batch::unhex;
pub use batch::{Batch, Compress, hex};
pub use compare::{Allowed, compare};
pub use line::{Line, Outcome, answer};
pub use talk::{Step, Talk};
