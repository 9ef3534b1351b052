//! JSON trees to bytes and back, as a schema says. Bytes and ids are hexadecimal strings.

use serde_json::{Map, Value, json};

use super::batch::{self, hex, unhex};
use super::schema::{Field, Kind, Message};

/// The bytes of a message whose fields are `value`'s; those that it does not name have their defaults, and those that
/// the version does not have are left out.
pub(super) fn encode(message: &Message, version: i16, value: &Value) -> Result<Vec<u8>, String> {
    let mut writer = Writer { message, version, out: Vec::new() };
    writer.structure(&message.fields, value)?;
    Ok(writer.out)
}

/// The tree of a message that these bytes are, all of them.
pub(super) fn decode(message: &Message, version: i16, bytes: &[u8]) -> Result<Value, String> {
    let mut reader = Reader { message, version, rest: bytes };
    let value = reader.structure(&message.fields)?;
    if reader.rest.is_empty() { Ok(value) } else { Err(format!("{} bytes too many", reader.rest.len())) }
}

struct Writer<'a> {
    message: &'a Message,
    version: i16,
    out: Vec<u8>,
}

impl<'a> Writer<'a> {
    fn structure(&mut self, fields: &'a [Field], value: &Value) -> Result<(), String> {
        let given = value.as_object().ok_or_else(|| format!("{value} is no object"))?;
        if let Some(unknown) = given.keys().find(|key| fields.iter().all(|field| field.name != **key)) {
            return Err(format!("there is no field {unknown}"));
        }
        let (version, mut tagged) = (self.version, Vec::new());
        for field in fields.iter().filter(|field| field.is_in(version)) {
            let given = given.get(&field.name);
            if let Some(tag) = field.tag(self.version) {
                tagged.extend(given.map(|given| (tag, field, given)));
                continue;
            }
            let written = match given {
                Some(given) => self.field(field, given),
                None => self.field(field, &field.default(self.message, self.version)?),
            };
            written.map_err(|error| format!("{}: {error}", field.name))?;
        }
        if self.message.is_flexible(self.version) {
            self.varint(tagged.len());
            tagged.sort_by_key(|(tag, ..)| *tag);
            for (tag, field, value) in tagged {
                let mut inner = Writer { message: self.message, version: self.version, out: Vec::new() };
                inner.field(field, value)?;
                self.varint(tag as usize);
                self.varint(inner.out.len());
                self.out.extend(inner.out);
            }
        }
        Ok(())
    }

    fn field(&mut self, field: &'a Field, value: &Value) -> Result<(), String> {
        let compact = field.is_compact(self.message, self.version);
        if value.is_null() && !field.may_be_null(self.version) {
            return Err("must not be null".to_owned());
        }
        self.value(&field.kind, value, compact, field.may_be_null(self.version))
    }

    fn value(&mut self, kind: &'a Kind, value: &Value, compact: bool, nullable: bool) -> Result<(), String> {
        let number = || value.as_i64().ok_or_else(|| format!("{value} is no number"));
        let text = || value.as_str().ok_or_else(|| format!("{value} is no text"));
        match kind {
            Kind::Bool => self.out.push(u8::from(value == &json!(true))),
            Kind::Int(size) => {
                let bytes = number()?.to_be_bytes();
                self.out.extend(&bytes[bytes.len() - size..]);
            }
            Kind::Uint16 => self.out.extend(u16::try_from(number()?).unwrap_or(0).to_be_bytes()),
            Kind::Float => self.out.extend(value.as_f64().unwrap_or(0.0).to_be_bytes()),
            Kind::Uuid => self.out.extend(unhex(text()?)?),
            Kind::String if value.is_null() => self.length(None, compact, 2),
            Kind::String => {
                let text = text()?;
                self.length(Some(text.len()), compact, 2);
                self.out.extend(text.as_bytes());
            }
            Kind::Bytes | Kind::Records if value.is_null() => self.length(None, compact, 4),
            Kind::Bytes | Kind::Records => {
                let bytes = unhex(text()?)?;
                self.length(Some(bytes.len()), compact, 4);
                self.out.extend(bytes);
            }
            Kind::Array(_) if value.is_null() => self.length(None, compact, 4),
            Kind::Array(element) => {
                let elements = value.as_array().ok_or_else(|| format!("{value} is no array"))?;
                self.length(Some(elements.len()), compact, 4);
                for value in elements {
                    self.value(element, value, compact, false)?;
                }
            }
            Kind::Struct(_) if value.is_null() => self.out.push(0xff),
            Kind::Struct(name) => {
                if nullable {
                    self.out.push(1);
                }
                let message = self.message;
                self.structure(message.structure(name)?, value)?;
            }
        }
        Ok(())
    }

    /// Of what may be null, in a fixed number of bytes or, where compact, one more as a varint.
    fn length(&mut self, length: Option<usize>, compact: bool, size: usize) {
        if compact {
            self.varint(length.map_or(0, |length| length + 1));
        } else {
            let bytes = length.map_or(-1, |length| length as i64).to_be_bytes();
            self.out.extend(&bytes[bytes.len() - size..]);
        }
    }

    fn varint(&mut self, mut number: usize) {
        while number >= 0x80 {
            self.out.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.out.push(number as u8);
    }
}

struct Reader<'a> {
    message: &'a Message,
    version: i16,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn structure(&mut self, fields: &'a [Field]) -> Result<Value, String> {
        let (version, mut tree) = (self.version, Map::new());
        for field in fields.iter().filter(|field| field.is_in(version)) {
            let value = if field.tag(self.version).is_some() {
                field.default(self.message, self.version)
            } else {
                self.field(field)
            };
            tree.insert(field.name.clone(), value.map_err(|error| format!("{}: {error}", field.name))?);
        }
        if self.message.is_flexible(self.version) {
            for _ in 0..self.varint()? {
                let (tag, size) = (self.varint()?, self.varint()?);
                let bytes = self.take(size)?;
                let known =
                    fields.iter().find(|field| field.tag(self.version).map(|tag| tag as usize) == Some(tag));
                match known {
                    Some(field) => {
                        let mut inner = Reader { message: self.message, version: self.version, rest: bytes };
                        tree.insert(field.name.clone(), inner.field(field)?);
                    }
                    None => drop(tree.insert(format!("tag {tag}"), json!(hex(bytes)))),
                }
            }
        }
        Ok(Value::Object(tree))
    }

    fn field(&mut self, field: &'a Field) -> Result<Value, String> {
        let compact = field.is_compact(self.message, self.version);
        self.value(&field.kind, compact, field.may_be_null(self.version))
    }

    fn value(&mut self, kind: &'a Kind, compact: bool, nullable: bool) -> Result<Value, String> {
        Ok(match kind {
            Kind::Bool => json!(self.take(1)? != [0]),
            Kind::Int(size) => json!(self.int(*size)?),
            Kind::Uint16 => json!(self.int(2)? as u16),
            Kind::Float => json!(f64::from_bits(self.int(8)? as u64)),
            Kind::Uuid => json!(hex(self.take(16)?)),
            Kind::String => match self.length(compact, 2)? {
                Some(length) => json!(String::from_utf8_lossy(self.take(length)?)),
                None => Value::Null,
            },
            Kind::Bytes => match self.length(compact, 4)? {
                Some(length) => json!(hex(self.take(length)?)),
                None => Value::Null,
            },
            Kind::Records => match self.length(compact, 4)? {
                Some(length) => batch::read(self.take(length)?),
                None => Value::Null,
            },
            Kind::Array(element) => match self.length(compact, 4)? {
                Some(length) => {
                    (0..length).map(|_| self.value(element, compact, false)).collect::<Result<_, _>>()?
                }
                None => Value::Null,
            },
            Kind::Struct(_) if nullable && self.take(1)? == [0xff] => Value::Null,
            Kind::Struct(name) => {
                let message = self.message;
                self.structure(message.structure(name)?)?
            }
        })
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("the answer ends too early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn int(&mut self, size: usize) -> Result<i64, String> {
        let bytes = self.take(size)?;
        let sign = if bytes.first().is_some_and(|first| *first >= 0x80) { -1 } else { 0 };
        Ok(bytes.iter().fold(sign, |number, byte| number << 8 | i64::from(*byte)))
    }

    fn length(&mut self, compact: bool, size: usize) -> Result<Option<usize>, String> {
        if compact {
            return Ok(self.varint()?.checked_sub(1));
        }
        Ok(usize::try_from(self.int(size)?).ok())
    }

    fn varint(&mut self) -> Result<usize, String> {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.int(1)? as u8;
            number |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number of more than 35 bits".to_owned())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::schema::message;
    use super::*;

    #[test]
    fn a_request_has_the_bytes_that_the_protocol_says() {
        let request = message("MetadataRequest").unwrap();
        let topics = json!({ "Topics": [{ "Name": "ab" }], "AllowAutoTopicCreation": true });
        assert_eq!(hex(&encode(&request, 1, &topics).unwrap()), "0000000100026162");
        let flexible = "02".to_owned() + &"00".repeat(16) + "036162" + "00" + "01" + "00" + "00";
        assert_eq!(hex(&encode(&request, 12, &topics).unwrap()), flexible);
        assert_eq!(hex(&encode(&request, 1, &json!({ "Topics": null })).unwrap()), "ffffffff");
        assert!(encode(&request, 0, &json!({ "Topics": null })).is_err(), "version 0 has no null");
        assert!(encode(&request, 1, &json!({ "Topic": [] })).is_err(), "a misspelt field");
    }

    #[test]
    fn every_version_of_every_message_comes_back() {
        for (name, versions) in
            [("FetchResponse", 4..=18), ("ProduceResponse", 3..=13), ("JoinGroupResponse", 0..=9)]
        {
            let schema = message(name).unwrap();
            for version in versions {
                let bytes = encode(&schema, version, &json!({ "ThrottleTimeMs": 7 })).unwrap();
                let tree = decode(&schema, version, &bytes).unwrap();
                assert!(tree.get("ThrottleTimeMs").is_none_or(|throttle| throttle == 7), "{name} {version}");
                assert!(decode(&schema, version, &bytes[1..]).is_err(), "{name} {version}: too short");
                assert!(decode(&schema, version, &[&bytes[..], &[0]].concat()).is_err(), "{name} {version}");
            }
        }
    }

    #[test]
    fn tagged_fields_have_their_defaults_or_what_is_sent() {
        let response = message("ProduceResponse").unwrap();
        let bytes = encode(&response, 10, &json!({})).unwrap();
        assert_eq!(decode(&response, 10, &bytes).unwrap()["NodeEndpoints"], json!([]));
        let endpoint = json!({ "NodeId": 3, "Host": "h", "Port": 9092, "Rack": null });
        let bytes = encode(&response, 10, &json!({ "NodeEndpoints": [endpoint] })).unwrap();
        assert_eq!(decode(&response, 10, &bytes).unwrap()["NodeEndpoints"], json!([endpoint]));
    }
}
