//! A model of the results that a guest may get, written from the WIT documentation alone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use checkpoint_storage::SchemaChange;

use crate::disk::{Snapshot, What};

pub type Annotations = Vec<(String, String)>;

/// The content of a checkpoint.
#[derive(Clone, Debug)]
pub struct Content {
    /// Includes permission bits, except for links.
    pub tree: BTreeMap<PathBuf, (What, u32)>,
    pub annotations: BTreeMap<String, String>,
    /// The possible schemas. A background save gets the schema that is declared when it is made.
    pub schemas: Vec<Option<String>>,
}

impl Content {
    pub fn of_bytes(bytes: Vec<u8>) -> Self {
        Self {
            tree: [(PathBuf::new(), (What::File(bytes), 0o644))].into(),
            annotations: BTreeMap::new(),
            schemas: Vec::new(),
        }
    }

    pub fn of_disk(snapshot: Snapshot) -> Self {
        let tree = snapshot.into_iter().map(|(path, item)| {
            let mode = match item.what {
                What::Link(_) => 0,
                _ => item.mode,
            };
            (path, (item.what, mode))
        });
        Self {
            tree: tree.collect(),
            annotations: BTreeMap::new(),
            schemas: Vec::new(),
        }
    }

    pub fn size(&self) -> u64 {
        self.files().map(|contents| contents.len() as u64).sum()
    }

    /// Returns the size of the description of the tree: all paths and targets of links, and 64 bytes for each
    /// entry.
    pub fn described(&self) -> u64 {
        let of = |(path, (what, _)): (&PathBuf, &(What, u32))| {
            let target = match what {
                What::Link(target) => target.as_os_str().len(),
                What::File(_) | What::Dir => 0,
            };
            (64 + path.as_os_str().len() + target) as u64
        };
        self.tree.iter().map(of).sum()
    }

    /// Returns the number of bytes that are not zero, which no copy can leave out.
    pub fn dense(&self) -> u64 {
        let dense = |contents: &[u8]| contents.iter().filter(|byte| **byte != 0).count() as u64;
        self.files().map(dense).sum()
    }

    /// Returns the contents of the only file, or the number of files.
    pub fn single(&self) -> Result<&[u8], u64> {
        let files: Vec<_> = self.files().collect();
        match files[..] {
            [file] => Ok(file),
            _ => Err(files.len() as u64),
        }
    }

    fn files(&self) -> impl Iterator<Item = &[u8]> {
        self.tree.values().filter_map(|(what, _)| match what {
            What::File(contents) => Some(contents.as_slice()),
            What::Dir | What::Link(_) => None,
        })
    }
}

/// A possible result of a call that returns the checkpoint.
#[derive(Clone, Debug)]
pub enum Given {
    Nothing,
    Mismatch,
    Checkpoint(Content),
}

/// The state of an attempt, as far as its guest can know it.
#[derive(Debug)]
pub struct Model {
    /// The checkpoint of earlier attempts.
    pub found: Option<Content>,
    /// The candidates for its own newest save.
    own: Vec<Option<Content>>,
    /// Background saves accepted since they were last known to be settled.
    pending: Vec<Content>,
    schema: Option<(String, SchemaChange)>,
}

impl Model {
    pub fn new(found: Option<Content>) -> Self {
        Self {
            found,
            own: vec![None],
            pending: Vec::new(),
            schema: None,
        }
    }

    /// Returns content with annotations and the schema of a save made now.
    pub fn labelled(&self, content: Content, annotations: Annotations) -> Content {
        let schema = self.schema.as_ref().map(|(name, _)| name.clone());
        Content {
            annotations: annotations.into_iter().collect(),
            schemas: vec![schema],
            ..content
        }
    }

    pub fn saved(&mut self, content: Content) {
        self.pending.clear();
        self.own = vec![Some(content)];
    }

    pub fn staged(&mut self, content: Content) {
        self.pending.push(content);
    }

    /// Records that all background saves have succeeded.
    pub fn settled(&mut self) {
        if let Some(newest) = self.pending.pop() {
            self.saved(newest);
        }
    }

    /// Records that background saves may have failed or may still be in flight.
    pub fn unsettled(&mut self) {
        self.own.extend(self.pending.drain(..).map(Some));
    }

    pub fn declared(&mut self, name: String, change: SchemaChange) {
        let unsure = self.own.len() > 1;
        let own = self.own.iter_mut().flatten().filter(|_| unsure);
        for content in own.chain(&mut self.pending) {
            content.schemas.push(Some(name.clone()));
        }
        self.schema = Some((name, change));
    }

    /// Returns the result of a read while the attempt has no save of its own.
    pub fn given_of_found(&self) -> Given {
        let Some(found) = self.found.clone() else {
            return Given::Nothing;
        };
        match &self.schema {
            Some((name, change)) if found.schemas != [Some(name.clone())] => match change {
                SchemaChange::Refuse => Given::Mismatch,
                SchemaChange::StartFresh => Given::Nothing,
                SchemaChange::Allow => Given::Checkpoint(found),
            },
            _ => Given::Checkpoint(found),
        }
    }

    /// Returns the possible results that match what a call returned, and rules out the others.
    #[track_caller]
    pub fn gave(&mut self, fits: impl Fn(&Given) -> bool) -> Vec<Given> {
        let of_found = self.given_of_found();
        let mut fitting = Vec::new();
        let mut others = Vec::new();
        self.own.retain(|own| {
            let given = match own {
                Some(own) => Given::Checkpoint(own.clone()),
                None => of_found.clone(),
            };
            let fit = fits(&given);
            match fit {
                true => fitting.push(given),
                false => others.push(given),
            }
            fit
        });
        assert!(!fitting.is_empty(), "the result is none of {others:?}");
        fitting
    }

    /// Returns what the next attempt may find.
    pub fn left(&self) -> Vec<Option<Content>> {
        let pending = self.pending.iter().cloned().map(Some);
        let left = self.own.iter().cloned().chain(pending);
        left.map(|own| own.or_else(|| self.found.clone())).collect()
    }
}
