//! Rust files as flat lists of tokens: without comments, strings as one token, macros seen like any other code.

use std::ops::Range;
use std::sync::LazyLock;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use super::{files, read};

/// One token.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
    /// Of a bracket: where its partner stands.
    pub(super) mate: usize,
    ident: bool,
}

/// One file of ours that nobody generated.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: String,
    pub(super) lines: usize,
    pub(super) tokens: Vec<Token>,
    tests: Vec<Range<usize>>,
}

/// A function with a body.
#[derive(Debug)]
pub(super) struct Function<'a> {
    pub(super) name: &'a str,
    pub(super) first_line: usize,
    pub(super) last_line: usize,
    pub(super) body: Range<usize>,
    pub(super) is_test: bool,
}

/// Every Rust file of the workspace that was written by hand.
pub(super) fn sources() -> &'static [Source] {
    static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
        let texts = files(".rs").into_iter().map(|path| (read(&path), path));
        let written = texts.filter(|(text, _)| !text.lines().take(3).any(|line| line.contains("@generated")));
        written.map(|(text, path)| Source::parse(path, &text)).collect()
    });
    &SOURCES
}

impl Source {
    pub(super) fn parse(path: String, text: &str) -> Self {
        let stream: TokenStream = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut tokens = Vec::new();
        flatten(stream, &mut tokens);
        let mut source = Self { lines: text.lines().count(), tests: Vec::new(), path, tokens };
        source.tests = source.find_tests();
        source
    }

    /// Whether the token at `at` is only compiled for tests.
    pub(super) fn in_tests(&self, at: usize) -> bool {
        self.is_test_file() || self.tests.iter().any(|range| range.contains(&at))
    }

    fn is_test_file(&self) -> bool {
        let mut parts = self.path.trim_end_matches(".rs").split('/');
        parts.any(|part| part == "tests" || part.ends_with("_tests"))
    }

    /// Where the texts of `pattern` stand one after the other.
    pub(super) fn find<'a>(&'a self, pattern: &'a [&'a str]) -> impl Iterator<Item = usize> + 'a {
        let windows = self.tokens.windows(pattern.len()).enumerate();
        windows
            .filter(move |(_, window)| window.iter().zip(pattern).all(|(token, text)| token.text == *text))
            .map(|(at, _)| at)
    }

    /// "path:line" of a token.
    pub(super) fn place(&self, at: usize) -> String {
        format!("{}:{}", self.path, self.tokens[at].line)
    }

    /// Functions with a body, those in macros and traits included.
    pub(super) fn functions(&self) -> Vec<Function<'_>> {
        (0..self.tokens.len()).filter_map(|at| self.function(at)).collect()
    }

    fn function(&self, at: usize) -> Option<Function<'_>> {
        let name = self.tokens.get(at + 1)?;
        if self.tokens[at].text != "fn" || !name.ident {
            return None;
        }
        let open = self.item_end(at + 2, "{")?;
        let close = self.tokens[open].mate;
        Some(Function {
            name: &name.text,
            first_line: self.tokens[at].line,
            last_line: self.tokens[close].line,
            body: open + 1..close,
            is_test: self.attributes_before(at).iter().any(|range| self.attribute_name(range) == "test"),
        })
    }

    /// The first `wanted` at the level of `from`, unless the item ends with a semicolon before it.
    fn item_end(&self, from: usize, wanted: &str) -> Option<usize> {
        let mut at = from;
        loop {
            match self.tokens.get(at)?.text.as_str() {
                text if text == wanted => return Some(at),
                ";" | ")" | "]" | "}" => return None,
                "(" | "[" | "{" => at = self.tokens[at].mate + 1,
                _ => at += 1,
            }
        }
    }

    /// The attributes of an item whose keyword stands at `at`: what is within their brackets.
    fn attributes_before(&self, at: usize) -> Vec<Range<usize>> {
        const QUALIFIERS: [&str; 5] = ["pub", "async", "const", "unsafe", "extern"];
        let mut found = Vec::new();
        let mut end = at;
        while let Some(last) = end.checked_sub(1) {
            let token = &self.tokens[last];
            match token.text.as_str() {
                text if QUALIFIERS.contains(&text) || text.starts_with('"') => end = last,
                ")" => end = token.mate,
                "]" if token.mate > 0 && self.tokens[token.mate - 1].text == "#" => {
                    found.push(token.mate + 1..last);
                    end = token.mate - 1;
                }
                _ => break,
            }
        }
        found
    }

    /// Last name of an attribute's path: `test` of `#[tokio::test(start_paused = true)]`.
    fn attribute_name(&self, inside: &Range<usize>) -> &str {
        let path = self.tokens[inside.clone()].iter().take_while(|token| !["(", "="].contains(&token.text.as_str()));
        path.last().map_or("", |token| &token.text)
    }

    fn find_tests(&self) -> Vec<Range<usize>> {
        let found = self.find(&["#", "[", "cfg", "("]).filter_map(|at| {
            let inside = &self.tokens[at + 4..self.tokens[at + 3].mate];
            let says = |name: &str| inside.iter().any(|token| token.text == name);
            if !says("test") || says("not") {
                return None;
            }
            let mut from = self.tokens[at + 1].mate + 1;
            while self.tokens.get(from).is_some_and(|token| token.text == "#") {
                from = self.tokens[from + 1].mate + 1;
            }
            self.item_end(from, "{").map(|open| at..self.tokens[open].mate)
        });
        found.collect()
    }
}

fn flatten(stream: TokenStream, into: &mut Vec<Token>) {
    for tree in stream {
        match tree {
            TokenTree::Group(group) => flatten_group(&group, into),
            TokenTree::Ident(ident) => into.push(leaf(ident.to_string(), ident.span(), true)),
            TokenTree::Punct(punct) => into.push(leaf(punct.as_char().to_string(), punct.span(), false)),
            TokenTree::Literal(literal) => into.push(leaf(literal.to_string(), literal.span(), false)),
        }
    }
}

fn flatten_group(group: &Group, into: &mut Vec<Token>) {
    let (open, close) = match group.delimiter() {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => return flatten(group.stream(), into),
    };
    let start = into.len();
    into.push(leaf(open.to_owned(), group.span_open(), false));
    flatten(group.stream(), into);
    into[start].mate = into.len();
    into.push(Token { mate: start, ..leaf(close.to_owned(), group.span_close(), false) });
}

fn leaf(text: String, span: proc_macro2::Span, ident: bool) -> Token {
    Token { text, line: span.start().line, mate: 0, ident }
}

#[test]
fn functions_are_found_with_their_size_and_their_attributes() {
    let text = "#[tokio::test]\n/// Doc.\npub(crate) async fn one<T>() -> [u8; 2]\nwhere\n    T: Fn(),\n{\n    x\n}\n\
                trait A { fn two(); fn three() {} }\nproptest! { #[test]\n fn four(x in 0..2) { {} } }\nstruct B(fn());";
    let source = Source::parse("x.rs".to_owned(), text);
    let seen: Vec<_> = source.functions().iter().map(|f| (f.name, f.first_line, f.last_line, f.is_test)).collect();
    assert_eq!(seen, [("one", 3, 8, true), ("three", 9, 9, false), ("four", 11, 11, true)]);
}

#[test]
fn what_is_compiled_for_tests_only_is_known() {
    let text = "fn a() { plain }\n#[cfg(test)]\nmod tests { fn b() { tested } }\n#[cfg(not(test))]\nfn c() { other }";
    let source = Source::parse("src/x.rs".to_owned(), text);
    let in_tests = |name| source.in_tests(source.find(&[name]).next().expect(name));
    assert_eq!([in_tests("plain"), in_tests("tested"), in_tests("other")], [false, true, false]);
    assert!(Source::parse("tests/x.rs".to_owned(), "fn a() {}").in_tests(0));
}
