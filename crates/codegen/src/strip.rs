//! Kafka's schema files without prose: what the generator needs, in a form whose difference between two versions of
//! Kafka is easy to read.

use std::path::Path;
use std::process::Command;
use std::{env, fs, process};

use serde_json::Value;

/// What is kept of a message, in the order in which it is written.
const MESSAGE_KEYS: &[&str] = &[
    "apiKey",
    "type",
    "name",
    "validVersions",
    "flexibleVersions",
    "latestVersionUnstable",
    "commonStructs",
    "fields",
];

/// What is kept of a field or of a common struct.
const FIELD_KEYS: &[&str] = &[
    "name",
    "type",
    "versions",
    "nullableVersions",
    "flexibleVersions",
    "taggedVersions",
    "tag",
    "default",
    "ignorable",
    "fields",
];

/// Where a jar of kafka-clients holds its schemas.
const IN_JAR: &str = "common/message";

/// Strips every schema of `source`, a jar of kafka-clients or a directory of schema files, into `to`.
pub(crate) fn strip(source: &Path, to: &Path) -> Result<usize, String> {
    if source.is_dir() {
        return strip_dir(source, to);
    }
    let unpacked = env::temp_dir().join(format!("milena-codegen-{}", process::id()));
    let unzip = Command::new("unzip")
        .args(["-q", "-o"])
        .arg(source)
        .arg(format!("{IN_JAR}/*.json"))
        .arg("-d")
        .arg(&unpacked)
        .status()
        .map_err(|e| format!("cannot run unzip: {e}"))?;
    if !unzip.success() {
        return Err(format!("unzip of {} failed: {unzip}", source.display()));
    }
    let stripped = strip_dir(&unpacked.join(IN_JAR), to);
    fs::remove_dir_all(&unpacked).map_err(|e| format!("{}: {e}", unpacked.display()))?;
    stripped
}

fn strip_dir(from: &Path, to: &Path) -> Result<usize, String> {
    let mut count = 0;
    for entry in fs::read_dir(from).map_err(|e| format!("{}: {e}", from.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let in_file = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let text = fs::read_to_string(&path).map_err(|e| in_file(&e))?;
        let stripped = strip_text(&text).map_err(|e| in_file(&e))?;
        let name = path.file_name().unwrap_or_default();
        fs::write(to.join(name), stripped).map_err(|e| in_file(&e))?;
        count += 1;
    }
    Ok(count)
}

fn strip_text(text: &str) -> Result<String, String> {
    // The comments in these files stand on lines of their own.
    let without_comments: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let value: Value = serde_json::from_str(&without_comments).map_err(|e| e.to_string())?;
    let mut out = String::from("{\n");
    let mut separator = "";
    for key in MESSAGE_KEYS {
        if let Some(kept) = value.get(key) {
            out.push_str(separator);
            out.push_str(&format!("  \"{key}\": "));
            match kept.as_array() {
                Some(fields) => push_fields(&mut out, fields, 2),
                None => out.push_str(&kept.to_string()),
            }
            separator = ",\n";
        }
    }
    out.push_str("\n}\n");
    Ok(out)
}

/// One line for a field, and one for each field within it.
fn push_fields(out: &mut String, fields: &[Value], indent: usize) {
    if fields.is_empty() {
        out.push_str("[]");
        return;
    }
    out.push_str("[\n");
    for (i, field) in fields.iter().enumerate() {
        let margin = " ".repeat(indent + 2);
        let mut separator = if i == 0 { format!("{margin}{{ ") } else { format!(",\n{margin}{{ ") };
        for key in FIELD_KEYS {
            let Some(kept) = field.get(key) else { continue };
            out.push_str(&format!("{separator}\"{key}\": "));
            match kept.as_array() {
                Some(nested) => push_fields(out, nested, indent + 2),
                None => out.push_str(&kept.to_string()),
            }
            ", ".clone_into(&mut separator);
        }
        out.push_str(" }");
    }
    out.push_str(&format!("\n{}]", " ".repeat(indent)));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn prose_goes_and_meaning_stays() {
        let text = r#"// A licence.
{
  "type": "request", "apiKey": 3, "name": "XRequest", "listeners": ["broker"],
  // A story.
  "validVersions": "0-1", "flexibleVersions": "none",
  "fields": [
    { "name": "A", "type": "[]B", "versions": "0+", "about": "Prose.", "fields": [
      { "name": "C", "type": "int32", "versions": "1+", "default": "-1", "ignorable": true, "about": "More." }
    ]},
    { "name": "D", "type": "string", "versions": "0+" }
  ]
}"#;
        let expected = r#"{
  "apiKey": 3,
  "type": "request",
  "name": "XRequest",
  "validVersions": "0-1",
  "flexibleVersions": "none",
  "fields": [
    { "name": "A", "type": "[]B", "versions": "0+", "fields": [
      { "name": "C", "type": "int32", "versions": "1+", "default": "-1", "ignorable": true }
    ] },
    { "name": "D", "type": "string", "versions": "0+" }
  ]
}
"#;
        assert_eq!(strip_text(text).unwrap(), expected);
    }
}
