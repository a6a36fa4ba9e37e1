//! XML elements of a stream, bounded in depth and in size.

use crate::probe::xml;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;

/// Elements within elements.
const DEPTH: usize = 16;
/// Elements of one stanza.
const ELEMENTS: usize = 2000;
/// Bytes of one stanza's texts and attributes.
const BYTES: usize = 64 * 1024;

/// An element with what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// Without its prefix.
    pub name: String,
    pub namespace: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
    pub text: String,
}

impl Element {
    pub fn is(&self, name: &str, namespace: &str) -> bool {
        self.name == name && self.namespace == namespace
    }

    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn child(&self, name: &str, namespace: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.is(name, namespace))
    }

    /// The name of the first element in it: what an error is called.
    pub fn condition(&self) -> &str {
        self.children.first().map_or("unknown", |child| child.name.as_str())
    }
}

/// Builds elements from the events of a reader.
#[derive(Default)]
pub(super) struct Builder {
    /// The elements that are open, the outermost first.
    open: Vec<Element>,
    elements: usize,
    bytes: usize,
}

/// What an event has led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Built {
    /// Nothing whole yet.
    More,
    /// A whole element.
    Whole(Element),
    /// The end of the element around all.
    End,
}

impl Builder {
    /// Takes an event; an error says why the stream is not what it should be.
    pub fn take(&mut self, namespace: &ResolveResult<'_>, event: &Event<'_>) -> Result<Built, String> {
        match event {
            Event::Start(start) => {
                self.begin(namespace, start)?;
                Ok(Built::More)
            }
            Event::Empty(start) => {
                self.begin(namespace, start)?;
                Ok(self.end())
            }
            Event::End(_) => Ok(self.end()),
            Event::Text(text) => self.text(&text.xml10_content()),
            Event::CData(text) => self.text(&text.xml10_content()),
            Event::GeneralRef(reference) => {
                let character = xml::character(reference).ok_or("a reference to an entity")?;
                self.text(character.encode_utf8(&mut [0; 4]))
            }
            Event::Decl(_) => Ok(Built::More),
            // RFC 6120, 11.1: none of them is in a stream.
            Event::Comment(_) | Event::PI(_) | Event::DocType(_) => Err("restricted XML".to_owned()),
            Event::Eof => Err("it ends within an element".to_owned()),
        }
    }

    fn begin(&mut self, namespace: &ResolveResult<'_>, start: &BytesStart<'_>) -> Result<(), String> {
        self.elements += 1;
        let element = element(namespace, start)?;
        self.spend(element.attributes.iter().map(|(name, value)| name.len() + value.len()).sum())?;
        if self.open.len() >= DEPTH || self.elements > ELEMENTS {
            return Err(format!("more than {DEPTH} elements within each other, or {ELEMENTS} in one"));
        }
        self.open.push(element);
        Ok(())
    }

    fn end(&mut self) -> Built {
        let Some(element) = self.open.pop() else { return Built::End };
        if let Some(parent) = self.open.last_mut() {
            parent.children.push(element);
            return Built::More;
        }
        (self.elements, self.bytes) = (0, 0);
        Built::Whole(element)
    }

    fn text(&mut self, text: &str) -> Result<Built, String> {
        self.spend(text.len())?;
        if let Some(element) = self.open.last_mut() {
            element.text.push_str(text);
        }
        Ok(Built::More)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        self.bytes += bytes;
        if self.bytes > BYTES { Err(format!("an element of more than {BYTES} bytes")) } else { Ok(()) }
    }
}

/// An element without what is in it.
pub(super) fn element(namespace: &ResolveResult<'_>, start: &BytesStart<'_>) -> Result<Element, String> {
    let namespace = match namespace {
        ResolveResult::Bound(namespace) => namespace.as_ref().to_owned(),
        ResolveResult::Unbound => String::new(),
        ResolveResult::Unknown(_) => return Err("a prefix without a namespace".to_owned()),
    };
    let attributes = start.attributes().map(|attribute| {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let value =
            attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0).map_err(|error| error.to_string())?;
        Ok((attribute.key.as_ref().to_owned(), value.into_owned()))
    });
    Ok(Element {
        name: start.local_name().as_ref().to_owned(),
        namespace,
        attributes: attributes.collect::<Result<_, String>>()?,
        ..Element::default()
    })
}

/// The one element of a whole document.
pub(super) fn parse(document: &str) -> Result<Element, String> {
    let mut reader = quick_xml::NsReader::from_str(document);
    let mut builder = Builder::default();
    loop {
        let (namespace, event) = reader.read_resolved_event().map_err(|error| error.to_string())?;
        if let Built::Whole(element) = builder.take(&namespace, &event)? {
            return Ok(element);
        }
    }
}

/// A text as it stands in XML.
pub(super) fn escaped(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_know_their_namespaces() {
        let parsed = parse("<a xmlns='u:a' xmlns:b='u:b' x='1 &amp; 2'><b:c>t&lt;</b:c><d/></a>").unwrap();
        assert!(parsed.is("a", "u:a"));
        assert_eq!(parsed.attribute("x"), Some("1 & 2"));
        assert_eq!(parsed.child("c", "u:b").unwrap().text, "t<");
        assert!(parsed.child("d", "u:a").is_some());
    }

    #[test]
    fn what_is_without_bounds_or_restricted_is_refused() {
        assert!(parse(&"<a>".repeat(100)).is_err());
        assert!(parse(&format!("<a>{}</a>", "<b/>".repeat(3000))).is_err());
        assert!(parse(&format!("<a>{}</a>", "x".repeat(70_000))).is_err());
        assert!(parse("<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>").is_err());
        assert!(parse("<a>&x;</a>").is_err());
        assert!(parse("<a><!-- --></a>").is_err());
        assert!(parse("<p:a/>").is_err());
        assert!(parse("<a><b></a>").is_err());
        assert!(parse("").is_err());
    }
}
