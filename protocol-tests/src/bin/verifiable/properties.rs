//! Java's properties files, and the keys of one that are still to be understood.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use super::nearest::nearest;

/// The properties of a file. Whoever knows a key takes it; what is left at the [`end`](Self::end) nobody knows.
#[derive(Debug, Default)]
pub(crate) struct Properties {
    given: BTreeMap<String, String>,
    known: BTreeSet<&'static str>,
    problems: Vec<String>,
}

impl Properties {
    /// Reads a file; without one there are no properties.
    pub(crate) fn read(path: Option<&str>) -> Result<Self, String> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = fs::read_to_string(path).map_err(|error| format!("read {path}: {error}"))?;
        Ok(Self::parse(&text))
    }

    pub(crate) fn parse(text: &str) -> Self {
        let mut lines = text.lines().map(str::trim_start);
        let mut given = BTreeMap::new();
        while let Some(line) = lines.next() {
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let mut line = line.to_owned();
            // A line that ends with an odd number of backslashes goes on in the next one.
            while line.chars().rev().take_while(|&c| c == '\\').count() % 2 == 1 {
                line.pop();
                let Some(more) = lines.next() else { break };
                line.push_str(more);
            }
            let (key, value) = split(&line);
            given.insert(key, value);
        }
        Self { given, ..Self::default() }
    }

    /// Takes a property. A value that does not parse counts as none, and is a problem at the end.
    pub(crate) fn take<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.known.insert(key);
        let value = self.given.remove(key)?;
        match parse(&value) {
            Ok(parsed) => Some(parsed),
            // The value may be a secret.
            Err(reason) => {
                self.problems.push(format!("{key}: {reason}"));
                None
            }
        }
    }

    /// Refuses the keys that begin like this.
    pub(crate) fn refuse(&mut self, prefix: &str, reason: &str) {
        let refused: Vec<String> = self.given.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
        for key in refused {
            self.given.remove(&key);
            self.problems.push(format!("{key}: {reason}"));
        }
    }

    /// Everything that is wrong, all at once.
    pub(crate) fn end(self) -> Result<(), String> {
        let mut problems = self.problems;
        for key in self.given.keys() {
            let meant = nearest(key, self.known.iter().copied()).unwrap_or_default();
            problems.push(format!("{key}: unknown; the nearest is {meant}"));
        }
        if problems.is_empty() { Ok(()) } else { Err(format!("properties: {}", problems.join("; "))) }
    }
}

/// Key and value, which `=`, `:` or white space separates, with their escapes resolved.
fn split(line: &str) -> (String, String) {
    let mut escaped = false;
    let end = line.char_indices().find(|&(_, c)| {
        let ends = !escaped && (c == '=' || c == ':' || c.is_whitespace());
        escaped = !escaped && c == '\\';
        ends
    });
    let (key, rest) = line.split_at(end.map_or(line.len(), |(index, _)| index));
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
    (unescape(key), unescape(value))
}

fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => {
                let digits: String = characters.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                plain.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn text(value: &str) -> Result<String, String> {
        Ok(value.to_owned())
    }

    #[test]
    fn javas_format_is_read() {
        let mut properties = Properties::parse(
            "# comment\n! comment\n\na=1\n b : two words \nc\td\nlong = one,\\\n    two\npath=C:\\\\x\\u0041\n\
             key\\=with\\:signs=v\nempty=\n",
        );
        let mut take = |key| properties.take(key, text).unwrap();
        assert_eq!(take("a"), "1");
        assert_eq!(take("b"), "two words ");
        assert_eq!(take("c"), "d");
        assert_eq!(take("long"), "one,two");
        assert_eq!(take("path"), "C:\\xA");
        assert_eq!(take("key=with:signs"), "v");
        assert_eq!(take("empty"), "");
        properties.end().unwrap();
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let mut properties = Properties::parse("linger.ms=soon\nlingre.ms=5\nsasl.mechanism=PLAIN");
        let linger = properties.take("linger.ms", |value| value.parse::<u32>().map_err(|e| e.to_string()));
        assert_eq!(linger, None);
        properties.refuse("sasl.", "not yet");
        let problems = properties.end().unwrap_err();
        for part in [
            "linger.ms: invalid digit",
            "lingre.ms: unknown; the nearest is linger.ms",
            "sasl.mechanism: not yet",
        ] {
            assert!(problems.contains(part), "{problems}");
        }
    }
}
