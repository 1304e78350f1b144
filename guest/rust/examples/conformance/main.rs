//! Performs the calls of the conformance suite: one command a line on stdin, one answer a line on stdout.
//! `guest/conformance/cases.txt` describes the commands.

mod answers;

use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;

use answers::{
    Failure, annotations, described, limits, pattern, position, restored, saved, schema,
};
use task_checkpoint::{ReadStream, ResumePoint, SaveOptions, SaveStream, SchemaChange};

fn main() -> ExitCode {
    let mut guest = Guest::default();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else {
            return ExitCode::FAILURE;
        };
        let answer = guest.perform(&line).unwrap_or_else(Failure::answer);
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
            "read-annotations" => annotations(task_checkpoint::read_contents()?),
            "read-schema" => schema(task_checkpoint::read_contents()?),
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
            "limits" => limits(task_checkpoint::limits()?),
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
