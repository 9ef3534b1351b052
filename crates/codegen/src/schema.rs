//! Kafka's message schemas as values.

use serde_json::Value;

/// An inclusive range of versions; empty when `min > max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) min: i16,
    pub(crate) max: i16,
}

impl Versions {
    pub(crate) const NONE: Self = Self { min: 0, max: -1 };

    /// `"3"`, `"3-5"`, `"3+"` or `"none"`.
    fn parse(text: &str) -> Result<Self, String> {
        let number = |n: &str| n.parse::<i16>().map_err(|e| format!("versions {text:?}: {e}"));
        match text.strip_suffix('+') {
            Some(min) => Ok(Self { min: number(min)?, max: i16::MAX }),
            None if text == "none" => Ok(Self::NONE),
            None => {
                let (min, max) = text.split_once('-').unwrap_or((text, text));
                Ok(Self { min: number(min)?, max: number(max)? })
            }
        }
    }

    pub(crate) fn is_empty(self) -> bool {
        self.min > self.max
    }

    pub(crate) fn intersect(self, other: Self) -> Self {
        let both = Self { min: self.min.max(other.min), max: self.max.min(other.max) };
        if both.is_empty() { Self::NONE } else { both }
    }

    pub(crate) fn contains(self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

/// The type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    /// Bytes that hold record batches.
    Records,
    Struct(String),
    Array(Box<Self>),
}

impl Type {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(element) = text.strip_prefix("[]") {
            return Ok(Self::Array(Box::new(Self::parse(element)?)));
        }
        Ok(match text {
            "bool" => Self::Bool,
            "int8" => Self::Int8,
            "int16" => Self::Int16,
            "uint16" => Self::Uint16,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "float64" => Self::Float64,
            "uuid" => Self::Uuid,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "records" => Self::Records,
            name if name.starts_with(|c: char| c.is_ascii_uppercase()) => Self::Struct(name.to_owned()),
            other => return Err(format!("unknown type {other:?}")),
        })
    }

    /// The name of the struct that this is, or is an array of.
    pub(crate) fn struct_name(&self) -> Option<&str> {
        match self {
            Self::Struct(name) => Some(name),
            Self::Array(element) => element.struct_name(),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// In snake case.
    pub(crate) name: String,
    pub(crate) ty: Type,
    pub(crate) versions: Versions,
    pub(crate) nullable: Versions,
    /// The tag, and the versions in which the field is a tagged one.
    pub(crate) tag: Option<(u32, Versions)>,
    /// As the schema writes it; `None` where it says nothing.
    pub(crate) default: Option<String>,
    pub(crate) ignorable: bool,
    /// The versions in which the field has its compact form, where they are not the message's.
    pub(crate) flexible: Option<Versions>,
}

#[derive(Clone, Debug)]
pub(crate) struct Struct {
    pub(crate) name: String,
    pub(crate) versions: Versions,
    pub(crate) fields: Vec<Field>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Response,
    /// A header, or what travels inside an opaque field.
    Data,
}

/// One schema file.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) api_key: Option<i16>,
    pub(crate) versions: Versions,
    pub(crate) flexible: Versions,
    pub(crate) latest_unstable: bool,
    /// The message itself first, then its structs as they are met.
    pub(crate) structs: Vec<Struct>,
}

impl Message {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let name = string(&value, "name")?.to_owned();
        Self::from_value(&value, &name).map_err(|e| format!("{name}: {e}"))
    }

    fn from_value(value: &Value, name: &str) -> Result<Self, String> {
        let versions = Versions::parse(string(value, "validVersions")?)?;
        let mut structs = Vec::new();
        collect_struct(name, value, versions, &mut structs)?;
        for common in array(value, "commonStructs") {
            let own = Versions::parse(string(common, "versions")?)?;
            collect_struct(string(common, "name")?, common, own.intersect(versions), &mut structs)?;
        }
        Ok(Self {
            name: name.to_owned(),
            kind: match string(value, "type")? {
                "request" => Kind::Request,
                "response" => Kind::Response,
                _ => Kind::Data,
            },
            api_key: value.get("apiKey").and_then(Value::as_i64).and_then(|key| i16::try_from(key).ok()),
            versions,
            flexible: optional_versions(value, "flexibleVersions")?.unwrap_or(Versions::NONE),
            latest_unstable: value.get("latestVersionUnstable").and_then(Value::as_bool).unwrap_or(false),
            structs,
        })
    }

    pub(crate) fn find_struct(&self, name: &str) -> Result<&Struct, String> {
        let found = self.structs.iter().find(|s| s.name == name);
        found.ok_or_else(|| format!("{}: no struct {name}", self.name))
    }

    /// The name of the API: that of the message without its kind.
    pub(crate) fn api(&self) -> &str {
        let name = self.name.strip_suffix("Request").or_else(|| self.name.strip_suffix("Response"));
        name.unwrap_or(&self.name)
    }
}

/// Adds the struct called `name` and those nested in it; `versions` are those in which it can occur.
fn collect_struct(name: &str, value: &Value, versions: Versions, to: &mut Vec<Struct>) -> Result<(), String> {
    if to.iter().any(|s| s.name == name) {
        return Err(format!("struct {name} is defined twice"));
    }
    let index = to.len();
    to.push(Struct { name: name.to_owned(), versions, fields: Vec::new() });
    let mut fields = Vec::new();
    for child in array(value, "fields") {
        let field = parse_field(child)?;
        if let (Some(nested), true) = (field.ty.struct_name(), child.get("fields").is_some()) {
            collect_struct(nested, child, field.versions.intersect(versions), to)?;
        }
        fields.push(field);
    }
    if let Some(this) = to.get_mut(index) {
        this.fields = fields;
    }
    Ok(())
}

fn parse_field(value: &Value) -> Result<Field, String> {
    let name = string(value, "name")?;
    let tag = match value.get("tag").and_then(Value::as_u64) {
        Some(tag) => {
            let tag = u32::try_from(tag).map_err(|e| format!("{name}: tag {tag}: {e}"))?;
            Some((tag, Versions::parse(string(value, "taggedVersions")?)?))
        }
        None => None,
    };
    Ok(Field {
        name: snake_case(name),
        ty: Type::parse(string(value, "type")?)?,
        versions: Versions::parse(string(value, "versions")?)?,
        nullable: optional_versions(value, "nullableVersions")?.unwrap_or(Versions::NONE),
        tag,
        default: value.get("default").map(|default| match default {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }),
        ignorable: value.get("ignorable").and_then(Value::as_bool).unwrap_or(false),
        flexible: optional_versions(value, "flexibleVersions")?,
    })
}

fn string<'a>(value: &'a Value, key: &str) -> Result<&'a str, String> {
    value.get(key).and_then(Value::as_str).ok_or_else(|| format!("no {key} in {value}"))
}

fn optional_versions(value: &Value, key: &str) -> Result<Option<Versions>, String> {
    value.get(key).and_then(Value::as_str).map(Versions::parse).transpose()
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// `ThrottleTimeMs` to `throttle_time_ms`; a run of capitals is one word.
pub(crate) fn snake_case(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, &c) in chars.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|i| chars.get(i));
        let begins_word = before.is_some_and(|b| !b.is_ascii_uppercase())
            || (before.is_some() && chars.get(i + 1).is_some_and(char::is_ascii_lowercase));
        if c.is_ascii_uppercase() && begins_word {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_snake_case() {
        for (name, expected) in [
            ("ThrottleTimeMs", "throttle_time_ms"),
            ("ISRNodes", "isr_nodes"),
            ("PreferredReadReplica", "preferred_read_replica"),
            ("TopicID", "topic_id"),
            ("Host", "host"),
        ] {
            assert_eq!(snake_case(name), expected);
        }
    }

    #[test]
    fn versions_are_read_and_intersected() {
        let all = |min, max| Ok(Versions { min, max });
        assert_eq!(Versions::parse("3"), all(3, 3));
        assert_eq!(Versions::parse("3-5"), all(3, 5));
        assert_eq!(Versions::parse("3+"), all(3, i16::MAX));
        assert_eq!(Versions::parse("none"), Ok(Versions::NONE));
        assert!(Versions::parse("3-x").is_err());
        let low = Versions { min: 0, max: 2 };
        assert_eq!(low.intersect(Versions { min: 1, max: 9 }), Versions { min: 1, max: 2 });
        assert!(low.intersect(Versions { min: 3, max: 9 }).is_empty());
    }
}
