//! Puts an arbitrary record into a slot of the log. It must be read or refused with a typed error, and must
//! block neither the location nor the checkpoint below it for later attempts.
//!
//! The first byte of an input selects how the rest is stored. See [`Slot`].

#![no_main]

use std::collections::BTreeSet;

use checkpoint_fuzz::forge::{self, CLAIM, COMMIT, Cbor};
use checkpoint_fuzz::{Place, record_name, run};
use checkpoint_storage::{
    Attempt, AttemptSettings, Checkpoint, ErrorKind, Limits, Node, ResumePoint,
};
use libfuzzer_sys::fuzz_target;

const BELOW: &[u8] = b"below";

/// Contents of the only chunk of the data object that commits may refer to. Its index takes another 80 bytes.
const DATA: &[u8] = b"first";

struct Slot {
    /// The slot, 2 or 3. Slot 1 holds a claim; if this is slot 3, slot 2 holds a commit of [`BELOW`].
    sequence: u64,
    bytes: Vec<u8>,
}

impl Slot {
    fn of(input: &[u8]) -> Option<Self> {
        let (how, rest) = input.split_first()?;
        let bytes = match how % 4 {
            0 => rest.to_vec(),
            // Forges the hash, which otherwise would reject every input.
            1 => forge::record(1, CLAIM, rest),
            2 => forge::record(1, COMMIT, rest),
            _ => {
                let ([v, w, k, l], payload) = rest.split_first_chunk()?;
                let (version, kind) = (u16::from_le_bytes([*v, *w]), u16::from_le_bytes([*k, *l]));
                forge::record(version, kind, payload)
            }
        };
        let sequence = match how / 4 % 2 {
            0 => 2,
            _ => 3,
        };
        Some(Self { sequence, bytes })
    }

    /// Returns whether the record may be a claim with field 7, which hides the commit below.
    fn may_begin_afresh(&self) -> bool {
        self.bytes.windows(2).any(|bytes| bytes == [0x07, 0xf5])
    }
}

fuzz_target!(|input: &[u8]| {
    if let Some(slot) = Slot::of(input) {
        run(check(slot));
    }
});

/// Creates a location with the record in the slot `sequence`.
async fn place(slot: &Slot, sequence: u64) -> Place {
    let place = Place::default();
    place.put_record(1, forge::claim(1)).await;
    place.put_data(1, 0, forge::data_object([DATA])).await;
    if slot.sequence == 3 {
        let size = Cbor::Uint(BELOW.len() as u64);
        let root = forge::entry("", 0o644, (0, 0), [(4, size)]);
        let contents = Cbor::Bytes(BELOW.to_vec());
        let fields = [(5, Cbor::Array(vec![root])), (6, contents)];
        let below = forge::record(1, COMMIT, &forge::commit(fields));
        place.put_record(2, below).await;
    }
    place.put_record(sequence, slot.bytes.clone()).await;
    place
}

async fn check(slot: Slot) {
    let place = place(&slot, slot.sequence).await;
    let below = slot.sequence == 3;
    let checkpoints = match place.location.checkpoints().await {
        Ok(checkpoints) => {
            assert!(!below || !checkpoints.is_empty() || slot.may_begin_afresh());
            checkpoints
        }
        Err(error) => {
            match error.kind() {
                ErrorKind::Corrupt => assert!(!below || !is_refused(&place).await, "{error}"),
                // A record of another version is not damage; an attempt that cannot read it must not claim.
                ErrorKind::Other => {
                    let begun = Attempt::begin(place.location.clone(), AttemptSettings::default());
                    let refused = begun.await.map(drop).map_err(|error| error.kind());
                    assert_eq!(refused, Err(ErrorKind::Other));
                    assert!(
                        !place.has_record(slot.sequence + 1).await,
                        "an attempt claimed the location"
                    );
                    return;
                }
                // A claim names a predecessor in another store, or one that is not what the claim says.
                ErrorKind::InvalidLocation => {
                    assert!(!below || slot.may_begin_afresh(), "{error}");
                    let begun = Attempt::begin(place.location.clone(), AttemptSettings::default());
                    let refused = begun.await.map(drop).map_err(|error| error.kind());
                    assert_eq!(refused, Err(ErrorKind::InvalidLocation));
                    assert!(!place.has_record(slot.sequence + 1).await);
                    return;
                }
                other => panic!("{other:?}: {error}"),
            }
            Vec::new()
        }
    };
    for checkpoint in &checkpoints {
        check_tree(checkpoint).await;
    }
    let newest = checkpoints.first().map(|c| c.info().sequence);
    if newest == Some(slot.sequence) {
        in_its_slot_alone(&slot).await;
    }
    let report = place
        .location
        .verify()
        .await
        .expect("verify must report damage instead of failing");
    assert_eq!(report.records, slot.sequence);

    let begun = Attempt::begin(place.location.clone(), AttemptSettings::default()).await;
    let attempt = begun.expect("a location that can be read can be claimed");
    match attempt.resume_point().await {
        Ok(ResumePoint::Fresh) => assert!(newest.is_none() && report.findings.is_empty()),
        Ok(ResumePoint::Resumed(info)) => assert_eq!(Some(info.sequence), newest),
        Ok(ResumePoint::FellBack {
            checkpoint,
            damaged,
            ..
        }) => {
            assert_eq!(Some(checkpoint.sequence), newest);
            assert!(damaged > checkpoint.sequence);
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(newest.is_none());
        }
    }
    match attempt.read().await {
        Ok(None) => assert!(newest.is_none() && report.findings.is_empty()),
        Ok(Some(read)) => {
            let size = |c: &Checkpoint| c.info().logical_bytes == read.len() as u64;
            assert!(checkpoints.iter().any(size));
        }
        Err(error) => match error.kind() {
            ErrorKind::Corrupt => assert!(!report.findings.is_empty(), "{error}"),
            ErrorKind::NotSingle(_) | ErrorKind::QuotaExceeded => assert!(newest.is_some()),
            other => panic!("{other:?}: {error}"),
        },
    }
    attempt
        .write("above".into())
        .await
        .expect("the attempt must own the location");
    let next = Attempt::begin(place.location.clone(), AttemptSettings::default()).await;
    let read = next
        .expect("a newer attempt can claim the location")
        .read()
        .await;
    assert_eq!(
        read.expect("the newest checkpoint is whole").as_deref(),
        Some(&b"above"[..])
    );
}

/// Returns whether the record in slot 3 is refused. A record that is accepted there may lack its data, and then
/// nothing can be restored, not even from below it.
async fn is_refused(place: &Place) -> bool {
    let report = place
        .location
        .verify()
        .await
        .expect("verify must report damage instead of failing");
    let name = format!("log/{}", record_name(3));
    report.findings.iter().any(|found| found.object == name)
}

/// Asserts that a checkpoint of one slot is refused in the next.
async fn in_its_slot_alone(slot: &Slot) {
    let place = place(slot, slot.sequence + 1).await;
    let checkpoints = place.location.checkpoints().await.unwrap_or_default();
    let newest = checkpoints.first().map(|c| c.info().sequence);
    assert!(
        newest <= Some(slot.sequence),
        "the record is accepted in two slots"
    );
}

/// Asserts that a tree which is not refused obeys the rules of `FORMAT.md`.
async fn check_tree(checkpoint: &Checkpoint) {
    let tree = match checkpoint.tree(&Limits::default()).await {
        Ok(tree) => tree,
        Err(error) => {
            let refused = [ErrorKind::Corrupt, ErrorKind::QuotaExceeded];
            assert!(refused.contains(&error.kind()), "{error}");
            return;
        }
    };
    let count = tree.entries().len();
    let mut dirs = BTreeSet::new();
    let mut before = None;
    let mut size: u64 = 0;
    for entry in tree.entries() {
        let path = entry.path.as_str();
        let components: Vec<Vec<u8>> = match path {
            "" => Vec::new(),
            path => path
                .split('/')
                .map(|name| name.as_bytes().to_vec())
                .collect(),
        };
        assert!(
            before < Some(components.clone()),
            "{path:?} is out of order"
        );
        assert!(path.len() <= Limits::default().path_bytes && !path.contains('\0'));
        assert!(
            !components
                .iter()
                .any(|c| matches!(&c[..], b"" | b"." | b".."))
        );
        if let Some((_, parent)) = components.split_last() {
            assert!(
                dirs.contains(parent),
                "the directory of {path:?} is missing"
            );
        }
        match &entry.node {
            Node::Dir => drop(dirs.insert(components.clone())),
            Node::File { size_bytes } => {
                size = size.checked_add(*size_bytes).expect("a sum");
                assert!(!components.is_empty() || count == 1);
            }
            Node::Link { target } => {
                assert!(!components.is_empty() && !target.is_empty() && !target.contains('\0'));
            }
        }
        assert_eq!(entry.mode & !0o777, 0);
        before = Some(components);
    }
    assert!(
        tree.entries()
            .next()
            .is_some_and(|root| root.path.is_empty())
    );
    assert_eq!(size, checkpoint.info().logical_bytes);
}
