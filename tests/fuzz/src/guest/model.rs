//! A model of the answers that the WIT package permits.

use std::collections::BTreeMap;
use std::path::PathBuf;

use checkpoint_storage::SchemaChange;

use crate::disk::{Snapshot, What};

pub type Annotations = Vec<(String, String)>;

/// The contents of a checkpoint.
#[derive(Clone, Debug)]
pub struct Content {
    /// Entries and their permission bits, which links do not have.
    pub tree: BTreeMap<PathBuf, (What, u32)>,
    pub annotations: BTreeMap<String, String>,
    /// The possible schemas. A background save gets the schema that is declared when it runs.
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

    /// Returns the contents of the only file, or the number of files if there is not exactly one.
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

/// The possible answers of a call that returns the checkpoint.
#[derive(Clone, Debug)]
pub enum Given {
    Nothing,
    Mismatch,
    Checkpoint(Content),
}

/// The state of an attempt, as far as its guest can know.
#[derive(Debug)]
pub struct Model {
    /// The checkpoint that earlier attempts left.
    pub found: Option<Content>,
    /// The candidates for the attempt's own newest save.
    own: Vec<Option<Content>>,
    /// The background saves that were staged since the model was last settled.
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

    /// Adds the annotations and the current schema to contents.
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

    /// Records that all background saves succeeded.
    pub fn settled(&mut self) {
        if let Some(newest) = self.pending.pop() {
            self.saved(newest);
        }
    }

    /// Records that background saves may have failed or may still run.
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

    /// The answer if the attempt has no save of its own.
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

    /// Rules out the candidates that do not fit the answer of a call. Returns the ones that fit.
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
        assert!(!fitting.is_empty(), "the answer fits none of {others:?}");
        fitting
    }

    /// The candidates for what the next attempt finds.
    pub fn left(&self) -> Vec<Option<Content>> {
        let pending = self.pending.iter().cloned().map(Some);
        let left = self.own.iter().cloned().chain(pending);
        left.map(|own| own.or_else(|| self.found.clone())).collect()
    }
}
