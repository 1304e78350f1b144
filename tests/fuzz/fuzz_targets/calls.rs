//! Makes arbitrary calls of a guest in arbitrary order, while new attempts take over from older ones. Every
//! result must be one that the WIT package permits, and every read must return what was saved.

#![no_main]

use std::fs;

use checkpoint_fuzz::disk::{MARKER, Sandbox};
use checkpoint_fuzz::guest::model::Annotations;
use checkpoint_fuzz::guest::{Caps, Growth, Guest, Handle};
use checkpoint_fuzz::{Place, run};
use checkpoint_storage::SchemaChange;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    caps: Caps,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
struct Step {
    /// Whether a stale attempt makes the call.
    stale: bool,
    call: Call,
}

#[derive(Arbitrary, Debug)]
enum Call {
    TakeOver,
    PrevExists,
    Resume,
    Read,
    Write(Bytes, Said),
    WriteInBackground(Bytes, Said),
    Flush,
    DeclareSchema(u8, Change),
    Advice,
    Save(Handle, Where, Said),
    SaveInBackground(Handle, Where, Said),
    Restore(Handle, Where, bool),
    BeginStream(Said),
    Contents,
    WriteStream(Bytes, bool),
    WaitToWrite,
    DropOutput,
    Commit,
    DropStream,
    ReadStream,
    ReadSome(u16),
    WaitToRead,
    DropInput,
    MakeFile(Where, Bytes),
    MakeDir(Where),
    MakeLink(Where, Target),
    Remove(Where),
    /// Grows a memory or a table.
    Grow(Growth, u16),
    CheckComponent(Vec<u8>),
    /// Lets background work proceed.
    Yield,
}

#[derive(Arbitrary, Debug)]
enum Bytes {
    Few(u8, u8),
    Noise(u16),
    /// More than fits in a record.
    Many(u8),
}

#[derive(Arbitrary, Debug)]
enum Said {
    Nothing,
    Step(u8),
    Much,
}

#[derive(Arbitrary, Debug)]
enum Change {
    Refuse,
    StartFresh,
    Allow,
}

#[derive(Arbitrary, Debug)]
enum Where {
    Root,
    Dot,
    A,
    B,
    InA,
    Deep,
    InMarked,
    Up,
    Outside,
    DownAndUp,
    Absolute,
    Nul,
    Long,
    Text(String),
}

#[derive(Arbitrary, Debug)]
enum Target {
    B,
    Here,
    Up,
    Outside,
    Canary,
    Itself,
    Absolute,
}

impl Bytes {
    fn made(self) -> Vec<u8> {
        let (mut bytes, seed) = match self {
            Self::Few(byte, n) => return vec![byte; n.into()],
            Self::Noise(n) => (vec![0; n.into()], 0),
            Self::Many(seed) => (vec![0; 100_000], seed),
        };
        let hasher = blake3::Hasher::new_keyed(&[seed; 32]);
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    }
}

impl Said {
    fn made(self) -> Annotations {
        match self {
            Self::Nothing => Vec::new(),
            Self::Step(n) => ["0", &n.to_string()]
                .map(|n| ("step".to_owned(), n.to_owned()))
                .into(),
            Self::Much => vec![("loss".to_owned(), "9".repeat(60))],
        }
    }
}

impl Where {
    fn path(&self) -> String {
        match self {
            Self::Root => "",
            Self::Dot => ".",
            Self::A => "a",
            Self::B => "b",
            Self::InA => "a/b",
            Self::Deep => "a/b/c/d",
            Self::InMarked => return format!("a/{MARKER}"),
            Self::Up => "..",
            Self::Outside => "../outside/canary",
            Self::DownAndUp => "a/../b",
            Self::Absolute => "/etc",
            Self::Nul => "a\0",
            Self::Long => return "a/".repeat(2100),
            Self::Text(path) => path,
        }
        .to_owned()
    }

    /// Returns the path at which the guest changes its own directory, or `None` if WASI would not permit
    /// the change. These changes are not under test.
    fn own(&self, disk: &Sandbox) -> Option<std::path::PathBuf> {
        let (Self::A | Self::B | Self::InA | Self::Deep | Self::InMarked) = self else {
            return None;
        };
        let path = disk.inside().join(self.path());
        let parent = fs::canonicalize(path.parent()?).ok()?;
        parent
            .starts_with(fs::canonicalize(disk.inside()).ok()?)
            .then_some(path)
    }
}

impl Target {
    fn text(&self) -> &str {
        match self {
            Self::B => "b",
            Self::Here => ".",
            Self::Up => "..",
            Self::Outside => "../outside",
            Self::Canary => "../outside/canary",
            Self::Itself => "a",
            Self::Absolute => "/etc",
        }
    }
}

/// Maximum number of attempts and of steps per input.
const ATTEMPTS: usize = 4;
const STEPS: usize = 60;

fuzz_target!(|input: Input| run(check(input)));

async fn check(input: Input) {
    let place = Place::default();
    let disk = Sandbox::default();
    let mut guests = vec![Guest::begin(&place, None, &disk, &input.caps).await];
    for step in input.steps.into_iter().take(STEPS) {
        if matches!(step.call, Call::TakeOver) {
            if guests.len() < ATTEMPTS {
                let newer = Guest::begin(&place, guests.last(), &disk, &input.caps).await;
                guests.iter_mut().for_each(|guest| guest.is_fenced = true);
                guests.push(newer);
            }
            continue;
        }
        let newest = guests.len() - 1;
        let guest = match step.stale {
            true => &mut guests[newest.saturating_sub(1)],
            false => &mut guests[newest],
        };
        make(guest, &disk, step.call).await;
        disk.check();
    }
    // Commits the last saves, from which the next attempt must resume.
    if let Some(newest) = guests.last_mut() {
        newest.end().await;
    }
    Guest::begin(&place, guests.last(), &disk, &input.caps).await;
}

async fn make(guest: &mut Guest, disk: &Sandbox, call: Call) {
    match call {
        Call::TakeOver => {}
        Call::PrevExists => guest.prev_exists().await,
        Call::Resume => guest.resume().await,
        Call::Read => guest.read().await,
        Call::Write(bytes, said) => guest.write(bytes.made(), said.made()).await,
        Call::WriteInBackground(bytes, said) => {
            guest.write_in_background(bytes.made(), said.made()).await;
        }
        Call::Flush => guest.flush().await,
        Call::DeclareSchema(name, change) => {
            let change = match change {
                Change::Refuse => SchemaChange::Refuse,
                Change::StartFresh => SchemaChange::StartFresh,
                Change::Allow => SchemaChange::Allow,
            };
            guest.declare_schema("s".repeat(name.into()), change).await;
        }
        Call::Advice => guest.advice().await,
        Call::Save(handle, at, said) => {
            guest.save(disk, (handle, &at.path()), said.made()).await;
        }
        Call::SaveInBackground(handle, at, said) => {
            guest
                .save_in_background(disk, (handle, &at.path()), said.made())
                .await;
        }
        Call::Restore(handle, at, replace) => {
            guest.restore(disk, (handle, &at.path()), replace).await;
        }
        Call::BeginStream(said) => guest.begin_stream(said.made()).await,
        Call::Contents => guest.contents().await,
        Call::WriteStream(bytes, unasked) => guest.write_stream(bytes.made(), unasked),
        Call::WaitToWrite => guest.wait_to_write().await,
        Call::DropOutput => guest.drop_output(),
        Call::Commit => guest.commit().await,
        Call::DropStream => guest.drop_stream().await,
        Call::ReadStream => guest.read_stream().await,
        Call::ReadSome(most) => guest.read_some(most.into()),
        Call::WaitToRead => guest.wait_to_read().await,
        Call::DropInput => guest.drop_input(),
        Call::Grow(kind, amount) => guest.grow(kind, amount),
        Call::CheckComponent(bytes) => guest.check_component(&bytes),
        Call::Yield => tokio::task::yield_now().await,
        // These changes may fail, as they may for a guest.
        Call::MakeFile(at, bytes) => {
            if let Some(path) = at.own(disk).filter(|path| !path.is_symlink()) {
                let _ = fs::write(path, bytes.made());
            }
        }
        Call::MakeDir(at) => {
            let _ = at.own(disk).map(fs::create_dir);
        }
        Call::MakeLink(at, target) => {
            let _ = at
                .own(disk)
                .map(|at| std::os::unix::fs::symlink(target.text(), at));
        }
        Call::Remove(at) => {
            if let Some(path) = at.own(disk) {
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
        }
    }
}
