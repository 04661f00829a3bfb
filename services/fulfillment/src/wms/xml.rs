//! XML of a stranger: read with bounds, written with everything escaped.
//!
//! Elements are known by their local names; prefixes are the sender's business. What could grow without bound or reach
//! outside (document types, entities, processing instructions, depth, attributes) is refused, not worked around.

use std::fmt::Write;

use quick_xml::Reader;
use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::{BytesStart, Event};

/// Largest document that is read, bytes.
pub(super) const LARGEST: usize = 1024 * 1024;
/// An answer about 200 orders of 100 lines has about 80,000 elements and would not fit into `LARGEST`.
const MOST_ELEMENTS: usize = 50_000;
const DEEPEST: usize = 16;
const MOST_ATTRIBUTES: usize = 32;

/// Why a document is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum XmlError {
    /// Over 1 MiB, 50,000 elements, 16 levels or 32 attributes.
    #[error("too large or too deep")]
    TooLarge,
    /// A document type, an entity of its own or a processing instruction.
    #[error("document types, entities and processing instructions are refused")]
    Refused,
    /// Not UTF-8.
    #[error("not UTF-8")]
    Encoding,
    /// Not well formed.
    #[error("not well formed")]
    Malformed,
}

/// An element by its local name.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// The first child of that name.
    pub(super) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// All children of that name.
    pub(super) fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The children themselves.
    pub(super) fn into_children(self) -> impl Iterator<Item = Element> {
        self.children.into_iter()
    }

    /// Text of the first child of that name; empty when there is none.
    pub(super) fn text_of(&self, name: &str) -> &str {
        self.child(name).map_or("", |child| child.text.trim())
    }
}

/// Reads a whole document.
///
/// # Errors
/// Every [`XmlError`].
pub(super) fn parse(bytes: &[u8]) -> Result<Element, XmlError> {
    if bytes.len() > LARGEST {
        return Err(XmlError::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| XmlError::Encoding)?;
    let mut reader = Reader::from_str(text);
    let mut open = vec![Element::default()];
    let mut elements = 0;
    loop {
        match reader.read_event().map_err(|_| XmlError::Malformed)? {
            Event::Start(start) => open.push(begin(&start, &mut elements, open.len())?),
            Event::Empty(start) => {
                let element = begin(&start, &mut elements, open.len())?;
                top(&mut open).children.push(element);
            }
            Event::End(_) => {
                let closed = open.pop().ok_or(XmlError::Malformed)?;
                open.last_mut().ok_or(XmlError::Malformed)?.children.push(closed);
            }
            Event::Text(text) => top(&mut open).text.push_str(&text.xml10_content()),
            Event::CData(text) => top(&mut open).text.push_str(&text.xml10_content()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref().map_err(|_| XmlError::Malformed)? {
                Some(character) => top(&mut open).text.push(character),
                None => {
                    let known = resolve_predefined_entity(&reference).ok_or(XmlError::Refused)?;
                    top(&mut open).text.push_str(known);
                }
            },
            Event::DocType(_) | Event::PI(_) => return Err(XmlError::Refused),
            Event::Decl(_) | Event::Comment(_) => {}
            Event::Eof => break,
        }
    }
    let mut outside = open.pop().ok_or(XmlError::Malformed)?;
    match outside.children.pop() {
        Some(root) if open.is_empty() && outside.children.is_empty() && outside.text.trim().is_empty() => Ok(root),
        _ => Err(XmlError::Malformed),
    }
}

fn begin(start: &BytesStart<'_>, elements: &mut usize, depth: usize) -> Result<Element, XmlError> {
    *elements += 1;
    if *elements > MOST_ELEMENTS || depth > DEEPEST {
        return Err(XmlError::TooLarge);
    }
    // Without the check for duplicates, which costs the square of their number (RUSTSEC-2026-0194).
    for (number, attribute) in start.attributes().with_checks(false).enumerate() {
        attribute.map_err(|_| XmlError::Malformed)?;
        if number >= MOST_ATTRIBUTES {
            return Err(XmlError::TooLarge);
        }
    }
    Ok(Element { name: start.local_name().as_ref().to_owned(), ..Element::default() })
}

fn top(open: &mut [Element]) -> &mut Element {
    open.last_mut().expect("an element that was closed without being open ended the loop")
}

/// Builds a document element by element.
#[derive(Default)]
pub(super) struct Writer(String);

impl Writer {
    /// Writes `<w:name>text</w:name>`.
    pub(super) fn leaf(&mut self, name: &str, text: &str) -> &mut Self {
        write!(self.0, "<w:{name}>{}</w:{name}>", escape(allowed(text))).expect("a String takes everything");
        self
    }

    /// Writes a leaf unless the text is empty.
    pub(super) fn optional(&mut self, name: &str, text: &str) -> &mut Self {
        if text.is_empty() { self } else { self.leaf(name, text) }
    }

    /// Writes `<w:name>…</w:name>` around what `inner` writes.
    pub(super) fn node(&mut self, name: &str, inner: impl FnOnce(&mut Self)) -> &mut Self {
        write!(self.0, "<w:{name}>").expect("a String takes everything");
        inner(self);
        write!(self.0, "</w:{name}>").expect("a String takes everything");
        self
    }

    /// The text so far.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// XML 1.0 has no way to write most control characters, not even as references (section 2.2): they become spaces.
fn allowed(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => character,
            _ => ' ',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn any_prefix_and_any_escape_is_read() {
        let root =
            parse(b"<?xml version='1.0'?><a:R xmlns:a='x'><N>A &amp; B &#233;</N><b><![CDATA[<1>]]></b><c/></a:R>")
                .expect("well formed");
        assert_eq!(root.name, "R");
        assert_eq!(
            [root.text_of("N"), root.text_of("b"), root.text_of("c"), root.text_of("none")],
            ["A & B é", "<1>", "", ""]
        );
    }

    #[test]
    fn hostile_documents_are_refused_and_quickly() {
        let deep = format!("{}{}", "<a>".repeat(200_000), "</a>".repeat(100));
        let wide = format!("<a>{}</a>", "<b/>".repeat(200_000));
        let attributes = format!("<a {}/>", (0..80_000).map(|n| format!("a{n}='' ")).collect::<String>());
        let namespaces = format!("<a {}/>", (0..10_000).map(|n| format!("xmlns:n{n}='u' ")).collect::<String>());
        let huge = format!("<a>{}</a>", "x".repeat(LARGEST));
        let bomb = "<!DOCTYPE l [<!ENTITY a \"&b;&b;\"><!ENTITY b \"&c;&c;\"><!ENTITY c \"lol\">]><l>&a;</l>";
        let file = "<!DOCTYPE l SYSTEM \"file:///etc/passwd\"><l/>";
        for (name, xml) in [
            ("deep", deep.as_str()),
            ("wide", &wide),
            ("attributes", &attributes),
            ("namespaces", &namespaces),
            ("huge", &huge),
            ("bomb", bomb),
            ("file", file),
            ("entity", "<a>&secret;</a>"),
            ("instruction", "<?php system('x') ?><a/>"),
            ("unbalanced", "<a><b></a></b>"),
            ("unclosed", "<a>"),
            ("unopened", "</a>"),
            ("two roots", "<a/><b/>"),
            ("text outside", "<a/>x"),
            ("empty", ""),
            ("prose", "502 Bad Gateway"),
            ("bad reference", "<a>&#xFFFFFFFF;</a>"),
            ("nul reference", "<a>&#0;</a>"),
        ] {
            let start = Instant::now();
            assert!(parse(xml.as_bytes()).is_err(), "{name} was read");
            assert!(start.elapsed() < Duration::from_secs(20), "{name} took {:?}", start.elapsed());
        }
        assert!(matches!(parse(b"<a>\xff\xfe</a>"), Err(XmlError::Encoding)));
    }

    proptest! {
        #[test]
        fn every_text_survives_but_for_what_xml_cannot_say(text in "(\\PC|[<>&'\"\\t\\n\\x00-\\x1f]|\\]\\]>){0,40}") {
            let mut writer = Writer::default();
            writer.node("R", |xml| { xml.leaf("T", &text); });
            let document = writer.finish();
            let root = parse(document.as_bytes()).expect("our own XML is well formed");
            let said = allowed(&text);
            prop_assert_eq!(root.text_of("T"), said.trim());
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_markup_makes_the_reader_panic(text in "[<>/&;#a-c!\\[\\]\"'= ?-]{0,200}") {
            let _ = parse(text.as_bytes());
        }
    }

    #[test]
    fn control_characters_become_spaces() {
        let mut writer = Writer::default();
        writer.leaf("T", "a\0b\u{b}c\u{ffff}d");
        assert_eq!(writer.finish(), "<w:T>a b c d</w:T>");
    }
}
