//! The command line: `--name value` or `--name=value`, and flags.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use super::nearest::nearest;

/// What was given; each option once.
#[derive(Debug)]
pub(crate) struct Arguments {
    given: BTreeMap<&'static str, String>,
}

impl Arguments {
    /// Reads a command line that may have these options, with values, and these flags.
    pub(crate) fn parse(
        line: Vec<String>,
        options: &[&'static str],
        flags: &[&'static str],
    ) -> Result<Self, String> {
        let mut given = BTreeMap::new();
        let mut words = line.into_iter();
        while let Some(word) = words.next() {
            let (name, attached) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            let known = |names: &[&'static str]| names.iter().find(|known| **known == name).copied();
            let (name, value) = if let Some(flag) = known(flags) {
                if attached.is_some() {
                    return Err(format!("{flag} takes no value"));
                }
                (flag, String::new())
            } else if let Some(option) = known(options) {
                let value = attached.or_else(|| words.next());
                (option, value.ok_or_else(|| format!("{option} needs a value"))?)
            } else {
                let meant = nearest(name, options.iter().chain(flags).copied()).unwrap_or_default();
                return Err(format!("unknown option `{name}`; the nearest is {meant}"));
            };
            if given.insert(name, value).is_some() {
                return Err(format!("{name} is given twice"));
            }
        }
        Ok(Self { given })
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(String::as_str)
    }

    pub(crate) fn required(&self, name: &str) -> Result<String, String> {
        self.text(name).map(str::to_owned).ok_or_else(|| format!("{name} is missing"))
    }

    pub(crate) fn number<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, String> {
        let parse = |text: &str| text.parse().map_err(|error| format!("{name} {text}: {error}"));
        self.text(name).map(parse).transpose()
    }

    /// A count, for which -1 means that there is no limit.
    pub(crate) fn limit(&self, name: &str) -> Result<Option<u64>, String> {
        Ok(self.number::<i64>(name)?.and_then(|count| u64::try_from(count).ok()))
    }

    /// The addresses that an option lists.
    pub(crate) fn addresses(&self, name: &str) -> Result<Vec<String>, String> {
        Ok(self.required(name)?.split(',').map(|one| one.trim().to_owned()).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn parse(line: &[&str]) -> Result<Arguments, String> {
        let line = line.iter().map(|&word| word.to_owned()).collect();
        Arguments::parse(line, &["--topic", "--max-messages"], &["--verbose"])
    }

    #[test]
    fn options_and_flags_are_told_apart() {
        let given = parse(&["--topic", "--t", "--verbose", "--max-messages=-1"]).unwrap();
        assert_eq!(given.text("--topic"), Some("--t"));
        assert!(given.flag("--verbose"));
        assert_eq!(given.limit("--max-messages"), Ok(None));
        assert_eq!(parse(&["--max-messages", "7"]).unwrap().limit("--max-messages"), Ok(Some(7)));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(parse(&["--topci", "t"]).unwrap_err().contains("the nearest is --topic"));
        assert!(parse(&["--topic"]).unwrap_err().contains("needs a value"));
        assert!(parse(&["--verbose=yes"]).unwrap_err().contains("takes no value"));
        assert!(parse(&["--topic", "a", "--topic", "b"]).unwrap_err().contains("twice"));
        assert!(parse(&[]).unwrap().required("--topic").is_err());
        let many = parse(&["--max-messages", "many"]).unwrap().limit("--max-messages");
        assert!(many.unwrap_err().contains("--max-messages many"));
    }
}
