//! A small XML document as a tree: what configurations of buckets are checked, kept and given back as.
//!
//! Invariant: built by the bounded reader only, so its size is bounded by the request's. Any core. Owner:
//! `net/s3`.

use crate::xml::{Path, Visitor, Writer, XmlError, read};

/// One element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name, without namespace.
    pub name: String,
    /// Its character data; empty when it has children.
    pub text: String,
    /// Its children in order.
    pub children: Vec<Element>,
}

impl Element {
    /// Reads a document.
    ///
    /// # Errors
    /// When it is not well-formed or beyond the reader's limits.
    pub fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut builder = Builder::default();
        read(body, &mut builder)?;
        builder.root.ok_or(XmlError::Malformed)
    }

    /// The first child of that name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// All children of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the first child of that name.
    #[must_use]
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }

    /// Writes the children.
    pub fn write_content(&self, xml: &mut Writer<'_>) {
        for child in &self.children {
            child.write(xml);
        }
    }

    /// Writes the element.
    pub fn write(&self, xml: &mut Writer<'_>) {
        if self.children.is_empty() {
            return xml.text(&self.name, &self.text);
        }
        xml.open(&self.name);
        self.write_content(xml);
        xml.close(&self.name);
    }
}

/// Builds the tree from the reader's events.
#[derive(Default)]
struct Builder {
    open: Vec<Element>,
    root: Option<Element>,
}

impl Visitor for Builder {
    fn open(&mut self, path: &Path) -> Result<(), XmlError> {
        self.open.push(Element { name: path.last().to_owned(), ..Element::default() });
        Ok(())
    }

    fn close(&mut self, _: &Path, text: &str) -> Result<(), XmlError> {
        let mut element = self.open.pop().ok_or(XmlError::Malformed)?;
        if element.children.is_empty() {
            text.clone_into(&mut element.text);
        } else if !text.trim().is_empty() {
            return Err(XmlError::Schema);
        }
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
        Ok(())
    }
}
