//! The same as `main.rs`, with version 0.3 of the import. What other guests save in the background, this one saves
//! beside later commands; `flush` and the end of the task await it.

mod answers;

use std::io::{self, BufRead};

use answers::{
    Failure, annotations, described, limits, pattern, position, restored, saved, schema,
};
use task_checkpoint::p3::{self, ReadStream, SaveStream, Saving};
use task_checkpoint::{ResumePoint, SaveOptions, SchemaChange};

p3::main!(run);

async fn run() -> io::Result<()> {
    let mut guest = Guest::default();
    for line in io::stdin().lock().lines() {
        let answer = guest.perform(&line?).await.unwrap_or_else(Failure::answer);
        println!("{answer}");
    }
    // The last command may have been to save beside later ones. It has told its error, if it is known.
    let _ = guest.flush().await;
    Ok(())
}

/// What the commands so far leave for later ones.
#[derive(Default)]
struct Guest {
    /// Annotations of the next save.
    annotations: Vec<(String, String)>,
    under_way: Vec<Saving>,
    saving: Option<SaveStream>,
    reading: Option<ReadStream>,
}

impl Guest {
    async fn perform(&mut self, line: &str) -> Result<String, Failure> {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let answer = match command {
            "prev-exists" => p3::prev_exists().await?.to_string(),
            "resume-point" => match p3::resume_point().await? {
                ResumePoint::Fresh => "fresh",
                ResumePoint::Resumed(_) => "resumed",
                ResumePoint::FellBack(_) => "fell-back",
            }
            .into(),
            "resume-position" => match p3::resume_point().await? {
                ResumePoint::Fresh => "none".into(),
                ResumePoint::Resumed(from) => position(from.sequence),
                ResumePoint::FellBack(past) => position(past.checkpoint.sequence),
            },
            "read" => p3::read()
                .await?
                .map_or("none".into(), |bytes| described(&bytes)),
            "read-position" => p3::read_contents()
                .await?
                .map_or("none".into(), |contents| {
                    position(contents.checkpoint.sequence)
                }),
            "read-annotations" => annotations(p3::read_contents().await?),
            "read-schema" => schema(p3::read_contents().await?),
            "annotate" => {
                let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
                self.annotations.push((key.into(), value.into()));
                "ok".into()
            }
            "write" => saved(p3::write_with(self.options(), rest).await?),
            "write-pattern" => saved(p3::write_with(self.options(), pattern(rest)).await?),
            "write-in-background" => {
                let saving = p3::start_write_with(self.options(), rest);
                self.go_on(saving).await?
            }
            "write-pattern-in-background" => {
                let saving = p3::start_write_with(self.options(), pattern(rest));
                self.go_on(saving).await?
            }
            "save" => saved(p3::save_with(self.options(), rest).await?),
            "save-in-background" => {
                let saving = p3::start_save_with(self.options(), rest);
                self.go_on(saving).await?
            }
            "flush" => {
                self.flush().await?;
                "ok".into()
            }
            "restore" => restored(p3::restore(rest).await?.is_some()),
            "replace" => restored(p3::restore_replacing(rest).await?.is_some()),
            "declare-schema" => {
                let (name, change) = rest.split_once(' ').unwrap_or((rest, ""));
                let change = match change {
                    "start-fresh" => SchemaChange::StartFresh,
                    "allow" => SchemaChange::Allow,
                    _ => SchemaChange::Refuse,
                };
                p3::declare_schema(name, change).await?;
                "ok".into()
            }
            "begin-save" => {
                let mut stream = SaveStream::begin_with(self.options());
                stream.ready().await?;
                // An open stream is not replaced if this fails.
                self.saving = Some(stream);
                "open".into()
            }
            "stream" => self.stream(rest.into()).await?,
            "stream-pattern" => self.stream(pattern(rest)).await?,
            "commit" => match self.saving.take() {
                Some(stream) => saved(stream.commit().await?),
                None => "not-open".into(),
            },
            "abort" => {
                self.saving = None;
                "ok".into()
            }
            "begin-read" => match p3::read_stream().await? {
                Some(stream) => {
                    self.reading = Some(stream);
                    "open".into()
                }
                None => "none".into(),
            },
            "end-read" => match self.reading.take() {
                Some(mut stream) => {
                    let mut bytes = Vec::new();
                    while let Some(piece) = stream.next().await.map_err(|_| Failure::Stream)? {
                        bytes.extend(piece);
                    }
                    described(&bytes)
                }
                None => "not-open".into(),
            },
            "save-due" => p3::save_due().to_string(),
            "advice" => {
                let advice = p3::advice();
                format!("now={} stopping={}", advice.now, advice.stopping.is_some())
            }
            "limits" => limits(p3::limits().await?),
            "bytes-left" => p3::limits().await?.bytes_left.to_string(),
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

    /// Lets a save go on beside later commands, unless it has failed at once.
    async fn go_on(&mut self, saving: Saving) -> Result<String, Failure> {
        match saving.is_done() {
            true => drop(saving.await?),
            false => self.under_way.push(saving),
        }
        Ok("ok".into())
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        let mut result = Ok(());
        for saving in self.under_way.drain(..) {
            result = result.and(saving.await.map(drop));
        }
        Ok(result?)
    }

    async fn stream(&mut self, contents: Vec<u8>) -> Result<String, Failure> {
        let Some(stream) = &mut self.saving else {
            return Ok("not-open".into());
        };
        stream.write(contents).await.map_err(|_| Failure::Stream)?;
        Ok("ok".into())
    }
}
