//! Kafka's message schemas, read as they lie in the repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

/// A range of versions; empty when the first is larger than the second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range(i16, i16);

/// One message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) key: i16,
    flexible: Range,
    pub(super) fields: Vec<Field>,
    /// The structs that fields refer to by name.
    structs: BTreeMap<String, Vec<Field>>,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: Kind,
    versions: Range,
    nullable: Range,
    tag: Option<(u32, Range)>,
    /// Where it has its compact form, if that is not said by the message.
    flexible: Option<Range>,
    default: Option<Value>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Bool,
    /// A signed number of so many bytes.
    Int(usize),
    Uint16,
    Float,
    Uuid,
    String,
    Bytes,
    Records,
    Array(Box<Self>),
    Struct(String),
}

/// The schema of this name, such as `FetchRequest`.
pub(super) fn message(name: &str) -> Result<Arc<Message>, String> {
    static READ: Mutex<BTreeMap<String, Arc<Message>>> = Mutex::new(BTreeMap::new());
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(message) = read.get(name) {
        return Ok(Arc::clone(message));
    }
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/codegen/schema").join(format!("{name}.json"));
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let value = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let message = Arc::new(Message::of(&value)?);
    read.insert(name.to_owned(), Arc::clone(&message));
    Ok(message)
}

impl Message {
    fn of(value: &Value) -> Result<Self, String> {
        let mut structs = BTreeMap::new();
        let fields = fields(value, &mut structs)?;
        for common in list(value, "commonStructs") {
            let of_struct = self::fields(common, &mut structs)?;
            structs.insert(text(common, "name")?.to_owned(), of_struct);
        }
        let key = value.get("apiKey").and_then(Value::as_i64).and_then(|key| i16::try_from(key).ok());
        Ok(Self { key: key.unwrap_or(-1), flexible: range(value, "flexibleVersions")?, fields, structs })
    }

    /// Whether lengths are compact and structs end in tagged fields.
    pub(super) fn is_flexible(&self, version: i16) -> bool {
        self.flexible.has(version)
    }

    pub(super) fn structure(&self, name: &str) -> Result<&[Field], String> {
        self.structs.get(name).map(Vec::as_slice).ok_or_else(|| format!("no struct {name}"))
    }
}

impl Field {
    pub(super) fn is_in(&self, version: i16) -> bool {
        self.versions.has(version)
    }

    pub(super) fn may_be_null(&self, version: i16) -> bool {
        self.nullable.has(version)
    }

    /// The tag under which it stands behind the other fields, if it does.
    pub(super) fn tag(&self, version: i16) -> Option<u32> {
        self.tag.filter(|(_, versions)| versions.has(version)).map(|(tag, _)| tag)
    }

    pub(super) fn is_compact(&self, message: &Message, version: i16) -> bool {
        self.flexible.map_or_else(|| message.is_flexible(version), |own| own.has(version))
    }

    /// What stands for the field where nothing is said.
    pub(super) fn default(&self, message: &Message, version: i16) -> Result<Value, String> {
        match (&self.default, &self.kind) {
            (Some(Value::String(null)), _) if null == "null" => Ok(Value::Null),
            (Some(Value::String(text)), Kind::Int(_) | Kind::Uint16 | Kind::Float | Kind::Bool) => {
                let hexadecimal = text.strip_prefix("0x").map(|digits| i64::from_str_radix(digits, 16));
                let parsed = hexadecimal.map_or_else(
                    || serde_json::from_str(text).map_err(|error| error.to_string()),
                    |number| number.map(Value::from).map_err(|error| error.to_string()),
                );
                parsed.map_err(|error| format!("{}: default {text}: {error}", self.name))
            }
            (Some(default), _) => Ok(default.clone()),
            (None, Kind::Bool) => Ok(json!(false)),
            (None, Kind::Int(_) | Kind::Uint16) => Ok(json!(0)),
            (None, Kind::Float) => Ok(json!(0.0)),
            (None, Kind::Uuid) => Ok(json!("0".repeat(32))),
            (None, Kind::String | Kind::Bytes | Kind::Records) => Ok(json!("")),
            (None, Kind::Array(_)) => Ok(json!([])),
            (None, Kind::Struct(name)) => {
                let fields = message.structure(name)?.iter().filter(|field| field.is_in(version));
                fields.map(|field| Ok((field.name.clone(), field.default(message, version)?))).collect()
            }
        }
    }
}

impl Range {
    pub(super) fn has(self, version: i16) -> bool {
        (self.0..=self.1).contains(&version)
    }
}

impl Kind {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(element) = text.strip_prefix("[]") {
            return Ok(Self::Array(Box::new(Self::parse(element)?)));
        }
        Ok(match text {
            "bool" => Self::Bool,
            "int8" => Self::Int(1),
            "int16" => Self::Int(2),
            "uint16" => Self::Uint16,
            "int32" => Self::Int(4),
            "int64" => Self::Int(8),
            "float64" => Self::Float,
            "uuid" => Self::Uuid,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "records" => Self::Records,
            name if name.starts_with(|first: char| first.is_ascii_uppercase()) => {
                Self::Struct(name.to_owned())
            }
            other => return Err(format!("unknown type {other}")),
        })
    }

    fn struct_name(&self) -> Option<&str> {
        match self {
            Self::Struct(name) => Some(name),
            Self::Array(element) => element.struct_name(),
            _ => None,
        }
    }
}

/// The fields of a message or struct; the structs that are defined within go into `structs`.
fn fields(value: &Value, structs: &mut BTreeMap<String, Vec<Field>>) -> Result<Vec<Field>, String> {
    let mut all = Vec::new();
    for field in list(value, "fields") {
        let kind = Kind::parse(text(field, "type")?)?;
        if let (Some(name), true) = (kind.struct_name(), field.get("fields").is_some()) {
            let nested = fields(field, structs)?;
            structs.insert(name.to_owned(), nested);
        }
        let tag = field.get("tag").and_then(Value::as_u64).and_then(|tag| u32::try_from(tag).ok());
        all.push(Field {
            name: capitalised(text(field, "name")?),
            kind,
            versions: range(field, "versions")?,
            nullable: range(field, "nullableVersions")?,
            tag: tag.zip(Some(range(field, "taggedVersions")?)),
            flexible: field.get("flexibleVersions").map(|_| range(field, "flexibleVersions")).transpose()?,
            default: field.get("default").cloned(),
        });
    }
    Ok(all)
}

/// `"3"`, `"3-5"`, `"3+"` or `"none"`; nothing is none.
fn range(value: &Value, key: &str) -> Result<Range, String> {
    let Some(text) = value.get(key).and_then(Value::as_str).filter(|text| *text != "none") else {
        return Ok(Range(0, -1));
    };
    let number = |text: &str| text.parse::<i16>().map_err(|error| format!("{key} {text}: {error}"));
    match (text.strip_suffix('+'), text.split_once('-')) {
        (Some(first), _) => Ok(Range(number(first)?, i16::MAX)),
        (None, Some((first, last))) => Ok(Range(number(first)?, number(last)?)),
        (None, None) => Ok(Range(number(text)?, number(text)?)),
    }
}

/// A few of Kafka's names begin with a small letter, and all others do not.
fn capitalised(name: &str) -> String {
    let (first, rest) = name.split_at(name.len().min(1));
    first.to_uppercase() + rest
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str, String> {
    value.get(key).and_then(Value::as_str).ok_or_else(|| format!("no {key} in {value}"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
