//! DescribeCluster.

use protocol_tests::raw::Talk;
use serde_json::json;

use crate::kit::Script;

pub(crate) const SCRIPT: Script = Script { name: "cluster", run, allowed: &[] };

fn run(talk: &mut Talk) {
    for version in 0..=2 {
        for kind in [1, 2, 3] {
            for fenced in [false, true] {
                let body = json!({
                    "IncludeClusterAuthorizedOperations": false,
                    "EndpointType": kind,
                    "IncludeFencedBrokers": fenced,
                });
                talk.ask(
                    &format!("type {kind}, fenced {fenced}, v{version}"),
                    "DescribeCluster",
                    version,
                    body,
                );
            }
        }
    }
    talk.ask(
        "permissions",
        "DescribeCluster",
        2,
        json!({ "IncludeClusterAuthorizedOperations": true, "EndpointType": 1 }),
    );
}
