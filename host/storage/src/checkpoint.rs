//! A committed checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures::future::join_all;
use futures::stream::{BoxStream, StreamExt};
use futures::{FutureExt, TryFutureExt};
use object_store::ObjectStoreExt;

use crate::contents::read::{self, READS};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Chunk, Commit, Described, Description, ObjectRef};
use crate::limits::Limits;
use crate::location::OpenLocation;
use crate::log::history::History;
use crate::metadata::Metadata;
use crate::paths;
use crate::tree::Tree;

/// The largest contents that are read into memory as a whole: what a 32-bit guest can address. If
/// this code itself runs in such a guest, only a part of that, because growing memory is copied.
const MAX_WHOLE_BYTES: u64 = match cfg!(target_pointer_width = "32") {
    true => 1 << 29,
    false => u32::MAX as u64,
};

/// How many data objects are looked for one by one, all at once. More are listed instead.
const MAX_HEADS: usize = 16;

/// The facts about a checkpoint that are known without reading its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointInfo {
    /// Its position in the log of its location.
    pub sequence: u64,
    /// The number of the attempt that saved it, counted from 0.
    pub attempt: u32,
    /// When it was saved, by the clock of the host that saved it.
    pub saved_at: SystemTime,
    /// The size of its contents.
    pub logical_bytes: u64,
    /// The number of its files.
    pub files: u64,
    /// The URL of the location that holds it.
    pub location: String,
    /// The task's metadata for it.
    pub metadata: Metadata,
}

/// A committed checkpoint of a location, to inspect or restore without an
/// [`Attempt`](crate::Attempt). Cloning it is cheap. A running attempt may prune its data at any
/// time.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub(crate) location: OpenLocation,
    pub(crate) sequence: u64,
    pub(crate) commit: Arc<Commit>,
    /// The size of its record.
    pub(crate) record_bytes: u64,
}

impl Checkpoint {
    /// Returns the files that it holds, after checking that they are within the limits. Reads the description of the
    /// checkpoint, if that is not small.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`] if it exceeds the limits; [`ErrorKind::Corrupt`] if it is damaged;
    /// [`ErrorKind::Unavailable`], also if a running attempt has pruned it meanwhile.
    pub async fn tree(&self, limits: &Limits) -> Result<Tree> {
        let description = self.explained(self.describe(limits).await).await?;
        Ok(Arc::unwrap_or_clone(description).tree)
    }

    /// Returns what is known of it without reading its contents.
    pub fn info(&self) -> CheckpointInfo {
        let Commit {
            attempt,
            saved_at,
            description,
            metadata,
            ..
        } = &*self.commit;
        CheckpointInfo {
            sequence: self.sequence,
            attempt: *attempt,
            saved_at: *saved_at,
            logical_bytes: description.contents_bytes(),
            files: description.files(),
            location: self.location.url().to_owned(),
            metadata: metadata.clone(),
        }
    }

    /// Reads the contents of its only file and verifies them. For contents larger than memory, see
    /// [`contents`](Self::contents).
    ///
    /// # Errors
    /// [`ErrorKind::NotSingle`] if it does not hold exactly one file; [`ErrorKind::QuotaExceeded`]
    /// if it exceeds the limits, before anything is fetched; [`ErrorKind::Corrupt`] if it is
    /// damaged; [`ErrorKind::Unavailable`], also if a running attempt has pruned it meanwhile.
    pub async fn read(&self, limits: &Limits) -> Result<Bytes> {
        self.check_read(limits)?;
        self.explained(self.read_single().await).await
    }

    /// Checks what [`read`](Self::read) checks before anything is fetched.
    pub(crate) fn check_read(&self, limits: &Limits) -> Result<()> {
        self.check_limits(limits)?;
        self.check_single()?;
        limits.check_read(self.commit.description.contents_bytes())
    }

    /// Checks the limits, as far as they can be checked before anything is fetched.
    fn check_limits(&self, limits: &Limits) -> Result<()> {
        match &self.commit.description {
            Described::Here(description) => limits.check_tree(&description.tree),
            Described::Stored { root, .. } => {
                limits.check_entries(usize::try_from(root.entries).unwrap_or(usize::MAX))?;
                // An entry takes less to encode than what it counts as.
                limits.check_description(root.entries_bytes)?;
                limits.check_size(root.contents_bytes)
            }
        }
    }

    /// Reads its description.
    pub(crate) async fn load(&self, nodes: &mut Vec<Chunk>) -> Result<Arc<Description>> {
        read::description(&self.location, &self.commit, nodes).await
    }

    /// Reads its description, if it is within the limits.
    pub(crate) async fn describe(&self, limits: &Limits) -> Result<Arc<Description>> {
        self.check_limits(limits)?;
        let description = self.load(&mut Vec::new()).await?;
        limits.check_tree(&description.tree)?;
        Ok(description)
    }

    /// Reads and verifies its contents without returning them.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it is damaged; [`ErrorKind::Unavailable`], also if a running attempt has
    /// pruned it meanwhile.
    pub async fn verify(&self) -> Result<()> {
        self.explained(self.read_through().await).await
    }

    /// Reads and verifies its description and its contents, each stored block once. To a caller that does not own the
    /// location, a checkpoint that was pruned meanwhile looks damaged.
    pub(crate) async fn read_through(&self) -> Result<()> {
        let description = self.load(&mut Vec::new()).await?;
        read::verify(&self.location, description.contents.chunks()).await
    }

    /// Returns whether its data objects are known to be there, each with its size.
    pub(crate) async fn has_its_objects(&self) -> bool {
        let objects = &self.commit.objects;
        if objects.len() > MAX_HEADS {
            let listed = read::list_objects(&self.location).await.unwrap_or_default();
            let listed: BTreeMap<_, _> = listed.into_iter().collect();
            let is_there = |o: &ObjectRef| listed.get(&o.name()) == Some(&o.size_bytes);
            return objects.iter().all(is_there);
        }
        let heads = objects.iter().map(|o| self.has_object(*o).boxed());
        let are_there = join_all(heads).await;
        are_there.into_iter().all(|is_there| is_there)
    }

    async fn has_object(&self, object: ObjectRef) -> bool {
        let path = paths::object(self.location.prefix(), object.name());
        let head = self.location.store().head(&path).await;
        head.is_ok_and(|found| found.size == object.size_bytes)
    }

    /// Returns whether its location has pruned it.
    pub(crate) async fn is_pruned(&self) -> Result<bool> {
        let history = History::load(&self.location).await?;
        Ok(!history.retained().contains(&self.sequence))
    }

    /// Converts damage that is none, because a running attempt has pruned the checkpoint.
    pub(crate) async fn explained<T>(&self, read: Result<T>) -> Result<T> {
        match read {
            Err(error) if error.kind() == ErrorKind::Corrupt && self.is_pruned().await? => {
                let what = format!(
                    "{}: a running attempt pruned checkpoint {} while it was read; try again",
                    self.location, self.sequence
                );
                Err(Error::new(ErrorKind::Unavailable, what))
            }
            read => read,
        }
    }

    /// Returns whether both are the same checkpoint of the same location.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.sequence == other.sequence && self.location.url() == other.location.url()
    }

    /// # Errors
    /// `NotSingle` if it does not hold exactly one file.
    pub(crate) fn check_single(&self) -> Result<()> {
        match self.commit.description.files() {
            1 => Ok(()),
            files => Err(Error::new(
                ErrorKind::NotSingle(files),
                format!(
                    "checkpoint {} holds {files} files, expected one",
                    self.sequence
                ),
            )),
        }
    }

    /// Reads the contents of the only file.
    pub(crate) async fn read_single(&self) -> Result<Bytes> {
        self.check_single()?;
        let size = self.commit.description.contents_bytes();
        let size = Some(size).filter(|size| *size <= MAX_WHOLE_BYTES);
        let Some(size) = size.and_then(|size| usize::try_from(size).ok()) else {
            return Err(Error::new(
                ErrorKind::QuotaExceeded,
                "the checkpoint is too large to read into memory; restore it to a file",
            ));
        };
        let mut contents = self.contents();
        let Some(first) = contents.next().await.transpose()? else {
            return Ok(Bytes::new());
        };
        if first.len() == size {
            return Ok(first);
        }
        // Allocate for what was verified, not for what the record promises.
        let mut whole =
            BytesMut::with_capacity(size.min(READS * self.location.environment().sizes().read));
        whole.extend_from_slice(&first);
        while let Some(piece) = contents.next().await.transpose()? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// Returns the contents of all its files, concatenated in the order of [`tree`](Self::tree), in
    /// pieces of a few MiB at most. Each piece is verified before it is returned. The stream ends
    /// at the first error, which is one of those of [`read`](Self::read).
    pub fn contents(&self) -> BoxStream<'static, Result<Bytes>> {
        let this = self.clone();
        let description = async move {
            let description = this.load(&mut Vec::new()).await?;
            Ok::<_, Error>(read::pieces(&this.location, description))
        };
        description.try_flatten_stream().boxed()
    }
}
