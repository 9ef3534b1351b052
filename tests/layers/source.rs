//! What one file says: which modules it declares, which paths it names, and where its test code is.

use std::collections::{BTreeMap, BTreeSet};

use super::lexer::{Kind, Token, tokens};

/// The path of a module or item from the crate's root, without `crate`.
pub(crate) type ItemPath = Vec<String>;

/// A path that non-test code names, and where.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Import {
    pub(crate) line: usize,
    pub(crate) path: ItemPath,
}

/// One file without its test code.
#[derive(Debug)]
pub(crate) struct Source {
    tokens: Vec<Token>,
    /// Children declared by `#[cfg(test)] mod name;`.
    pub(crate) test_modules: BTreeSet<String>,
    /// Whether the whole file is test code (`#![cfg(test)]`).
    pub(crate) is_test: bool,
}

impl Source {
    pub(crate) fn parse(text: &str) -> Self {
        let mut all = tokens(text);
        let is_test = starts_with_test_attribute(&all);
        let mut test_modules = BTreeSet::new();
        while let Some((start, end)) = test_item(&all) {
            let item = &all[start..end];
            if let [.., keyword, name, end] = item
                && keyword.is_ident("mod")
                && end.is(';')
            {
                test_modules.extend(name.ident().map(str::to_owned));
            }
            all.drain(start..end);
        }
        Self { tokens: all, test_modules, is_test }
    }

    /// The lines on which the code names `ident`.
    pub(crate) fn lines_naming(&self, ident: &str) -> Vec<usize> {
        self.tokens.iter().filter(|token| token.is_ident(ident)).map(|token| token.line).collect()
    }

    /// The paths into this crate that the code of `module` names, in `use` items and inline. `modules` are all
    /// modules of the crate that have a file.
    pub(crate) fn imports(&self, module: &[String], modules: &BTreeSet<ItemPath>) -> Vec<Import> {
        let mut names = Names { modules, aliases: BTreeMap::new() };
        let mut scope = Scope { module: module.to_vec(), inline: Vec::new(), depth: 0 };
        let mut imports = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let here = scope.path();
            if self.tokens[at].is_ident("use") {
                at = self.use_tree(at + 1, &[], &mut |line, path, alias| {
                    if let Some(path) = names.resolve(&here, path) {
                        names.aliases.insert(alias.to_owned(), path.clone());
                        imports.push(Import { line, path });
                    }
                });
            } else if let Some((segments, end)) = self.inline_path(at) {
                imports.extend(
                    names.resolve(&here, &segments).map(|path| Import { line: self.tokens[at].line, path }),
                );
                at = end;
            } else {
                scope.pass(&self.tokens, at);
                at += 1;
            }
        }
        imports
    }

    /// Walks the tree of a `use` item from `at` and tells each leaf: line, path as written, name in scope.
    fn use_tree(
        &self,
        mut at: usize,
        prefix: &[String],
        leaf: &mut impl FnMut(usize, &[String], &str),
    ) -> usize {
        let mut path = prefix.to_vec();
        let mut alias = None;
        let line = self.tokens.get(at).map_or(0, |token| token.line);
        while let Some(token) = self.tokens.get(at) {
            match &token.kind {
                Kind::PathSep => {}
                Kind::Ident(name) if name == "as" => {
                    alias = self.tokens.get(at + 1).and_then(Token::ident);
                    at += 1;
                }
                Kind::Ident(name) if name == "self" && !path.is_empty() => {}
                Kind::Ident(name) => path.push(name.clone()),
                Kind::Punct('*') => {}
                Kind::Punct('{') => return self.use_group(at + 1, &path, leaf),
                Kind::Punct(_) => break,
            }
            at += 1;
        }
        if path.len() > prefix.len() || !prefix.is_empty() {
            let name = alias.or_else(|| path.last().map(String::as_str)).unwrap_or_default().to_owned();
            leaf(line, &path, &name);
        }
        at
    }

    fn use_group(
        &self,
        mut at: usize,
        prefix: &[String],
        leaf: &mut impl FnMut(usize, &[String], &str),
    ) -> usize {
        while let Some(token) = self.tokens.get(at) {
            if token.is('}') {
                return at + 1;
            }
            at = if token.is(',') { at + 1 } else { self.use_tree(at, prefix, leaf) };
        }
        at
    }

    /// The segments of the path that begins at `at`, if one does, and the index behind it.
    fn inline_path(&self, at: usize) -> Option<(Vec<String>, usize)> {
        let before = at.checked_sub(1).and_then(|before| self.tokens.get(before));
        // `pub(in path)` names an ancestor and imports nothing; after `::` a path goes on and does not begin.
        if before.is_some_and(|token| {
            token.kind == Kind::PathSep || token.is_ident("in") && self.is_visibility(at)
        }) {
            return None;
        }
        let mut segments = vec![self.tokens.get(at)?.ident()?.to_owned()];
        let mut end = at + 1;
        while self.tokens.get(end).is_some_and(|token| token.kind == Kind::PathSep)
            && let Some(name) = self.tokens.get(end + 1).and_then(Token::ident)
        {
            segments.push(name.to_owned());
            end += 2;
        }
        (segments.len() > 1).then_some((segments, end))
    }

    /// Whether `pub(in` stands before `at`.
    fn is_visibility(&self, at: usize) -> bool {
        at >= 3 && self.tokens[at - 2].is('(') && self.tokens[at - 3].is_ident("pub")
    }
}

/// Where the walk stands: the file's module, and the inline modules around the current token.
struct Scope {
    module: ItemPath,
    inline: Vec<(String, usize)>,
    depth: usize,
}

impl Scope {
    fn path(&self) -> ItemPath {
        let inline = self.inline.iter().map(|(name, _)| name.clone());
        self.module.iter().cloned().chain(inline).collect()
    }

    fn pass(&mut self, tokens: &[Token], at: usize) {
        if tokens[at].is('{') {
            if let [keyword, name] = &tokens[at.saturating_sub(2)..at]
                && keyword.is_ident("mod")
            {
                self.inline.extend(name.ident().map(|name| (name.to_owned(), self.depth)));
            }
            self.depth += 1;
        } else if tokens[at].is('}') {
            self.depth = self.depth.saturating_sub(1);
            self.inline.pop_if(|(_, depth)| *depth == self.depth);
        }
    }
}

/// What a first segment can mean.
struct Names<'a> {
    modules: &'a BTreeSet<ItemPath>,
    aliases: BTreeMap<String, ItemPath>,
}

impl Names<'_> {
    /// The path from the root, or nothing when it leads out of the crate or names something local.
    fn resolve(&self, here: &[String], path: &[String]) -> Option<ItemPath> {
        let (first, rest) = path.split_first()?;
        let mut base = match first.as_str() {
            "crate" => Vec::new(),
            "self" => here.to_vec(),
            "super" => here.split_last().map_or(Vec::new(), |(_, parent)| parent.to_vec()),
            name => self.aliased(name).or_else(|| self.child(here, name))?,
        };
        let ups = if first == "super" { rest.iter().take_while(|name| *name == "super").count() } else { 0 };
        base.truncate(base.len().saturating_sub(ups));
        base.extend(rest[ups..].iter().cloned());
        Some(base)
    }

    /// Only modules: an imported type named again (`Version::new`) is the import of the `use` item.
    fn aliased(&self, name: &str) -> Option<ItemPath> {
        self.aliases.get(name).filter(|path| self.modules.contains(*path)).cloned()
    }

    fn child(&self, here: &[String], name: &str) -> Option<ItemPath> {
        let child: ItemPath = here.iter().cloned().chain([name.to_owned()]).collect();
        self.modules.contains(&child).then_some(child)
    }
}

fn starts_with_test_attribute(tokens: &[Token]) -> bool {
    let mut at = 0;
    while at + 1 < tokens.len() && tokens[at].is('#') && tokens[at + 1].is('!') {
        let end = block_end(tokens, at + 2);
        if is_test_attribute(&tokens[at + 2..end]) {
            return true;
        }
        at = end;
    }
    false
}

/// The range of the first item that only tests have, with its attributes.
fn test_item(tokens: &[Token]) -> Option<(usize, usize)> {
    let mut start = 0;
    while start + 1 < tokens.len() {
        if !(tokens[start].is('#') && tokens[start + 1].is('[')) {
            start += 1;
            continue;
        }
        let mut at = start;
        let mut is_test = false;
        while at + 1 < tokens.len() && tokens[at].is('#') && tokens[at + 1].is('[') {
            let end = block_end(tokens, at + 1);
            is_test |= is_test_attribute(&tokens[at + 1..end]);
            at = end;
        }
        if is_test {
            return Some((start, item_end(tokens, at)));
        }
        start = at;
    }
    None
}

/// `[test]`, `[tokio::test]`, `[cfg(test)]` and `[cfg(all(test, …))]`, but not `[cfg(any(test, …))]`.
fn is_test_attribute(attribute: &[Token]) -> bool {
    let idents: Vec<&str> = attribute.iter().filter_map(Token::ident).collect();
    matches!(idents[..], ["test"] | ["tokio", "test", ..] | ["cfg", "test"] | ["cfg", "all", "test", ..])
}

/// Where the item or field at `start` ends: behind its block, its `;`, or (a field, a variant, an arm) its `,`.
fn item_end(tokens: &[Token], start: usize) -> usize {
    const ITEMS: [&str; 15] = [
        "async",
        "const",
        "enum",
        "extern",
        "fn",
        "impl",
        "macro_rules",
        "mod",
        "static",
        "struct",
        "trait",
        "type",
        "union",
        "unsafe",
        "use",
    ];
    let mut at = start;
    if tokens.get(at).is_some_and(|token| token.is_ident("pub")) {
        at += 1;
        if tokens.get(at).is_some_and(|token| token.is('(')) {
            at = block_end(tokens, at);
        }
    }
    let keyword = tokens.get(at).and_then(Token::ident).unwrap_or_default();
    let is_item = ITEMS.contains(&keyword);
    // The braces of a `use` tree and of a value are not the end of the item.
    let ends_with_block = is_item && !matches!(keyword, "use" | "const" | "static" | "type");
    while let Some(token) = tokens.get(at) {
        match token.kind {
            Kind::Punct('{') if ends_with_block => return block_end(tokens, at),
            Kind::Punct('{' | '(' | '[') => at = block_end(tokens, at),
            Kind::Punct(';') => return at + 1,
            Kind::Punct(',') if !is_item => return at + 1,
            Kind::Punct('}') => return at,
            _ => at += 1,
        }
    }
    at
}

/// The index behind the bracket that closes the one at `start`.
fn block_end(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.kind {
            Kind::Punct('{' | '(' | '[') => depth += 1,
            Kind::Punct('}' | ')' | ']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Source;

    /// The paths that `text` names as module `a::b` of a crate with modules `a`, `a::b`, `a::b::c`, `d`, `d::e`.
    fn paths(text: &str) -> Vec<String> {
        let split = |path: &str| path.split("::").map(str::to_owned).collect::<Vec<_>>();
        let modules: BTreeSet<_> = ["a", "a::b", "a::b::c", "d", "d::e"].map(split).into();
        let imports = Source::parse(text).imports(&split("a::b"), &modules);
        imports.iter().map(|import| format!("{}:{}", import.line, import.path.join("::"))).collect()
    }

    #[test]
    fn use_trees_are_unfolded() {
        let text =
            "use std::fmt;\nuse crate::d::{self, e::{X, Y as Z}, *};\npub(crate) use c::Item;\nuse super::Q;";
        assert_eq!(paths(text), ["2:d", "2:d::e::X", "2:d::e::Y", "2:d", "3:a::b::c::Item", "4:a::Q"]);
    }

    #[test]
    fn inline_paths_are_found_through_aliases_children_and_self() {
        let text = "use crate::d;\nfn f() -> d::e::X {\n c::g();\n self::h();\n super::super::d::k::<u8>();\n vec::new() }";
        assert_eq!(paths(text), ["1:d", "2:d::e::X", "3:a::b::c::g", "4:a::b::h", "5:d::k"]);
    }

    #[test]
    fn an_imported_type_is_no_module() {
        assert_eq!(paths("use crate::d::Type;\nfn f() { Type::new(); }"), ["1:d::Type"]);
    }

    #[test]
    fn super_counts_inline_modules() {
        assert_eq!(paths("mod inner { use super::X; }\nuse super::Y;"), ["1:a::b::X", "2:a::Y"]);
    }

    #[test]
    fn visibility_and_comments_import_nothing() {
        assert_eq!(paths("/// See [`crate::d::X`].\npub(in crate::a) fn f() {}\n// crate::d::e"), [""; 0]);
    }

    #[test]
    fn test_code_is_left_out() {
        let text = "#[cfg(test)] use crate::d::{X, Y};\nuse crate::d::e;\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n use \
                    crate::d; }\nstruct S { #[cfg(test)] seen: Vec<crate::d::X>, other: crate::d::Z }\n#[test]\nfn \
                    t() { crate::d::f() }\n#[cfg(any(test, feature = \"x\"))]\nfn g() { crate::d::g() }";
        assert_eq!(paths(text), ["2:d::e", "7:d::Z", "11:d::g"]);
    }

    #[test]
    fn test_modules_in_other_files_are_named() {
        let source =
            Source::parse("mod a;\n#[cfg(test)]\nmod tests;\n#[cfg(all(test, feature = \"x\"))]\nmod sim;");
        assert_eq!(source.test_modules.iter().map(String::as_str).collect::<Vec<_>>(), ["sim", "tests"]);
        assert!(!source.is_test);
        assert!(Source::parse("//! Tests.\n#![allow(x)]\n#![cfg(test)]\nfn f() {}").is_test);
    }
}
