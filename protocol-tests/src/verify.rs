//! Verifiable clients as a test drives them: programs that print a JSON line for whatever they do, and the ledger that
//! holds what they said against what Kafka promises; and what was copied in transactions, compared with the original.

mod copies;
mod ledger;
mod program;

pub use copies::{Log, Transactions, differences, read_committed};
pub use ledger::{Ledger, Report};
pub use program::{Program, wait_until};
