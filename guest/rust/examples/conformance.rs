//! Performs the calls of the conformance suite: one command a line on stdin, one answer a line on stdout.
//! `guest/conformance/cases.txt` describes the commands.

use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;

use task_checkpoint::{Error, ReadStream, ResumePoint, SaveOptions, SaveStream, SchemaChange};

fn main() -> ExitCode {
    let mut guest = Guest::default();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else {
            return ExitCode::FAILURE;
        };
        let answer = guest.perform(&line).unwrap_or_else(|error| match error {
            Failure::Call(error) => format!("error {}", name(&error)),
            Failure::Stream => "error stream".into(),
        });
        println!("{answer}");
    }
    ExitCode::SUCCESS
}

/// What the commands so far leave for later ones.
#[derive(Default)]
struct Guest {
    /// Annotations of the next save.
    annotations: Vec<(String, String)>,
    saving: Option<SaveStream>,
    reading: Option<ReadStream>,
}

enum Failure {
    Call(Error),
    /// Writing to a stream or reading from it failed.
    Stream,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::Stream
    }
}

impl Guest {
    fn perform(&mut self, line: &str) -> Result<String, Failure> {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let answer = match command {
            "prev-exists" => task_checkpoint::prev_exists()?.to_string(),
            "resume-point" => match task_checkpoint::resume_point()? {
                ResumePoint::Fresh => "fresh",
                ResumePoint::Resumed(_) => "resumed",
                ResumePoint::FellBack(_) => "fell-back",
            }
            .into(),
            "resume-position" => match task_checkpoint::resume_point()? {
                ResumePoint::Fresh => "none".into(),
                ResumePoint::Resumed(from) => position(from.sequence),
                ResumePoint::FellBack(past) => position(past.checkpoint.sequence),
            },
            "read" => task_checkpoint::read()?.map_or("none".into(), |bytes| described(&bytes)),
            "read-position" => task_checkpoint::read_contents()?
                .map_or("none".into(), |contents| {
                    position(contents.checkpoint.sequence)
                }),
            "read-annotations" => {
                task_checkpoint::read_contents()?.map_or("none".into(), |contents| {
                    let mut notes = contents.checkpoint.annotations;
                    notes.sort();
                    let notes = notes
                        .into_iter()
                        .map(|(key, value)| format!(" {key}={value}"));
                    format!("annotations{}", notes.collect::<String>())
                })
            }
            "read-schema" => task_checkpoint::read_contents()?.map_or("none".into(), |contents| {
                contents
                    .checkpoint
                    .schema
                    .map_or("no-schema".into(), |name| format!("schema {name}"))
            }),
            "annotate" => {
                let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
                self.annotations.push((key.into(), value.into()));
                "ok".into()
            }
            "write" => saved(self.options().write(rest)?),
            "write-pattern" => saved(self.options().write(pattern(rest))?),
            "write-in-background" => {
                self.options().write_in_background(rest)?;
                "ok".into()
            }
            "write-pattern-in-background" => {
                self.options().write_in_background(pattern(rest))?;
                "ok".into()
            }
            "save" => saved(self.options().save(rest)?),
            "save-in-background" => {
                self.options().save_in_background(rest)?;
                "ok".into()
            }
            "flush" => {
                task_checkpoint::flush()?;
                "ok".into()
            }
            "restore" => restored(task_checkpoint::restore(rest)?.is_some()),
            "replace" => restored(task_checkpoint::restore_replacing(rest)?.is_some()),
            "declare-schema" => {
                let (name, change) = rest.split_once(' ').unwrap_or((rest, ""));
                let change = match change {
                    "start-fresh" => SchemaChange::StartFresh,
                    "allow" => SchemaChange::Allow,
                    _ => SchemaChange::Refuse,
                };
                task_checkpoint::declare_schema(name, change)?;
                "ok".into()
            }
            "begin-save" => {
                // An open stream is not replaced if this fails.
                let stream = self.options().stream()?;
                self.saving = Some(stream);
                "open".into()
            }
            "stream" => self.stream(rest.as_bytes())?,
            "stream-pattern" => self.stream(&pattern(rest))?,
            "commit" => match self.saving.take() {
                Some(stream) => saved(stream.commit()?),
                None => "not-open".into(),
            },
            "abort" => {
                self.saving = None;
                "ok".into()
            }
            "begin-read" => match task_checkpoint::read_stream()? {
                Some(stream) => {
                    self.reading = Some(stream);
                    "open".into()
                }
                None => "none".into(),
            },
            "end-read" => match self.reading.take() {
                Some(mut stream) => {
                    let mut bytes = Vec::new();
                    stream.read_to_end(&mut bytes)?;
                    described(&bytes)
                }
                None => "not-open".into(),
            },
            "save-due" => task_checkpoint::save_due().to_string(),
            "advice" => {
                let advice = task_checkpoint::advice();
                format!("now={} stopping={}", advice.now, advice.stopping.is_some())
            }
            "limits" => {
                let limits = task_checkpoint::limits()?;
                format!(
                    "limits {} {} {} {} {}",
                    limits.checkpoint_bytes,
                    limits.entries,
                    limits.path_bytes,
                    limits.annotation_bytes,
                    limits.saves_per_minute
                )
            }
            "bytes-left" => task_checkpoint::limits()?.bytes_left.to_string(),
            _ => format!("unknown command {command}"),
        };
        Ok(answer)
    }

    /// Returns the options of the next save, and forgets its annotations.
    fn options(&mut self) -> SaveOptions {
        self.annotations
            .drain(..)
            .fold(SaveOptions::new(), |options, (key, value)| {
                options.annotate(key, value)
            })
    }

    fn stream(&mut self, contents: &[u8]) -> Result<String, Failure> {
        let Some(stream) = &mut self.saving else {
            return Ok("not-open".into());
        };
        stream.write_all(contents)?;
        Ok("ok".into())
    }
}

fn saved(_: task_checkpoint::Saved) -> String {
    "saved".into()
}

fn restored(found: bool) -> String {
    if found { "restored" } else { "none" }.into()
}

fn position(sequence: u64) -> String {
    format!("position {sequence}")
}

/// Returns `SIZE` bytes that do not repeat, from the arguments `SEED SIZE`.
fn pattern(arguments: &str) -> Vec<u8> {
    let mut numbers = arguments
        .split(' ')
        .map(|number| number.parse().unwrap_or(0));
    let (mut state, size): (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let mut bytes = Vec::with_capacity(size as usize);
    for _ in 0..size / 4 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

/// Returns short contents as text, and others as their size and a checksum.
fn described(bytes: &[u8]) -> String {
    match bytes.len() {
        0 => "empty".into(),
        1..100 => format!("text {}", String::from_utf8_lossy(bytes)),
        size => {
            let sum = bytes.chunks(4096).fold(0_u32, |sum, block| {
                let added: u32 = block.iter().copied().map(u32::from).sum();
                sum.wrapping_mul(31).wrapping_add(added)
            });
            format!("bytes {size} {sum}")
        }
    }
}

fn name(error: &Error) -> &'static str {
    match error {
        Error::Fenced => "fenced",
        Error::NotSingle(_) => "not-single",
        Error::Corrupt(_) => "corrupt",
        Error::Unavailable(_) => "unavailable",
        Error::QuotaExceeded(_) => "quota-exceeded",
        Error::InvalidPath(_) => "invalid-path",
        Error::ReadOnly(_) => "read-only",
        Error::SchemaMismatch(_) => "schema-mismatch",
        Error::Other(_) => "other",
    }
}
