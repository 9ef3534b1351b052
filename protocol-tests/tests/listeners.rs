//! The listeners of real brokers, asked by Java's own client: the right key opens, a wrong one does not.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use protocol_tests::broker::{Listener, PASSWORD, RealCluster, USER, Version, or_skip};

const ASK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/Listeners.java");

#[test]
fn java_comes_in_by_every_listener_with_the_right_key_alone() {
    for (version, nodes) in [(Version::V4_4_0, 3), (Version::V3_9_1, 1)] {
        let builder = RealCluster::builder(version).nodes(nodes).listeners(Listener::ALL);
        let Some(cluster) = or_skip(builder.start()) else { return };
        let all = format!("nodes {nodes}");
        let certificates = cluster.certificates().unwrap();
        let trust = trusting(&certificates.authority);
        let own = format!("ssl.keystore.location={}", certificates.client.display());
        let mutual = [trust.clone(), vec!["ssl.keystore.type=PEM".to_owned(), own]].concat();
        let mut questions = vec![
            (Listener::Plaintext, Vec::new(), all.as_str()),
            (Listener::Ssl, trust.clone(), &all),
            (Listener::Ssl, mutual, &all),
            // An authority that it does not know.
            (Listener::Ssl, Vec::new(), "SslAuthenticationException"),
            (Listener::SaslPlaintext, known_as("PLAIN", "guessed"), "SaslAuthenticationException"),
            (Listener::SaslPlaintext, known_as("SCRAM-SHA-512", "guessed"), "SaslAuthenticationException"),
        ];
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            questions.push((Listener::SaslPlaintext, known_as(mechanism, PASSWORD), &all));
            questions.push((
                Listener::SaslSsl,
                [trust.clone(), known_as(mechanism, PASSWORD)].concat(),
                &all,
            ));
        }
        let lines: Vec<String> =
            questions.iter().map(|(listener, settings, _)| line(&cluster, *listener, settings)).collect();
        let answers = ask(&cluster, &lines);
        let expected: Vec<&str> = questions.iter().map(|(.., expected)| *expected).collect();
        assert_eq!(answers, expected, "to {lines:#?}");
    }
}

fn line(cluster: &RealCluster, listener: Listener, settings: &[String]) -> String {
    let protocol = format!("security.protocol={}", listener.as_str());
    [&[cluster.bootstrap_of(listener).unwrap(), protocol], settings].concat().join("\t")
}

/// What Java's client says to each line.
fn ask(cluster: &RealCluster, lines: &[String]) -> Vec<String> {
    let mut java = cluster.java();
    java.arg(ASK).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = java.spawn().unwrap();
    child.stdin.take().unwrap().write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn trusting(authority: &Path) -> Vec<String> {
    vec!["ssl.truststore.type=PEM".to_owned(), format!("ssl.truststore.location={}", authority.display())]
}

fn known_as(mechanism: &str, password: &str) -> Vec<String> {
    let module = if mechanism == "PLAIN" { "plain.PlainLoginModule" } else { "scram.ScramLoginModule" };
    let jaas = format!(
        "org.apache.kafka.common.security.{module} required username=\"{USER}\" password=\"{password}\";"
    );
    vec![format!("sasl.mechanism={mechanism}"), format!("sasl.jaas.config={jaas}")]
}
