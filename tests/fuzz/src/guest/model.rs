//! What a guest may be given, by the words of the WIT package and nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use checkpoint_storage::SchemaChange;

use crate::disk::{Snapshot, What};

pub type Annotations = Vec<(String, String)>;

/// What a checkpoint holds.
#[derive(Clone, Debug)]
pub struct Content {
    /// With permission bits, but for links.
    pub tree: BTreeMap<PathBuf, (What, u32)>,
    pub annotations: BTreeMap<String, String>,
    /// Any of these: one that is saved in the background gets the schema that is declared then.
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

    /// The contents of the only file, or the number of files.
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

/// What a call that gives the checkpoint may say.
#[derive(Clone, Debug)]
pub enum Given {
    Nothing,
    Mismatch,
    Checkpoint(Content),
}

/// What an attempt has, as far as its guest can know.
#[derive(Debug)]
pub struct Model {
    /// What earlier attempts left.
    pub found: Option<Content>,
    /// The newest save of its own: any of these.
    own: Vec<Option<Content>>,
    /// What was taken to be saved in the background since that was last settled.
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

    /// A content that is saved now.
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

    /// Nothing is saved in the background any more, and nothing went wrong.
    pub fn settled(&mut self) {
        if let Some(newest) = self.pending.pop() {
            self.saved(newest);
        }
    }

    /// Something may have gone wrong in the background, or goes on there.
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

    /// What is given where nothing of its own is.
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

    /// What a call gave, after it was settled: those that `fit`. The others are ruled out.
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
        assert!(!fitting.is_empty(), "what was given is none of {others:?}");
        fitting
    }

    /// What the next attempt may find.
    pub fn left(&self) -> Vec<Option<Content>> {
        let pending = self.pending.iter().cloned().map(Some);
        let left = self.own.iter().cloned().chain(pending);
        left.map(|own| own.or_else(|| self.found.clone())).collect()
    }
}
