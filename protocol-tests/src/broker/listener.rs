//! The ways into a broker: plain, by TLS, by SASL, by both; and the certificates and users that they know.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::BrokerError;

/// A listener of a broker, by the name that Kafka gives its security protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Listener {
    /// TCP. Every broker has it, and the brokers use it among themselves.
    Plaintext,
    /// TLS; a client's certificate is looked at if it shows one.
    Ssl,
    /// SASL over TCP: PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512.
    SaslPlaintext,
    /// SASL over TLS, likewise.
    SaslSsl,
}

/// The one user that SASL listeners know.
pub const USER: &str = "alice";
/// That user's password.
pub const PASSWORD: &str = "alice-secret";

const SCRAM: [&str; 2] = ["SCRAM-SHA-256", "SCRAM-SHA-512"];

impl Listener {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Plaintext, Self::Ssl, Self::SaslPlaintext, Self::SaslSsl];

    /// As `security.protocol` and `listeners` spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    pub(crate) const fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    pub(crate) const fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    /// What `server.properties` says of this listener's users.
    pub(crate) fn properties(self) -> Vec<(String, String)> {
        if !self.has_sasl() {
            return Vec::new();
        }
        let name = format!("listener.name.{}", self.as_str().to_lowercase());
        let plain = format!(
            "org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";"
        );
        let mut properties = vec![
            (format!("{name}.sasl.enabled.mechanisms"), format!("PLAIN,{}", SCRAM.join(","))),
            (format!("{name}.plain.sasl.jaas.config"), plain),
        ];
        properties.extend(SCRAM.map(|mechanism| {
            let key = format!("{name}.{}.sasl.jaas.config", mechanism.to_lowercase());
            (key, "org.apache.kafka.common.security.scram.ScramLoginModule required;".to_owned())
        }));
        properties
    }
}

/// The arguments with which formatting the storage makes the SCRAM user.
pub(crate) fn scram_users() -> Vec<String> {
    let user = |mechanism: &str| format!("{mechanism}=[name={USER},password={PASSWORD}]");
    SCRAM.iter().flat_map(|mechanism| ["--add-scram".to_owned(), user(mechanism)]).collect()
}

/// The certificates of a cluster, in PEM: an authority of its own, and what it has signed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Certificates {
    /// The authority's certificate, for clients to trust.
    pub authority: PathBuf,
    /// The brokers' key and certificate, for `127.0.0.1` and `localhost`.
    pub broker: PathBuf,
    /// A client's key and certificate.
    pub client: PathBuf,
}

impl Certificates {
    /// Makes them with openssl.
    pub(crate) fn make(directory: &Path) -> Result<Self, BrokerError> {
        fs::create_dir_all(directory).map_err(BrokerError::io(format!("create {}", directory.display())))?;
        let subject = "/CN=milena test authority";
        openssl(
            directory,
            &[
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "3650",
                "-subj",
                subject,
                "-keyout",
                "authority.key",
                "-out",
                "authority.pem",
            ],
        )?;
        let signed = |name: &str| -> Result<PathBuf, BrokerError> {
            let [key, request, certificate] = ["key", "csr", "crt"].map(|end| format!("{name}.{end}"));
            let subject = format!("/CN={name}");
            openssl(
                directory,
                &[
                    "req", "-newkey", "rsa:2048", "-nodes", "-subj", &subject, "-keyout", &key, "-out",
                    &request,
                ],
            )?;
            openssl(
                directory,
                &[
                    "x509",
                    "-req",
                    "-in",
                    &request,
                    "-days",
                    "3650",
                    "-CA",
                    "authority.pem",
                    "-CAkey",
                    "authority.key",
                    "-CAcreateserial",
                    "-extfile",
                    "names",
                    "-out",
                    &certificate,
                ],
            )?;
            let together = directory.join(format!("{name}.pem"));
            let read = |file: &str| {
                let path = directory.join(file);
                fs::read(&path).map_err(BrokerError::io(format!("read {}", path.display())))
            };
            fs::write(&together, [read(&key)?, read(&certificate)?].concat())
                .map_err(BrokerError::io(format!("write {}", together.display())))?;
            Ok(together)
        };
        let names = directory.join("names");
        fs::write(&names, "subjectAltName=DNS:localhost,IP:127.0.0.1\n")
            .map_err(BrokerError::io(format!("write {}", names.display())))?;
        Ok(Self {
            authority: directory.join("authority.pem"),
            broker: signed("broker")?,
            client: signed("client")?,
        })
    }

    /// What `server.properties` says of them.
    pub(crate) fn properties(&self) -> Vec<(String, String)> {
        // A properties file takes a backslash for an escape, and Java takes `/` everywhere.
        let path = |path: &Path| path.display().to_string().replace('\\', "/");
        [
            ("ssl.keystore.type", "PEM".to_owned()),
            ("ssl.keystore.location", path(&self.broker)),
            ("ssl.truststore.type", "PEM".to_owned()),
            ("ssl.truststore.location", path(&self.authority)),
            ("ssl.client.auth", "requested".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }
}

fn openssl(directory: &Path, arguments: &[&str]) -> Result<(), BrokerError> {
    let output = Command::new("openssl").args(arguments).current_dir(directory).output();
    let output = output.map_err(|error| BrokerError::Unavailable {
        reason: format!("openssl, which makes the certificates, cannot be run: {error}"),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let reason = format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let what = format!("openssl {}", arguments.join(" "));
    Err(BrokerError::Failed { what, reason, directory: directory.to_path_buf() })
}
