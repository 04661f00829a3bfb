//! SOAP 1.1 envelopes: a bounded, prefix-tolerant reader and the writer of answers.

use std::fmt::Write;

use quick_xml::Reader;
use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::Event;

/// Elements nested deeper, or more of them, are refused before they cost memory.
const DEEPEST: usize = 16;
const MOST_ELEMENTS: usize = 20_000;
const NAMESPACE: &str = "urn:legacy-wms:v1";

/// The body is not the XML we can read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    #[error("not well-formed XML: {0}")]
    Xml(String),
    #[error("document types and unknown entities are refused")]
    Entity,
    #[error("too many or too deeply nested elements")]
    TooLarge,
    #[error("no SOAP envelope with a body and a request in it")]
    NoRequest,
}

/// An element by its local name, whatever the prefix.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    pub(super) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    pub(super) fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    pub(super) fn text(&self) -> &str {
        self.text.trim()
    }

    /// The text of a child that must be there and not be empty.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.child(name).map(Element::text).filter(|t| !t.is_empty())
    }
}

/// Takes the request element out of `Envelope/Body`.
///
/// # Errors
/// Not well-formed, too large, or not a SOAP request.
pub(super) fn request(xml: &str) -> Result<Element, Malformed> {
    let root = parse(xml)?;
    let mut body = (root.name == "Envelope")
        .then_some(root)
        .and_then(|mut root| {
            let at = root.children.iter().position(|c| c.name == "Body")?;
            Some(root.children.swap_remove(at))
        })
        .ok_or(Malformed::NoRequest)?;
    if body.children.is_empty() {
        return Err(Malformed::NoRequest);
    }
    Ok(body.children.swap_remove(0))
}

fn parse(xml: &str) -> Result<Element, Malformed> {
    let mut reader = Reader::from_str(xml);
    let mut open = vec![Element::default()];
    let mut elements = 0;
    loop {
        let event = reader.read_event().map_err(|error| Malformed::Xml(error.to_string()))?;
        match event {
            Event::Start(start) => {
                elements += 1;
                if elements > MOST_ELEMENTS || open.len() > DEEPEST {
                    return Err(Malformed::TooLarge);
                }
                open.push(named(start.local_name().as_ref()));
            }
            Event::Empty(start) => {
                elements += 1;
                if elements > MOST_ELEMENTS {
                    return Err(Malformed::TooLarge);
                }
                top(&mut open).children.push(named(start.local_name().as_ref()));
            }
            Event::End(_) => {
                let closed = open.pop().expect("the reader balances tags");
                top(&mut open).children.push(closed);
            }
            Event::Text(text) => top(&mut open).text.push_str(&text.xml10_content()),
            Event::CData(text) => top(&mut open).text.push_str(&text),
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().map_err(|_| Malformed::Entity)?;
                match (character, resolve_predefined_entity(&reference)) {
                    (Some(character), _) => top(&mut open).text.push(character),
                    (None, Some(text)) => top(&mut open).text.push_str(text),
                    (None, None) => return Err(Malformed::Entity),
                }
            }
            Event::DocType(_) => return Err(Malformed::Entity),
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    let mut root = open.pop().expect("the bottom of the stack is never popped");
    match (open.is_empty(), root.children.pop()) {
        (true, Some(envelope)) if root.children.is_empty() => Ok(envelope),
        _ => Err(Malformed::Xml("one complete root element expected".into())),
    }
}

fn named(name: &str) -> Element {
    Element { name: name.to_owned(), ..Element::default() }
}

fn top(open: &mut [Element]) -> &mut Element {
    open.last_mut().expect("the bottom of the stack is never popped")
}

/// Builds an answer element by element.
pub(super) struct Xml(String);

impl Xml {
    /// Writes `<name>text</name>`.
    pub(super) fn leaf(&mut self, name: &str, text: &str) -> &mut Self {
        write!(self.0, "<w:{name}>{}</w:{name}>", escape(text)).expect("writing to a string never fails");
        self
    }

    /// Writes `<name>…</name>` with what `inner` adds.
    pub(super) fn node(&mut self, name: &str, inner: impl FnOnce(&mut Self)) -> &mut Self {
        write!(self.0, "<w:{name}>").expect("writing to a string never fails");
        inner(self);
        write!(self.0, "</w:{name}>").expect("writing to a string never fails");
        self
    }
}

/// A SOAP answer around the element `name`.
pub(super) fn response(name: &str, inner: impl FnOnce(&mut Xml)) -> String {
    let mut xml = Xml(String::new());
    xml.node(name, inner);
    envelope(&xml.0)
}

/// A SOAP Fault; `side` is `Client` or `Server`.
pub(super) fn fault(side: &str, code: &str, message: &str) -> String {
    envelope(&format!(
        "<soap:Fault><faultcode>soap:{side}</faultcode><faultstring>{code}</faultstring>\
         <detail><Message>{}</Message></detail></soap:Fault>",
        escape(message)
    ))
}

fn envelope(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
         <soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:w=\"{NAMESPACE}\"><soap:Body>{body}</soap:Body></soap:Envelope>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_body(inner: &str) -> String {
        format!("<E:Envelope xmlns:E=\"x\"><E:Header/><E:Body>{inner}</E:Body></E:Envelope>")
    }

    #[test]
    fn any_prefix_and_any_escape_is_read() {
        let xml = in_body("<a:Op><a:Name>A &amp; B &#233;</a:Name><b><![CDATA[<1>]]></b></a:Op>");
        let request = request(&xml).unwrap();
        assert_eq!(request.name, "Op");
        assert_eq!(request.field("Name"), Some("A & B é"));
        assert_eq!(request.field("b"), Some("<1>"));
    }

    #[test]
    fn hostile_or_broken_documents_are_refused() {
        let deep = format!("{}{}", "<a>".repeat(40), "</a>".repeat(40));
        for xml in [
            "",
            "hello",
            "<Envelope><Body><Op></Body></Envelope>",
            "<Envelope><Body><Op>",
            "<Envelope><Body/></Envelope>",
            "<!DOCTYPE x [<!ENTITY a \"b\">]><Envelope><Body><Op>&a;</Op></Body></Envelope>",
            &in_body(&deep),
        ] {
            assert!(request(xml).is_err(), "{xml}");
        }
    }
}
