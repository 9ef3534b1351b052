//! FindCoordinator.

use protocol_tests::raw::Talk;
use serde_json::json;

use crate::kit::Script;

pub(crate) const SCRIPT: Script = Script { name: "coordinators", run, allowed: &[] };

fn run(talk: &mut Talk) {
    for version in 0..=6 {
        for kind in [0, 1, 2, 3, -1] {
            let keys: &[&str] = if version >= 4 { &["one", "two", ""] } else { &["one"] };
            if version == 0 && kind != 0 {
                continue;
            }
            let body = json!({ "Key": keys[0], "KeyType": kind, "CoordinatorKeys": keys });
            talk.ask(&format!("type {kind}, v{version}"), "FindCoordinator", version, body);
        }
        let body = json!({ "Key": "", "KeyType": 0, "CoordinatorKeys": [] });
        talk.ask(&format!("no group, v{version}"), "FindCoordinator", version, body);
    }
}
