//! Saves and restores of files and directories, with handles and paths of all kinds.

use std::fs;
use std::path::{Path, PathBuf};

use wasmtime_checkpoint::bindings::task::checkpoint::files::{Existing, Host as _};
use wasmtime_checkpoint::bindings::task::checkpoint::types::Error;

use super::model::{Annotations, Content, Given};
use super::{Guest, Handle};
use crate::disk::{MARKER, Sandbox, snapshot};

impl Guest {
    /// Returns whether the handle and the path are valid, and what exists there.
    fn look(&self, disk: &Sandbox, handle: Handle, path: &str) -> Look {
        let is_dir = matches!(handle, Handle::Dir | Handle::ReadOnly);
        let plain = !path.starts_with('/') && !path.contains('\0') && path.len() <= 4096;
        if !is_dir || !plain || path.split('/').any(|component| component == "..") {
            return Look::Refused;
        }
        let inside = fs::canonicalize(disk.inside()).unwrap();
        let Ok(at) = fs::canonicalize(inside.join(path)) else {
            return Look::Refused;
        };
        if !at.starts_with(&inside) || at.join(MARKER).symlink_metadata().is_ok() {
            return Look::Refused;
        }
        // A path that goes through a link may be refused: a link that leads out is refused, wherever it ends.
        let plain: PathBuf = Path::new(path).components().collect();
        let is_sure = at == inside.join(plain);
        Look::There(Content::of_disk(snapshot(&at)), is_sure)
    }

    /// Returns whether a call with this handle traps, because it is not a valid handle.
    fn traps(handle: Handle) -> bool {
        matches!(handle, Handle::Dropped | Handle::Forged(_))
    }

    pub async fn save(&mut self, disk: &Sandbox, at: (Handle, &str), annotations: Annotations) {
        let (handle, path) = at;
        let (dir, said) = (self.handle(handle), annotations.clone());
        let answer = self.view().save(dir, path.to_owned(), annotations).await;
        let Ok(answer) = answer else {
            return assert!(Self::traps(handle), "trapped");
        };
        match self.source(disk, at, answer.as_ref().err()) {
            Some(content) => {
                let content = self.model.labelled(content, said);
                self.check_saved(answer, content);
            }
            None => assert!(answer.is_err(), "{path:?} was saved but must be refused"),
        }
    }

    pub async fn save_in_background(
        &mut self,
        disk: &Sandbox,
        at: (Handle, &str),
        annotations: Annotations,
    ) {
        let (handle, path) = at;
        let (dir, said) = (self.handle(handle), annotations.clone());
        let answer = self
            .view()
            .save_in_background(dir, path.to_owned(), annotations)
            .await;
        let Ok(answer) = answer else {
            return assert!(Self::traps(handle), "trapped");
        };
        match (self.source(disk, at, answer.as_ref().err()), answer) {
            (Some(content), Ok(())) => {
                assert!(content.dense() <= self.limits.spool_bytes);
                self.check_content(&content);
                let content = self.model.labelled(content, said);
                self.model.staged(content);
            }
            (Some(_), Err(error)) => self.check_error(&error),
            (None, answer) => assert!(answer.is_err(), "{path:?} was saved but must be refused"),
        }
    }

    /// Returns the content that a save must store, or `None` if the save was correctly refused.
    fn source(
        &mut self,
        disk: &Sandbox,
        at: (Handle, &str),
        error: Option<&Error>,
    ) -> Option<Content> {
        let (handle, path) = at;
        assert!(!Self::traps(handle), "an invalid handle was accepted");
        match (self.look(disk, handle, path), error) {
            (Look::There(content, _), None) => Some(content),
            (Look::There(content, _), Some(Error::Fenced | Error::QuotaExceeded(_))) => {
                Some(content)
            }
            (Look::There(_, true), Some(Error::InvalidPath(text))) => panic!("{text}"),
            // A loop of links has no error kind of its own.
            (_, Some(Error::InvalidPath(_) | Error::Other(_))) => {
                self.model.unsettled();
                None
            }
            (Look::Refused, Some(error)) => {
                self.check_error(error);
                None
            }
            (_, error) => panic!("{path:?}: {error:?}"),
        }
    }

    pub async fn restore(&mut self, disk: &Sandbox, at: (Handle, &str), replace: bool) {
        let (handle, path) = at;
        let existing = match replace {
            true => Existing::Replace,
            false => Existing::Refuse,
        };
        let before = snapshot(&disk.inside());
        let dir = self.handle(handle);
        let answer = self.view().restore(dir, path.to_owned(), existing).await;
        let after = snapshot(&disk.inside());
        let Ok(answer) = answer else {
            return assert!(Self::traps(handle), "trapped");
        };
        assert!(!Self::traps(handle), "an invalid handle was accepted");
        match answer {
            Ok(None) => {
                self.model.settled();
                self.model.gave(|given| matches!(given, Given::Nothing));
                assert_eq!(after, before);
            }
            Ok(Some(_)) => {
                assert_eq!(handle, Handle::Dir);
                let Look::There(found, _) = self.look(disk, handle, path) else {
                    panic!("{path:?}: the restore succeeded, but nothing is there");
                };
                self.check_content(&found);
                self.model.settled();
                self.model.gave(|given| match given {
                    Given::Checkpoint(content) => content.tree == found.tree,
                    _ => false,
                });
            }
            Err(error) => {
                assert_eq!(after, before, "{error:?}");
                match error {
                    Error::ReadOnly(_) => assert_eq!(handle, Handle::ReadOnly),
                    Error::SchemaMismatch(_) => self.mismatch(),
                    Error::InvalidPath(_) | Error::Other(_) => {}
                    error => self.check_error(&error),
                }
            }
        }
    }
}

enum Look {
    Refused,
    /// What exists there, and whether it must be accepted.
    There(Content, bool),
}
