//! A pure-Rust Apache Kafka client.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod wire;
