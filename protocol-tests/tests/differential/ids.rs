//! InitProducerId without a transactional id.

use protocol_tests::raw::Talk;
use serde_json::json;

use crate::kit::Script;

pub(crate) const SCRIPT: Script = Script { name: "ids", run, allowed: &[] };

fn run(talk: &mut Talk) {
    for version in 0..=5 {
        let body = json!({ "TransactionalId": null, "TransactionTimeoutMs": 1000 });
        talk.ask(&format!("a new id, v{version}"), "InitProducerId", version, body);
        talk.expect("/ErrorCode", 0);
        talk.expect("/ProducerEpoch", 0);
        let body = json!({ "TransactionalId": null, "TransactionTimeoutMs": -1 });
        talk.ask(&format!("whatever the timeout, v{version}"), "InitProducerId", version, body);
    }
    for version in [0, 5] {
        let body = json!({ "TransactionalId": "", "TransactionTimeoutMs": 1000 });
        talk.ask(&format!("an empty transactional id, v{version}"), "InitProducerId", version, body);
        talk.expect("/ErrorCode", 42);
    }
    for (id, epoch) in [(5, 3), (-1, 3), (5, -1)] {
        let body = json!({ "TransactionalId": null, "TransactionTimeoutMs": 1000, "ProducerId": id, "ProducerEpoch": epoch });
        talk.ask(&format!("with id {id} and epoch {epoch}"), "InitProducerId", 5, body);
    }
}
