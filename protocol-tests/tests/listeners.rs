//! The listeners of real brokers, asked by Java's own client: the right key opens, a wrong one does not.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use protocol_tests::broker::{Listener, PASSWORD, RealCluster, USER, Version, or_skip};

const ASK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/Listeners.java");

/// What Java's client says about a listener.
fn ask(cluster: &RealCluster, listener: Listener, settings: &[String]) -> String {
    let mut java = cluster.java();
    java.arg(ASK).arg(cluster.bootstrap_of(listener).unwrap());
    java.arg(format!("security.protocol={}", listener.as_str())).args(settings);
    let output = java.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    said.lines().last().map(str::to_owned).unwrap_or_else(|| format!("nothing but {errors}"))
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

#[test]
fn java_comes_in_by_every_listener_with_the_right_key_alone() {
    for (version, nodes) in [(Version::V4_4_0, 3), (Version::V3_9_1, 1)] {
        let builder = RealCluster::builder(version).nodes(nodes).listeners(Listener::ALL);
        let Some(cluster) = or_skip(builder.start()) else { return };
        let certificates = cluster.certificates().unwrap();
        let trust = trusting(&certificates.authority);
        let all = format!("nodes {nodes}");

        assert_eq!(ask(&cluster, Listener::Plaintext, &[]), all);
        assert_eq!(ask(&cluster, Listener::Ssl, &trust), all);
        let shown = format!("ssl.keystore.location={}", certificates.client.display());
        let mutual = [trust.clone(), vec!["ssl.keystore.type=PEM".to_owned(), shown]].concat();
        assert_eq!(ask(&cluster, Listener::Ssl, &mutual), all, "with a certificate of its own");
        assert_eq!(
            ask(&cluster, Listener::Ssl, &[]),
            "SslAuthenticationException",
            "an authority unknown to it"
        );
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let right = known_as(mechanism, PASSWORD);
            assert_eq!(ask(&cluster, Listener::SaslPlaintext, &right), all, "{mechanism}");
            let both = [trust.clone(), right].concat();
            assert_eq!(ask(&cluster, Listener::SaslSsl, &both), all, "{mechanism} over TLS");
        }
        let wrong = known_as("SCRAM-SHA-512", "guessed");
        assert_eq!(ask(&cluster, Listener::SaslPlaintext, &wrong), "SaslAuthenticationException");
    }
}
