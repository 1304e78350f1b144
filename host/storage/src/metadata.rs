//! What a task says about a checkpoint.

use std::collections::BTreeMap;

/// What a task says about a checkpoint beside its contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// Text for people and tools: a step, a loss. Nothing relies on it.
    pub annotations: BTreeMap<String, String>,
    /// The name of the contents' form, so that a task that changed it can tell what it finds.
    pub schema: Option<String>,
}

impl Metadata {
    /// These annotations, and no schema.
    pub fn annotated(annotations: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            annotations: annotations.into_iter().collect(),
            schema: None,
        }
    }

    /// The size of all of it.
    pub(crate) fn size_bytes(&self) -> usize {
        let annotations = self.annotations.iter();
        let annotations = annotations.map(|(key, value)| key.len() + value.len());
        annotations.sum::<usize>() + self.schema.as_ref().map_or(0, String::len)
    }
}
