//! Verifiable clients as a test drives them: programs that print a JSON line for whatever they do, and the ledger that
//! holds what they said against what Kafka promises.

mod ledger;
mod program;

pub use ledger::{Ledger, Report};
pub use program::{Program, wait_until};
