//! What a broker says that it can do, and what becomes of requests that it does not know.

use protocol_tests::raw::{Allowed, Talk};
use serde_json::{Value, json};

use crate::kit::{Script, fetch_body, produce_body, topic};

pub(crate) const SCRIPT: Script = Script {
    name: "versions",
    run,
    allowed: &[Allowed {
        step: "ApiVersions",
        field: "/FinalizedFeatures",
        why: "only what the embedded broker does is finalized in it: no new group protocols",
    }],
};

fn named() -> Value {
    json!({ "ClientSoftwareName": "milena", "ClientSoftwareVersion": "0.1.0" })
}

fn run(talk: &mut Talk) {
    for version in 0..=5 {
        talk.ask(&format!("ApiVersions v{version}"), "ApiVersions", version, named());
        talk.expect("/ErrorCode", 0);
    }
    talk.ask("a version to come", "ApiVersions", 99, named());
    talk.expect("/ErrorCode", 35);
    talk.expect("/ApiKeys/0/ApiKey", 18);
    software_names(talk);
    who_is_meant(talk);
    unknown(talk);
}

fn software_names(talk: &mut Talk) {
    for (name, version) in
        [("", "1"), ("a b", "1"), ("a", ""), ("-a", "1"), ("a-", "1"), ("a_b", "1"), ("a", "1.")]
    {
        let body = json!({ "ClientSoftwareName": name, "ClientSoftwareVersion": version });
        talk.ask(&format!("software `{name}` `{version}`"), "ApiVersions", 3, body);
        talk.expect("/ErrorCode", 42);
    }
    for (name, version) in [("a", "1"), ("a.-b", "1-.2"), ("A9", "z")] {
        let body = json!({ "ClientSoftwareName": name, "ClientSoftwareVersion": version });
        talk.ask(&format!("ApiVersions, software `{name}` `{version}`"), "ApiVersions", 3, body);
        talk.expect("/ErrorCode", 0);
    }
}

/// A client says whom it means to reach (KIP-1242).
fn who_is_meant(talk: &mut Talk) {
    let metadata = talk.quietly("Metadata", 12, json!({ "Topics": [], "AllowAutoTopicCreation": false }));
    let cluster = metadata["ClusterId"].clone();
    let meant = |cluster: Value, node: i32| {
        let mut body = named();
        body["ClusterId"] = cluster;
        body["NodeId"] = json!(node);
        body
    };
    talk.ask("ApiVersions, the right node", "ApiVersions", 5, meant(cluster.clone(), 1));
    talk.expect("/ErrorCode", 0);
    talk.ask("a wrong node", "ApiVersions", 5, meant(cluster.clone(), 2));
    talk.expect("/ErrorCode", 129);
    talk.ask("a wrong cluster", "ApiVersions", 5, meant(json!("another"), 1));
    talk.expect("/ErrorCode", 129);
    talk.ask("only the cluster", "ApiVersions", 5, meant(cluster, -1));
    talk.expect("/ErrorCode", 42);
    talk.ask("only the node", "ApiVersions", 5, meant(Value::Null, 1));
    talk.expect("/ErrorCode", 42);
}

/// What the broker does not know ends the connection, without an answer.
fn unknown(talk: &mut Talk) {
    let id = topic(talk, "versions", 1, &[]);
    for version in [0, 2] {
        let body = produce_body("versions", &id, "", -1);
        talk.ask_over("doomed", "an old Produce", "Produce", version, body);
        talk.expect_closed();
    }
    talk.ask_over("doomed", "an old Fetch", "Fetch", 3, fetch_body("versions", &id, 0));
    talk.expect_closed();
    for (api, version) in [("Metadata", 14), ("ListOffsets", 0), ("OffsetFetch", 0), ("CreateTopics", 1)] {
        let body = if api == "OffsetFetch" { json!({ "GroupId": "versions" }) } else { json!({}) };
        talk.ask_over("doomed", &format!("{api} v{version}"), api, version, body);
        talk.expect_closed();
    }
    // Key 300, version 0, correlation id 1, no client id.
    talk.send_frame("doomed", &[1, 44, 0, 0, 0, 0, 0, 1, 255, 255]);
    talk.receive("doomed", "an unknown key", "key 300");
    talk.expect_closed();
    // ApiVersions version 0 whose header is cut off.
    talk.send_frame("doomed", &[0, 18, 0, 0]);
    talk.receive("doomed", "half a header", "half a header");
    talk.expect_closed();
    talk.send_frame("doomed", &[]);
    talk.receive("doomed", "an empty frame", "no bytes");
    talk.expect_closed();
}
