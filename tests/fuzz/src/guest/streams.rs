//! Calls on streams, in any order.

use wasmtime::component::Resource;
use wasmtime_checkpoint::bindings::task::checkpoint::streams::{Host, HostSaveStream};
use wasmtime_checkpoint::bindings::task::checkpoint::types::Error;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, StreamError};

use super::Guest;
use super::model::{Annotations, Content, Given};

/// Maximum number of bytes per write, even if the stream permits more.
const MOST: usize = 1 << 20;

/// A save that is being written.
pub struct Saving {
    stream: u32,
    annotations: Annotations,
    written: Vec<u8>,
    is_lent: bool,
    /// The output stream, while the guest holds it.
    output: Option<u32>,
    /// Whether the save can no longer succeed.
    is_dead: bool,
    /// Whether the guest has trapped, which discards the save.
    is_discarded: bool,
}

/// A checkpoint that is being read.
pub struct Reading {
    input: u32,
    /// The possible contents, all of the same size.
    expected: Vec<Vec<u8>>,
    read: usize,
    is_over: bool,
}

impl Guest {
    /// Returns the stream handle that the guest passes: its own, or an invalid one. It never passes a handle of
    /// another type: the table would drop the resource before checking the type, but wasmtime rejects
    /// such a call before it reaches the host.
    fn stream<T>(own: Option<u32>) -> Resource<T> {
        Resource::new_own(own.unwrap_or(u32::MAX))
    }

    pub async fn begin_stream(&mut self, annotations: Annotations) {
        let is_full = self.is_full();
        let Ok(answer) = self.view().begin(annotations.clone()).await else {
            return assert!(is_full, "trapped");
        };
        match answer {
            Ok(stream) => {
                let before = self.saving.as_ref();
                assert!(
                    before.is_none_or(|saving| saving.is_discarded),
                    "two streams are open at once"
                );
                self.saving = Some(Saving {
                    stream: stream.rep(),
                    annotations,
                    written: Vec::new(),
                    is_lent: false,
                    output: None,
                    is_dead: false,
                    is_discarded: false,
                });
            }
            Err(Error::QuotaExceeded(_)) if self.saving.is_some() => {}
            Err(error) => self.check_error(&error),
        }
    }

    pub async fn contents(&mut self) {
        let own = self.saving.as_ref().map(|saving| saving.stream);
        let this = Self::stream(own);
        let is_full = self.is_full();
        let answer = self.view().contents(this).await;
        let Some(saving) = &mut self.saving else {
            return assert!(answer.is_err(), "an invalid stream handle was accepted");
        };
        let Ok(answer) = answer else {
            assert!(is_full, "trapped");
            // The stream that the guest did not get is dropped.
            saving.is_lent = true;
            return;
        };
        match answer {
            Ok(output) => {
                assert!(!saving.is_lent, "the output stream was returned twice");
                saving.is_lent = true;
                saving.output = Some(output.rep());
            }
            Err(Error::Other(_)) => assert!(saving.is_lent),
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Writes all bytes if `unasked`, otherwise at most as many as the stream permits.
    pub fn write_stream(&mut self, bytes: Vec<u8>, unasked: bool) {
        let Some(saving) = &mut self.saving else {
            return;
        };
        let Some(output) = saving.output else { return };
        let output: Resource<DynOutputStream> = Resource::new_borrow(output);
        let output = self.store.data_mut().table.get_mut(&output).unwrap();
        let permit = match output.check_write() {
            Ok(permit) => permit,
            Err(StreamError::Closed) => {
                saving.is_dead = true;
                0
            }
            Err(error) => panic!("{error}"),
        };
        let mut bytes = bytes;
        if !unasked {
            bytes.truncate(permit);
            if permit == 0 {
                return;
            }
        }
        assert!(bytes.len() <= MOST);
        match output.write(bytes.clone().into()) {
            Ok(()) => {
                assert!(
                    permit > 0 && !saving.is_dead,
                    "a write beyond the permit succeeded"
                );
                saving.written.extend(bytes);
            }
            Err(StreamError::Closed) => saving.is_dead = true,
            Err(StreamError::Trap(_)) => {
                assert_eq!(permit, 0);
                saving.is_dead = true;
                saving.is_discarded = true;
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn wait_to_write(&mut self) {
        let output = self.saving.as_ref().and_then(|saving| saving.output);
        if let Some(output) = output {
            let output: Resource<DynOutputStream> = Resource::new_borrow(output);
            self.store
                .data_mut()
                .table
                .get_mut(&output)
                .unwrap()
                .ready()
                .await;
        }
    }

    pub fn drop_output(&mut self) {
        let output = self.saving.as_mut().and_then(|saving| saving.output.take());
        if let Some(output) = output {
            let output: Resource<DynOutputStream> = Resource::new_own(output);
            drop(self.table().delete(output).unwrap());
        }
    }

    pub async fn commit(&mut self) {
        let own = self.saving.as_ref().map(|saving| saving.stream);
        let this = Self::stream(own);
        let size = self
            .saving
            .as_ref()
            .map_or(0, |saving| saving.written.len());
        let answer = self.view().commit(this, size as u64).await;
        let Some(saving) = self.saving.take() else {
            return assert!(answer.is_err(), "an invalid stream handle was accepted");
        };
        let answer = answer.unwrap();
        if let Some(output) = saving.output {
            assert!(
                matches!(answer, Err(Error::Other(_))),
                "the commit succeeded while the output stream was open"
            );
            let output: Resource<DynOutputStream> = Resource::new_own(output);
            let mut output = self.table().delete(output).unwrap();
            assert!(matches!(output.check_write(), Err(StreamError::Closed)));
            return;
        }
        if saving.is_dead && matches!(answer, Err(Error::Other(_))) {
            return self.model.unsettled();
        }
        assert!(
            !saving.is_dead || answer.is_err(),
            "a save that lost data was committed"
        );
        // The save gets the schema that is declared when it is committed.
        let content = Content::of_bytes(saving.written);
        let content = self.model.labelled(content, saving.annotations);
        self.check_saved(answer, content);
    }

    pub async fn drop_stream(&mut self) {
        self.drop_output();
        let own = self.saving.as_ref().map(|saving| saving.stream);
        let this = Self::stream(own);
        let answer = HostSaveStream::drop(&mut self.view(), this).await;
        assert_eq!(answer.is_ok(), self.saving.take().is_some());
    }

    pub async fn read_stream(&mut self) {
        let is_full = self.is_full();
        let Ok(answer) = Host::read(&mut self.view()).await else {
            assert!(is_full, "trapped");
            return self.model.unsettled();
        };
        match answer {
            Ok(Some(reading)) => {
                assert!(self.reading.is_none(), "two streams are open at once");
                self.model.settled();
                let given = self.model.gave(|given| match given {
                    Given::Checkpoint(content) => {
                        content.single().is_ok() && content.size() == reading.size
                    }
                    _ => false,
                });
                let expected = given.iter().filter_map(|given| match given {
                    Given::Checkpoint(content) => content.single().ok().map(<[u8]>::to_vec),
                    _ => None,
                });
                self.reading = Some(Reading {
                    input: reading.contents.rep(),
                    expected: expected.collect(),
                    read: 0,
                    is_over: false,
                });
            }
            Ok(None) => {
                self.model.settled();
                self.model.gave(|given| matches!(given, Given::Nothing));
            }
            Err(Error::QuotaExceeded(_)) if self.reading.is_some() => self.model.unsettled(),
            Err(Error::NotSingle(count)) => self.not_single(count),
            Err(Error::SchemaMismatch(_)) => self.mismatch(),
            Err(error) => self.check_error(&error),
        }
    }

    pub fn read_some(&mut self, most: usize) {
        let is_fenced = self.is_fenced;
        let Some(reading) = &mut self.reading else {
            return;
        };
        let input: Resource<DynInputStream> = Resource::new_borrow(reading.input);
        match self
            .store
            .data_mut()
            .table
            .get_mut(&input)
            .unwrap()
            .read(most)
        {
            Ok(bytes) => {
                assert!(bytes.len() <= most);
                assert!(bytes.is_empty() || !reading.is_over);
                let at = reading.read;
                reading
                    .expected
                    .retain(|expected| expected[at..].starts_with(&bytes));
                assert!(
                    !reading.expected.is_empty(),
                    "the stream returned bytes that were not saved"
                );
                reading.read += bytes.len();
            }
            Err(StreamError::Closed) => {
                let size = reading.expected[0].len();
                assert!(reading.is_over || reading.read == size, "cut short");
            }
            Err(StreamError::LastOperationFailed(error)) => {
                // A newer attempt may have pruned the checkpoint.
                assert!(is_fenced, "{error}");
                reading.is_over = true;
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn wait_to_read(&mut self) {
        if let Some(reading) = &self.reading {
            let input: Resource<DynInputStream> = Resource::new_borrow(reading.input);
            self.store
                .data_mut()
                .table
                .get_mut(&input)
                .unwrap()
                .ready()
                .await;
        }
    }

    pub fn drop_input(&mut self) {
        if let Some(reading) = self.reading.take() {
            let input: Resource<DynInputStream> = Resource::new_own(reading.input);
            drop(self.table().delete(input).unwrap());
        }
    }
}
