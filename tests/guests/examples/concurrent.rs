//! Executes its arguments in order, and prints the result of each verb on a line. It uses version 0.3 of the import.
//!
//! | verb | effect |
//! |---|---|
//! | `read`, `write=TEXT` | calls the function of that name |
//! | `ordered` | makes three writes and a read at once, and prints what was read |
//! | `beside=SIZE` | computes while it saves that many bytes, and prints whether it got any further |
//! | `burst=COUNT` | makes that many writes at once, the first of them a large one, and prints whether any were refused |
//! | `held=SIZE=SIZE` | makes two writes of these sizes at once, and prints whether any were refused |
//! | `flood=COUNT=SIZE` | makes that many writes of that size at once, and prints whether any were refused |
//! | `reads=COUNT` | makes that many reads at once, keeps what they return, and prints whether any were refused |
//! | `mixed` | begins writes, makes calls of version 0.2 meanwhile, and prints whether all succeeded |
//! | `waits=SIZE=ROUNDS` | prints how many microseconds a save of that size takes to begin, and one in the background of version 0.2 |
//! | `stream=SIZE` | streams that many bytes, and reads them back |
//! | `interleave=SIZE` | streams that many bytes, and makes other saves and reads that many between its pieces |
//! | `abandon`, `lose` | drops a stream before it is committed, or announces another size |
//! | `stoppings=COUNT` | begins that many times to wait until the host asks it to stop, each time for a moment |
//! | `futures=COUNT`, `streams=COUNT` | holds that many futures for `stopping`, or begins to read so many streams |
//! | `leave=SIZE` | begins a save, and does not await it |
//! | `cancel=SIZE` | begins a save, and cancels it |
//! | `until-stopping` | waits until the host asks it to stop |
//! | `never-stopping` | prints whether the host has asked it to stop once a save has returned |
//! | `save=PATH`, `restore=PATH` | saves or restores a file or a directory |
//! | `environment`, `directories` | prints the names of the variables or directories that WASI 0.3 shows |
//! | `wait=PATH` | waits until the file exists |
//! | `trap` | ends the program with a trap, while a save is under way |
//! | `fail` | ends the program with exit code 1 |

use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};

use bindings::wasi::cli::environment;
use bindings::wasi::filesystem::preopens;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use task_checkpoint::p3::bindings::task::checkpoint::{checkpointer, streams};
use task_checkpoint::p3::bindings::{wit_future, wit_stream};
use task_checkpoint::p3::{self, SaveStream};
use task_checkpoint::{Error, Result};

/// What the SDK does not bind.
mod bindings {
    wit_bindgen::generate!({
        inline: "package checkpoint:guest;
            world sees {
                import wasi:cli/environment@0.3.0;
                import wasi:filesystem/preopens@0.3.0;
            }",
        path: "../../wit/0.3",
        generate_all,
    });
}

p3::main!(run);

async fn run() -> Result<()> {
    for argument in std::env::args().skip(1) {
        let (verb, rest) = argument.split_once('=').unwrap_or((&argument, ""));
        match act(verb, rest).await {
            Ok(outcome) => println!("{verb} {outcome}"),
            Err(Error::Other(text)) if text == "fail" => return Err(Error::Other(text)),
            Err(error) => println!("{verb} error: {error:?}"),
        }
    }
    Ok(())
}

async fn act(verb: &str, rest: &str) -> Result<String> {
    let mut numbers = rest.split('=').map(|number| number.parse().unwrap_or(0));
    let (first, second) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Ok(match verb {
        "read" => text(p3::read().await?),
        "write" => {
            p3::write(rest).await?;
            "saved".into()
        }
        "ordered" => {
            let saves = ["one", "two", "three"].map(p3::start_write);
            let read = text(p3::read().await?);
            let mut positions = Vec::new();
            for save in saves {
                positions.push(save.await?.sequence);
            }
            format!("{read} {}", positions.is_sorted())
        }
        "beside" => {
            let saving = p3::start_write(noise(first));
            let mut steps = 0_u64;
            while !saving.is_done() {
                steps += 1;
                p3::yield_now().await;
            }
            saving.await?;
            format!("{}", steps > 0)
        }
        "burst" => {
            let first_one = noise(10_000_000);
            let others = (1..first).map(|n| n.to_le_bytes().to_vec());
            refused(std::iter::once(first_one).chain(others)).await
        }
        "flood" => {
            let contents = noise(second);
            refused((0..first).map(|_| contents.clone())).await
        }
        "held" => {
            let contents = [noise(first), noise(second)];
            refused(contents.into_iter()).await
        }
        "reads" => {
            let reads: Vec<_> = (0..first).map(|_| Box::pin(p3::read())).collect();
            let (mut kept, mut refused) = (Vec::new(), 0);
            let mut reads: FuturesUnordered<_> = reads.into_iter().collect();
            while let Some(read) = reads.next().await {
                match read {
                    Ok(read) => kept.push(read),
                    Err(Error::QuotaExceeded(_)) => refused += 1,
                    Err(error) => return Err(error),
                }
            }
            told(refused)
        }
        "mixed" => {
            let saves = ["one", "two", "three"].map(p3::start_write);
            task_checkpoint::write("between")?;
            let read = task_checkpoint::read()?;
            p3::advice();
            for save in saves {
                save.await?;
            }
            format!("{}", read.is_some())
        }
        "waits" => {
            let mut waits = Vec::new();
            for _ in 0..second {
                let contents = noise(first);
                let began = Instant::now();
                task_checkpoint::write_in_background(&contents)?;
                waits.push(began.elapsed().as_micros().to_string());
                task_checkpoint::flush()?;
                let began = Instant::now();
                let saving = p3::start_write(contents);
                waits.push(began.elapsed().as_micros().to_string());
                saving.await?;
            }
            waits.join(" ")
        }
        "stream" => {
            let contents = noise(first);
            let mut stream = SaveStream::begin();
            for piece in contents.chunks(300_000) {
                stream.write(piece.to_vec()).await?;
            }
            stream.commit().await?;
            let mut reading = p3::read_stream().await?.expect("a checkpoint");
            assert_eq!(reading.size_bytes(), first as u64);
            let mut read = Vec::new();
            while let Some(piece) = reading.next().await? {
                read.extend(piece);
            }
            format!("{}", read == contents)
        }
        "interleave" => {
            let contents = noise(first);
            let (one, two) = contents.split_at(first / 2);
            let mut stream = SaveStream::begin();
            stream.write(one.to_vec()).await?;
            let other = noise(first + 1);
            p3::write(other.clone()).await?;
            let mut reading = p3::read_stream().await?.expect("a checkpoint");
            let mut read = reading.next().await?.unwrap_or_default();
            stream.write(two.to_vec()).await?;
            stream.commit().await?;
            while let Some(piece) = reading.next().await? {
                read.extend(piece);
            }
            let last = p3::read().await?;
            format!("{}", read == other && last == Some(contents))
        }
        "abandon" => {
            let mut stream = SaveStream::begin();
            stream.write(noise(1 << 20)).await?;
            drop(stream);
            // The host notices in its own time, and the next save waits for nothing.
            p3::write("after").await?;
            text(p3::read().await?)
        }
        "lose" => {
            let (mut writer, contents) = wit_stream::new();
            let (size, announced) = wit_future::new(|| None);
            let saving = streams::write(contents, announced, Vec::new());
            let writing = async {
                writer.write_all(noise(100_000)).await;
                drop(writer);
                let _ = size.write(Some(100_001)).await;
            };
            let (saved, ()) = futures::future::join(saving, writing).await;
            saved.map_err(Error::from)?;
            "saved".into()
        }
        "stoppings" => {
            for _ in 0..first {
                let polled = futures::poll!(pin!(p3::stopping()));
                assert!(polled.is_pending());
            }
            format!("{first}")
        }
        "futures" => {
            let held: Vec<_> = (0..first).map(|_| checkpointer::stopping()).collect();
            format!("{}", held.len())
        }
        "streams" => {
            let mut held = Vec::new();
            for _ in 0..first {
                held.push(p3::read_stream().await?);
            }
            format!("{}", held.len())
        }
        "leave" => {
            drop(p3::start_write(noise(first)));
            "left".into()
        }
        "cancel" => {
            let mut saving = Box::pin(p3::write(noise(first)));
            let polled = futures::poll!(saving.as_mut());
            drop(saving);
            format!("{}", polled.is_pending())
        }
        "until-stopping" => {
            println!("waiting");
            let left = p3::stopping().await;
            format!("{}", left.as_secs() > 0)
        }
        "never-stopping" => {
            let mut stopping = pin!(p3::stopping());
            let before = futures::poll!(stopping.as_mut()).is_ready();
            p3::write("saved").await?;
            format!("{}", before || futures::poll!(stopping).is_ready())
        }
        "save" => {
            p3::save(rest).await?;
            "saved".into()
        }
        "restore" => match p3::restore_replacing(rest).await? {
            Some(_) => "restored".into(),
            None => "none".into(),
        },
        "environment" => {
            let variables = environment::get_environment();
            names(variables.into_iter().map(|(name, _)| name))
        }
        "directories" => {
            let directories = preopens::get_directories();
            names(directories.into_iter().map(|(_, name)| name))
        }
        "wait" => {
            println!("waiting");
            while !Path::new(rest).exists() {
                std::thread::sleep(Duration::from_millis(10));
            }
            "over".into()
        }
        "trap" => {
            let _saving = p3::start_write(noise(4_000_000));
            panic!("as asked")
        }
        "fail" => return Err(Error::Other("fail".into())),
        "idle" => String::new(),
        _ => format!("unknown verb {verb}"),
    })
}

/// Makes these writes at once. Returns how many were refused, unless one failed otherwise.
async fn refused(contents: impl Iterator<Item = Vec<u8>>) -> String {
    let saves: Vec<_> = contents.map(p3::start_write).collect();
    let mut refused = 0;
    for save in saves {
        match save.await {
            Ok(_) => {}
            Err(Error::QuotaExceeded(_)) => refused += 1,
            Err(error) => return format!("error: {error:?}"),
        }
    }
    told(refused)
}

fn told(refused: usize) -> String {
    match refused {
        0 => "0 refused".into(),
        _ => "some refused".into(),
    }
}

fn names(of: impl Iterator<Item = String>) -> String {
    of.collect::<Vec<_>>().join(" ")
}

fn text(contents: Option<Vec<u8>>) -> String {
    contents.map_or("none".into(), |bytes| {
        String::from_utf8_lossy(&bytes).into()
    })
}

/// Returns bytes that do not repeat. Those of another size are others.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ size as u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(size).collect()
}
