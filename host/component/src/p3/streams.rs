//! The interface `streams`.

use bytes::Bytes;
use checkpoint_session::{Misuse, ReadStream, held_bytes};
use wit_bindgen::{FutureReader, FutureWriter, StreamReader, StreamResult, StreamWriter};

use super::bindings::exports::task::checkpoint::streams::{
    Annotations, Error, Guest, Reading, Saved,
};
use super::bindings::{wit_future, wit_stream};
use super::calls::in_turn;
use crate::Component;
use crate::task::{Task, task};

/// The most that is taken from a task's stream at a time.
const PIECE_BYTES: usize = 1 << 20;

impl Guest for Component {
    async fn write(
        mut contents: StreamReader<u8>,
        size: FutureReader<Option<u64>>,
        annotations: Annotations,
    ) -> Result<Saved, Error> {
        let task = task()?;
        let _call = task.session.begin_call(held_bytes(0, &annotations))?;
        let mut stream = task.run(task.session.begin_stream(annotations))?;
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        while !stream.has_failed() {
            let result;
            (result, piece) = contents.read(piece).await;
            if !piece.is_empty() {
                // A copy, because the vector holds a megabyte however small the pieces of the task are.
                task.run(stream.write(Bytes::copy_from_slice(&piece)));
                piece.clear();
            }
            if result == StreamResult::Dropped {
                break;
            }
        }
        // The task's next write fails if it is not at the end.
        drop(contents);
        let size = match stream.has_failed() {
            // Committing returns the error of the stream.
            true => 0,
            false => match size.await {
                Some(size) => size,
                None => return Err(task.session.misuse(Misuse::Abandoned).into()),
            },
        };
        Ok(task.run(stream.commit(size))?.into())
    }

    async fn read() -> Result<Option<Reading>, Error> {
        let read = in_turn(0, async |session| session.read_stream().await);
        let stream: Option<ReadStream> = read.await?;
        stream.map(reading).transpose()
    }
}

/// Creates the task's ends of a stream.
fn reading(stream: ReadStream) -> Result<Reading, Error> {
    let task = task()?;
    let given = stream.checkpoint().clone();
    let (writer, contents) = wit_stream::new();
    // Written in any case, unless this component ends first.
    let (ended, outcome) = wit_future::new(|| Err(dropped()));
    wit_bindgen::spawn_local(give(task, stream, writer, ended));
    Ok(Reading {
        contents,
        outcome,
        size: given.info.logical_bytes,
        checkpoint: given.into(),
    })
}

/// Gives the task one piece after the other, and then the outcome.
async fn give(
    task: &Task,
    mut stream: ReadStream,
    mut writer: StreamWriter<u8>,
    ended: FutureWriter<Result<(), Error>>,
) {
    let outcome = loop {
        match task.run(stream.next()) {
            Ok(Some(piece)) => {
                if !writer.write_all(piece.into()).await.is_empty() {
                    break Err(dropped());
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error.into()),
        }
    };
    // First, so that the task can begin to read another stream once it sees the end of this one.
    drop(stream);
    drop(writer);
    // The task may have dropped the future.
    let _ = ended.write(outcome).await;
}

fn dropped() -> Error {
    Error::Other("the stream was dropped before its end".into())
}
