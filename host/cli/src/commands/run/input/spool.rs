//! A copy of what is read from a pipe or a terminal, so that another attempt can read it again.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{PIECE_BYTES, Piece, read_at};

/// The most that is kept. Whoever pipes more is better off with a file, which is read again where it is.
const MOST_BYTES: u64 = 64 << 20;

/// A source, and a copy of what has been read of it, in a file without a name.
#[derive(Debug)]
pub(in crate::commands::run) struct Spool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    copy: File,
    most_bytes: u64,
    state: Mutex<State>,
    /// Somebody wants more than there is.
    wanted: Condvar,
    /// There is more, or nothing more will come.
    come: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// How much of the source the copy holds.
    kept_bytes: u64,
    /// What was read behind that and is not kept, and where in the source it begins.
    passing: Bytes,
    passing_from: u64,
    /// Why nothing more is kept.
    lost: Option<String>,
    /// Nothing more comes: the end, or an error.
    ended: Option<Result<(), io::ErrorKind>>,
    wanted: bool,
}

impl Spool {
    /// Reads `source` on a thread of its own, and only as much as is asked for. A thread that is blocked in a read ends
    /// with the process, and keeps nobody waiting.
    ///
    /// # Errors
    /// If there is no temporary file, or no thread.
    pub(super) fn new(source: impl Read + Send + 'static) -> io::Result<Self> {
        Self::with_cap(source, MOST_BYTES)
    }

    fn with_cap(source: impl Read + Send + 'static, most_bytes: u64) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            copy: tempfile::tempfile()?,
            most_bytes,
            state: Mutex::default(),
            wanted: Condvar::new(),
            come: Notify::new(),
        });
        let reader = shared.clone();
        std::thread::Builder::new()
            .name("stdin".into())
            .spawn(move || reader.read_all(source))?;
        Ok(Self { shared })
    }

    /// Why what has been read cannot be read again, if it cannot.
    pub(super) fn lost(&self) -> Option<String> {
        self.shared.state().lost.clone()
    }

    /// What lies at a position, which is that of an attempt.
    pub(super) fn read(&self, position: u64, most: usize) -> io::Result<Piece> {
        let mut state = self.shared.state();
        if position < state.kept_bytes {
            let left = usize::try_from(state.kept_bytes - position).unwrap_or(usize::MAX);
            return read_at(&self.shared.copy, position, most.min(left)).map(Piece::Bytes);
        }
        if let Some(piece) = state.passing_at(position) {
            return Ok(Piece::Bytes(piece.slice(..most.min(piece.len()))));
        }
        match state.ended {
            Some(Ok(())) => Ok(Piece::End),
            Some(Err(error)) => Err(error.into()),
            None => {
                self.shared.want(&mut state);
                Ok(Piece::Pending)
            }
        }
    }

    /// Waits until [`read`](Self::read) at this position gives something.
    pub(super) async fn wait(&self, position: u64) {
        loop {
            // Before the look, or what comes in between would be missed.
            let come = self.shared.come.notified();
            {
                let mut state = self.shared.state();
                if state.has(position) {
                    return;
                }
                self.shared.want(&mut state);
            }
            come.await;
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.ended.get_or_insert(Ok(()));
        self.shared.wanted.notify_all();
    }
}

impl State {
    fn has(&self, position: u64) -> bool {
        position < self.kept_bytes || self.passing_at(position).is_some() || self.ended.is_some()
    }

    fn passing_at(&self, position: u64) -> Option<Bytes> {
        let skipped = usize::try_from(position.checked_sub(self.passing_from)?).ok()?;
        (skipped < self.passing.len()).then(|| self.passing.slice(skipped..))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn want(&self, state: &mut State) {
        state.wanted = true;
        self.wanted.notify_all();
    }

    fn read_all(&self, mut source: impl Read) {
        let mut piece = vec![0; PIECE_BYTES];
        while self.is_wanted() {
            let read = source.read(&mut piece);
            let mut state = self.state();
            // Who asked meanwhile finds this. One more read would overwrite what is only passing.
            state.wanted = false;
            match read {
                Ok(0) => state.ended = Some(Ok(())),
                Ok(read) => self.add(&mut state, piece.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => state.wanted = true,
                Err(error) => state.ended = Some(Err(error.kind())),
            }
            drop(state);
            self.come.notify_waiters();
        }
    }

    /// Waits until more is wanted. False if nothing is any more.
    fn is_wanted(&self) -> bool {
        let mut state = self.state();
        loop {
            if state.ended.is_some() {
                return false;
            }
            if std::mem::take(&mut state.wanted) {
                return true;
            }
            let waited = self.wanted.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn add(&self, state: &mut State, piece: &[u8]) {
        let end = state.kept_bytes + piece.len() as u64;
        if state.lost.is_none() {
            let kept = match end <= self.most_bytes {
                true => write_at(&self.copy, state.kept_bytes, piece)
                    .map_err(|error| format!("its input could not be kept: {error}")),
                false => Err(format!(
                    "it has read more than the {} MiB of a pipe that are kept; redirect its input from a file",
                    self.most_bytes >> 20
                )),
            };
            match kept {
                Ok(()) => {
                    state.kept_bytes = end;
                    return;
                }
                Err(why) => {
                    state.lost = Some(why);
                    state.passing_from = state.kept_bytes;
                }
            }
        } else {
            state.passing_from += state.passing.len() as u64;
        }
        state.passing = Bytes::copy_from_slice(piece);
    }
}

fn write_at(file: &File, mut position: u64, mut piece: &[u8]) -> io::Result<()> {
    while !piece.is_empty() {
        #[cfg(unix)]
        let written = std::os::unix::fs::FileExt::write_at(file, piece, position);
        #[cfg(windows)]
        let written = std::os::windows::fs::FileExt::seek_write(file, piece, position);
        match written {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                position += written as u64;
                piece = piece.get(written..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    async fn read_all(spool: &Spool) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            spool.wait(all.len() as u64).await;
            match spool.read(all.len() as u64, 7000).unwrap() {
                Piece::Bytes(bytes) => all.extend_from_slice(&bytes),
                Piece::End => return all,
                Piece::Pending => {}
            }
        }
    }

    fn source(count: usize) -> Vec<u8> {
        (0..count).map(|n| (n % 251) as u8).collect()
    }

    #[tokio::test]
    async fn every_attempt_reads_the_same() {
        let all = source(300_000);
        let spool = Spool::new(io::Cursor::new(all.clone())).unwrap();
        assert_eq!(read_all(&spool).await, all);
        assert_eq!(read_all(&spool).await, all);
        assert_eq!(spool.lost(), None);
    }

    #[tokio::test]
    async fn what_is_too_long_is_read_once() {
        let all = source(300_000);
        let spool = Spool::with_cap(io::Cursor::new(all.clone()), 100_000).unwrap();
        assert_eq!(read_all(&spool).await, all);
        assert!(spool.lost().unwrap().contains("redirect"));
    }

    #[tokio::test]
    async fn nothing_is_read_before_it_is_asked_for() {
        let (read, mut write) = io::pipe().unwrap();
        let spool = Spool::new(read).unwrap();
        assert_eq!(spool.read(0, 10).unwrap(), Piece::Pending);
        io::Write::write_all(&mut write, b"ab").unwrap();
        spool.wait(0).await;
        assert_eq!(spool.read(0, 1).unwrap(), Piece::Bytes("a".into()));
        assert_eq!(spool.read(1, 9).unwrap(), Piece::Bytes("b".into()));
        // Beyond what was asked for, nothing comes; and the blocked thread keeps nobody.
        assert_eq!(spool.read(2, 9).unwrap(), Piece::Pending);
    }

    #[tokio::test]
    async fn a_source_that_fails_fails_the_read() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::IsADirectory.into())
            }
        }
        let spool = Spool::new(Failing).unwrap();
        spool.wait(0).await;
        assert_eq!(
            spool.read(0, 1).unwrap_err().kind(),
            io::ErrorKind::IsADirectory
        );
    }
}
