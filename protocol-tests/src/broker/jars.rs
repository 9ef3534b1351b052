//! Kafka's jars, fetched by Maven once per target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::BrokerError;
use super::once::{home, made_once};
use super::version::Version;

/// A Maven artifact of Kafka's with all that it needs, in a directory of its own.
struct Artifact<'a> {
    name: &'a str,
    version: &'a str,
    /// What the directory is called.
    directory: &'a str,
}

/// Where the jars of a broker of `version` lie.
pub(crate) fn resolve(version: Version) -> Result<PathBuf, BrokerError> {
    let version = version.as_str();
    Artifact { name: "kafka_2.13", version, directory: version }.resolve()
}

/// Where the jars of Kafka's own command-line programs lie, its verifiable clients among them: of 4.3.1, the newest that
/// Maven Central has.
///
/// # Errors
/// [`BrokerError::Unavailable`] when Maven or the jars are missing.
pub fn tools() -> Result<PathBuf, BrokerError> {
    Artifact { name: "kafka-tools", version: "4.3.1", directory: "tools-4.3.1" }.resolve()
}

impl Artifact<'_> {
    fn resolve(&self) -> Result<PathBuf, BrokerError> {
        made_once(self.directory, |jars| self.fetch(jars))
    }

    fn fetch(&self, jars: &Path) -> Result<(), BrokerError> {
        let pom_path = home().join(format!("{}.pom.xml", self.directory));
        fs::write(&pom_path, self.pom()).map_err(BrokerError::io(format!("write {}", pom_path.display())))?;
        let maven = Command::new(if cfg!(windows) { "mvn.cmd" } else { "mvn" })
            .args(["-q", "-B", "-f"])
            .arg(&pom_path)
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", jars.display()))
            .output();
        let output = maven.map_err(|error| BrokerError::Unavailable {
            reason: format!("Maven (mvn) cannot be run: {error}"),
        })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            let reason =
                format!("Maven could not fetch {} {} ({}):\n{said}", self.name, self.version, output.status);
            return Err(BrokerError::Unavailable { reason });
        }
        Ok(())
    }

    fn pom(&self) -> String {
        let Self { name, version, .. } = self;
        format!(
            r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>milena</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
        <dependency><groupId>org.apache.kafka</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>
        <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"#
        )
    }
}
