//! Topics as a foreign administrator sees them.

use milena::Code;

use crate::Pair;

/// Created, described, listed and deleted by the other, as milena sees it too.
pub(crate) async fn topics_come_and_go(pair: &mut Pair, already_exists: &str) {
    let topic = "made-by-other";
    assert_eq!(pair.other.ask(&["nodes"], &[]).unwrap(), ["1"]);
    pair.other.ask(&["create", topic, "3"], &[]).unwrap();
    let again = pair.other.ask(&["create", topic, "3"], &[]).unwrap_err();
    assert!(again.0.contains(already_exists), "{again}");

    let mut described = pair.milena.admin().describe_topics([topic]).await.unwrap();
    let described = described.remove(topic).unwrap().unwrap();
    let ours: Vec<String> = described
        .partitions
        .iter()
        .map(|p| format!("{}\t{}\t{}", p.partition, p.leader.unwrap(), p.replicas.len()))
        .collect();
    assert_eq!(ours.len(), 3);
    assert_eq!(pair.other.ask(&["describe", topic], &[]).unwrap(), ours);
    assert!(pair.other.ask(&["list"], &[]).unwrap().iter().any(|listed| listed == topic));

    pair.other.ask(&["delete", topic], &[]).unwrap();
    assert!(!pair.other.ask(&["list"], &[]).unwrap().iter().any(|listed| listed == topic));
    assert!(pair.other.ask(&["describe", topic], &[]).is_err(), "it is gone");
    assert!(pair.other.ask(&["delete", topic], &[]).is_err(), "it cannot go twice");
    let gone = pair.milena.admin().describe_topics([topic]).await.unwrap().remove(topic).unwrap();
    assert_eq!(gone.unwrap_err().code(), Some(Code::UNKNOWN_TOPIC_OR_PARTITION));
}
