//! Verifiable clients as a test drives them: programs that print a JSON line for whatever they do, and the ledger that
//! holds what they said against what Kafka promises; what was copied in transactions, compared with the
//! original; and what services handled, compared with what was written.

mod copies;
mod handled;
mod ledger;
mod program;

pub use copies::{Log, Transactions, differences, read_committed};
pub use handled::{Keyed, misses, read_ids, read_keyed};
pub use ledger::{Ledger, Report};
pub use program::{Program, wait_until};
