//! Copies what is read from a pipe or a terminal, so that another attempt can read it again.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::{PIECE_BYTES, Piece, read_at};

/// The maximum size of the copy. For larger inputs, use a file, which needs no copy.
const MOST_BYTES: u64 = 64 << 20;

/// How often a source that does not block is read until there is something to read.
const POLL: Duration = Duration::from_millis(20);

/// A source, and a copy in an unnamed file of what has been read from it.
#[derive(Debug)]
pub(in crate::commands::run) struct Spool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Made when there is something to keep: a task that reads nothing needs no directory for temporary files.
    copy: OnceLock<File>,
    most_bytes: u64,
    state: Mutex<State>,
    /// Signals that a reader wants more than has been read.
    wanted: Condvar,
    /// Signals that more has been read, or that the source has ended.
    come: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The size of the copy.
    kept_bytes: u64,
    /// The last piece that was read but not kept, and its position in the source.
    passing: Bytes,
    passing_from: u64,
    /// Why nothing more is kept.
    lost: Option<String>,
    /// Set at the end of the source or after an error.
    ended: Option<Result<(), io::ErrorKind>>,
    wanted: bool,
}

impl Spool {
    /// Reads `source` on a separate thread, only on demand. If the thread is blocked in a read, it ends with the
    /// process and delays nothing.
    ///
    /// # Errors
    /// If the thread cannot be created.
    pub(super) fn new(source: impl Read + Send + 'static) -> io::Result<Self> {
        Self::with_cap(source, MOST_BYTES)
    }

    fn with_cap(source: impl Read + Send + 'static, most_bytes: u64) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            copy: OnceLock::new(),
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

    /// Returns why the input cannot be read again; `None` if it can.
    pub(super) fn lost(&self) -> Option<String> {
        self.shared.state().lost.clone()
    }

    /// Reads at an attempt's position.
    pub(super) fn read(&self, position: u64, most: usize) -> io::Result<Piece> {
        let mut state = self.shared.state();
        if let Some(copy) = self.shared.copy.get()
            && position < state.kept_bytes
        {
            let left = usize::try_from(state.kept_bytes - position).unwrap_or(usize::MAX);
            return read_at(copy, position, most.min(left)).map(Piece::Bytes);
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

    /// Waits until [`read`](Self::read) at this position returns something else than [`Piece::Pending`].
    pub(super) async fn wait(&self, position: u64) {
        loop {
            // Register before checking the state, or a notification in between would be missed.
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
            // This piece answers all requests so far. Reading on would overwrite a piece that is not kept.
            state.wanted = false;
            match read {
                Ok(0) => state.ended = Some(Ok(())),
                Ok(read) => self.add(&mut state, piece.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => state.wanted = true,
                // Another process that shares it has made it non-blocking, as some do with a terminal or a socket.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    state.wanted = true;
                    drop(state);
                    std::thread::sleep(POLL);
                    continue;
                }
                Err(error) => state.ended = Some(Err(error.kind())),
            }
            drop(state);
            self.come.notify_waiters();
        }
    }

    /// Waits until a reader wants more. Returns false if the source has ended.
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
                true => self.keep(state.kept_bytes, piece).map_err(|error| {
                    let dir = std::env::temp_dir();
                    format!("its stdin could not be copied to a file in {}: {error}; set TMPDIR, or redirect stdin from a file", dir.display())
                }),
                false => Err(format!(
                    "it has read more than {} MiB from a pipe, the maximum that is kept; redirect stdin from a file",
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

    /// Adds a piece to the copy.
    fn keep(&self, position: u64, piece: &[u8]) -> io::Result<()> {
        let copy = match self.copy.get() {
            Some(copy) => copy,
            None => {
                let made = tempfile::tempfile()?;
                self.copy.get_or_init(|| made)
            }
        };
        write_at(copy, position, piece)
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
    async fn every_attempt_reads_the_same_input() {
        let all = source(300_000);
        let spool = Spool::new(io::Cursor::new(all.clone())).unwrap();
        assert_eq!(read_all(&spool).await, all);
        assert_eq!(read_all(&spool).await, all);
        assert_eq!(spool.lost(), None);
    }

    #[tokio::test]
    async fn an_input_over_the_cap_is_read_only_once() {
        let all = source(300_000);
        let spool = Spool::with_cap(io::Cursor::new(all.clone()), 100_000).unwrap();
        assert_eq!(read_all(&spool).await, all);
        assert!(spool.lost().unwrap().contains("redirect"));
    }

    #[tokio::test]
    async fn nothing_is_read_before_it_is_requested() {
        let (read, mut write) = io::pipe().unwrap();
        let spool = Spool::new(read).unwrap();
        assert_eq!(spool.read(0, 10).unwrap(), Piece::Pending);
        io::Write::write_all(&mut write, b"ab").unwrap();
        spool.wait(0).await;
        assert_eq!(spool.read(0, 1).unwrap(), Piece::Bytes("a".into()));
        assert_eq!(spool.read(1, 9).unwrap(), Piece::Bytes("b".into()));
        // Nothing more was requested; and the blocked thread delays nothing.
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

    #[tokio::test]
    async fn a_source_that_does_not_block_is_read_when_it_has_something() {
        /// Has something to read every other time.
        struct Nonblocking(Vec<u8>, bool);
        impl Read for Nonblocking {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                match self.0.pop() {
                    Some(byte) => {
                        into[0] = byte;
                        Ok(1)
                    }
                    None => Ok(0),
                }
            }
        }
        let spool = Spool::new(Nonblocking(b"21".to_vec(), false)).unwrap();
        assert_eq!(read_all(&spool).await, b"12");
        assert_eq!(read_all(&spool).await, b"12");
    }
}
