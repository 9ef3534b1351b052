//! A record as foreign clients take and tell it: fields separated by tabs, bytes in hexadecimal, "-" for null.

use std::fmt;
use std::str::FromStr;

use milena::Message;

use super::Refused;
use crate::raw::{hex, unhex};

/// A record with all that a client can tell of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl From<&Message> for Line {
    fn from(message: &Message) -> Self {
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        Self {
            topic: message.topic().to_string(),
            partition: message.partition().0,
            offset: message.offset().0,
            timestamp: message.timestamp(),
            key: owned(message.key()),
            value: owned(message.value()),
            headers: message.headers().map(|(key, value)| (key.to_owned(), owned(value))).collect(),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, offset, timestamp, .. } = self;
        write!(f, "{topic}\t{partition}\t{offset}\t{timestamp}\t")?;
        write!(f, "{}\t{}\t", digits(self.key.as_deref()), digits(self.value.as_deref()))?;
        for (place, (key, value)) in self.headers.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{}={}", digits(Some(key.as_bytes())), digits(value.as_deref()))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.200}", self.to_string())
    }
}

impl FromStr for Line {
    type Err = Refused;

    fn from_str(line: &str) -> Result<Self, Refused> {
        parse(line).ok_or_else(|| Refused(format!("no record: {line:.200}")))
    }
}

fn parse(line: &str) -> Option<Line> {
    let mut fields = line.split('\t');
    let record = Line {
        topic: fields.next()?.to_owned(),
        partition: fields.next()?.parse().ok()?,
        offset: fields.next()?.parse().ok()?,
        timestamp: fields.next()?.parse().ok()?,
        key: bytes(fields.next()?)?,
        value: bytes(fields.next()?)?,
        headers: fields
            .next()?
            .split(',')
            .filter(|header| !header.is_empty())
            .map(header)
            .collect::<Option<_>>()?,
    };
    fields.next().is_none().then_some(record)
}

fn header(text: &str) -> Option<(String, Option<Vec<u8>>)> {
    let (key, value) = text.split_once('=')?;
    Some((String::from_utf8(bytes(key)??).ok()?, bytes(value)?))
}

fn digits(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "-".to_owned(), hex)
}

/// The bytes of a hexadecimal text, or null; nothing at all where it is neither.
#[expect(clippy::option_option, reason = "null is something to be read as well")]
fn bytes(text: &str) -> Option<Option<Vec<u8>>> {
    if text == "-" { Some(None) } else { unhex(text).ok().map(Some) }
}

#[cfg(test)]
mod tests {
    use super::Line;

    #[test]
    fn a_record_comes_back_from_its_line_and_what_is_none_is_refused() {
        let headers =
            vec![("a".to_owned(), None), ("a".to_owned(), Some(vec![])), (String::new(), Some(vec![255]))];
        for (key, value) in [(None, Some(vec![])), (Some(vec![0, 10]), None)] {
            let topic = "t".to_owned();
            let line =
                Line { topic, partition: 3, offset: 7, timestamp: -1, key, value, headers: headers.clone() };
            assert_eq!(line.to_string().parse::<Line>().ok(), Some(line));
        }
        for wrong in
            ["", "t\t0\t0\t0\t-\t-", "t\t0\t0\t0\t-\tabc\t", "t\t0\t0\t0\t-\t-\tx", "t\t0\t0\t0\t-\t-\t\t"]
        {
            assert!(wrong.parse::<Line>().is_err(), "{wrong}");
        }
    }
}
