//! Rust text to the few tokens that matter here: identifiers, `::` and punctuation, without comments and literals.

/// One token and the line (from 1) on which it begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) line: usize,
}

/// What a token is. Literals and comments leave no token, lifetimes none either.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Ident(String),
    PathSep,
    Punct(char),
}

impl Token {
    /// The identifier, if it is one.
    pub(crate) fn ident(&self) -> Option<&str> {
        match &self.kind {
            Kind::Ident(name) => Some(name),
            _ => None,
        }
    }

    pub(crate) fn is_ident(&self, name: &str) -> bool {
        self.ident() == Some(name)
    }

    pub(crate) fn is(&self, punct: char) -> bool {
        self.kind == Kind::Punct(punct)
    }
}

/// The tokens of a file.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: text, line: 1, tokens: Vec::new() };
    while !lexer.rest.is_empty() {
        lexer.step();
    }
    lexer.tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn step(&mut self) {
        let first = self.rest.chars().next().expect("not empty");
        if self.rest.starts_with("//") {
            self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.skip(block_comment_len(self.rest));
        } else if let Some(len) = string_len(self.rest) {
            self.skip(len);
        } else if first == '\'' {
            self.skip(quote_len(self.rest));
        } else if first.is_alphabetic() || first == '_' {
            let text = self.rest.strip_prefix("r#").unwrap_or(self.rest);
            let name: String = text.chars().take_while(|c| is_word(*c)).collect();
            let len = self.rest.len() - text.len() + name.len();
            self.push(Kind::Ident(name), len);
        } else if first.is_ascii_digit() {
            self.skip(self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("::") {
            self.push(Kind::PathSep, 2);
        } else if first.is_whitespace() {
            self.skip(first.len_utf8());
        } else {
            self.push(Kind::Punct(first), first.len_utf8());
        }
    }

    fn push(&mut self, kind: Kind, len: usize) {
        self.tokens.push(Token { kind, line: self.line });
        self.skip(len);
    }

    fn skip(&mut self, len: usize) {
        let (skipped, rest) = self.rest.split_at(len);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Block comments nest.
fn block_comment_len(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// The length of the string literal at the start of `text`: plain, byte, C, and the raw form of each.
fn string_len(text: &str) -> Option<usize> {
    let body = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let prefix = text.len() - body.len();
    if let Some(raw) = body.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let content = raw[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let len = content.find(&end).map_or(content.len(), |at| at + end.len());
        return Some(prefix + 1 + hashes + 1 + len);
    }
    let content = body.strip_prefix('"')?;
    Some(prefix + 1 + escaped_len(content, '"'))
}

/// A character literal is skipped whole, of a lifetime only the quote and the name.
fn quote_len(text: &str) -> usize {
    let content = &text[1..];
    let mut chars = content.chars();
    let first = chars.next().unwrap_or(' ');
    let is_char = first == '\\' || chars.next() == Some('\'');
    if is_char {
        1 + escaped_len(content, '\'')
    } else {
        1 + content.find(|c| !is_word(c)).unwrap_or(content.len())
    }
}

/// The length up to and with the closing quote, over escapes.
fn escaped_len(content: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in content.char_indices() {
        if c == quote && !escaped {
            return at + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    content.len()
}

#[cfg(test)]
mod tests {
    use super::{Kind, tokens};

    fn idents(text: &str) -> Vec<(String, usize)> {
        let idents = tokens(text).into_iter().filter_map(|token| match token.kind {
            Kind::Ident(name) => Some((name, token.line)),
            _ => None,
        });
        idents.collect()
    }

    #[test]
    fn comments_and_literals_leave_no_token_and_keep_the_lines() {
        let text =
            "a /* x /* y */ \n z */ b // c\n\"d \\\" e\n\" f r#\"g \" h\"# 'i' j '\\'' k b'l' b\"m\" 1u8 n";
        let expected = [("a", 1), ("b", 2), ("f", 4), ("j", 4), ("k", 4), ("b", 4), ("n", 4)];
        let found = idents(text);
        let found: Vec<(&str, usize)> = found.iter().map(|(name, line)| (name.as_str(), *line)).collect();
        // `b'l'` leaves its prefix, which no rule can take for a path.
        assert_eq!(found, expected);
    }

    #[test]
    fn a_lifetime_is_no_character() {
        let found: Vec<String> =
            idents("fn f<'a>(x: &'a str, y: &'static T) {}").into_iter().map(|i| i.0).collect();
        assert_eq!(found, ["fn", "f", "x", "str", "y", "T"]);
    }

    #[test]
    fn raw_identifiers_lose_their_prefix() {
        let found: Vec<String> = idents("r#type::r#fn r").into_iter().map(|i| i.0).collect();
        assert_eq!(found, ["type", "fn", "r"]);
    }
}
