//! The calls of a task that write and read streams.

use tokio::time::sleep;

use super::Owner;
use crate::error::ErrorKind;
use crate::metadata::Metadata;
use crate::tests::simulation::contents::Contents;
use crate::tests::simulation::dice::Dice;
use crate::tests::simulation::ledger::NUMBER;
use crate::tests::simulation::process::Violated;

impl Owner {
    /// Writes a stream, possibly with another save in between. Sometimes drops the stream.
    pub(super) async fn stream(&mut self, dice: &mut Dice) -> Result<(), Violated> {
        self.flush().await?;
        let called = self.process.called();
        let contents = {
            let mut world = self.process.shared.lock();
            world
                .ledger
                .draw(|number| Contents::draw(number, true, dice))
        };
        let metadata = Metadata {
            annotations: [(NUMBER.to_owned(), contents.number.to_string())].into(),
            schema: None,
        };
        let mut stream = match self.attempt.write_stream(metadata).await {
            Ok(stream) => stream,
            Err(error) => return self.call_failed("write_stream", &called, &error),
        };
        let bytes = contents.bytes();
        let half = bytes.slice(..bytes.len() / 2);
        if let Err(error) = stream.write(half.clone()).await {
            return self.call_failed("write", &called, &error);
        }
        match dice.below(3) {
            0 => self.save(dice, None).await?,
            1 => sleep(dice.millis(1..300)).await,
            _ => {}
        }
        if dice.chance(150) {
            return Ok(());
        }
        if let Err(error) = stream.write(bytes.slice(half.len()..)).await {
            return self.call_failed("write", &called, &error);
        }
        let id = self
            .process
            .shared
            .lock()
            .ledger
            .save(self.epoch, contents.number);
        self.note(format_args!(
            "commits {} ({:?})",
            contents.number, contents.shape
        ));
        let saved = stream.commit().await;
        self.saved(&called, id, saved.map(|saved| saved.sequence))
    }

    pub(super) async fn read_as_a_stream(&mut self, dice: &mut Dice) -> Result<(), Violated> {
        self.flush().await?;
        let called = self.process.called();
        let own = self.own();
        let mut stream = match self.attempt.read_stream().await {
            Ok(Some(stream)) => stream,
            Ok(None) if self.base.is_none() && self.nothing_acknowledged() => return Ok(()),
            Ok(None) => return Err(self.process.violated("a read found no checkpoint".into())),
            Err(error) if matches!(error.kind(), ErrorKind::NotSingle(_)) => return Ok(()),
            Err(error) => return self.call_failed("read_stream", &called, &error),
        };
        // The data being read must survive the saves that replace it.
        for _ in 0..dice.below(4) {
            self.save(dice, None).await?;
        }
        let mut read = Vec::new();
        loop {
            match stream.next().await {
                Ok(Some(piece)) => read.extend_from_slice(&piece),
                Ok(None) => break,
                Err(error) => return self.call_failed("next", &called, &error),
            }
        }
        match own.iter().any(|contents| contents.bytes() == read) {
            true => Ok(()),
            false => {
                let what = format!(
                    "read a stream of {} bytes, but {own:?} was saved",
                    read.len()
                );
                Err(self.process.violated(what))
            }
        }
    }
}
