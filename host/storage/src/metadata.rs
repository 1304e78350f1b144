//! The metadata that a task attaches to a checkpoint.

use std::collections::BTreeMap;

/// The metadata that a task attaches to a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// Text for people and tools, such as a step or a loss. Nothing relies on it.
    pub annotations: BTreeMap<String, String>,
    /// The name of the contents' schema, so that a task that has changed it can tell which one it
    /// finds.
    pub schema: Option<String>,
}

impl Metadata {
    /// Returns metadata with these annotations and no schema.
    pub fn annotated(annotations: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            annotations: annotations.into_iter().collect(),
            schema: None,
        }
    }

    /// Returns the total size, in bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        let annotations = self.annotations.iter();
        let annotations = annotations.map(|(key, value)| key.len() + value.len());
        annotations.sum::<usize>() + self.schema.as_ref().map_or(0, String::len)
    }
}
