//! Executes its arguments in order, and prints the result of each verb on a line.
//!
//! | verb | effect |
//! |---|---|
//! | `prev-exists`, `resume`, `read` | calls the function of that name |
//! | `write=TEXT` | saves these bytes |
//! | `write-random=COUNT` | saves that many incompressible bytes |
//! | `save=PATH`, `save-reader=PATH`, `restore=PATH`, `restore-replacing=PATH` | calls the function of that name |
//! | `save-at=PATH`, `restore-at=PATH` | saves or restores by the descriptor of `/data` and a path in it |
//! | `write-in-background=TEXT`, `save-in-background=PATH`, `flush` | calls the function of that name |
//! | `annotate=KEY=VALUE` | adds this annotation to every later save, except `save-reader`, `write-random` and `store` |
//! | `schema=NAME=refuse`, `…=start-fresh`, `…=allow` | calls `declare-schema` |
//! | `stream=COUNT`, `stream-dropped=COUNT`, `read-stream` | streams that many random bytes and commits, or drops the stream; or reads the checkpoint as a stream |
//! | `which`, `which-stream`, `which-restored=PATH` | reads or restores the checkpoint, and prints which one it is |
//! | `limits`, `save-due` | calls the function of that name |
//! | `until-save-due` | computes until a save is due |
//! | `until-stopping` | computes until the host asks it to stop |
//! | `store=STEP`, `load` | saves or loads a struct with this number through serde |
//! | `compute=ROUNDS=SIZE` | modifies a state of that many bytes in each round, and saves it whenever a save is due |
//! | `burst=COUNT` | makes that many background saves, each of its number |
//! | `file=PATH=TEXT`, `files=PATH=COUNT`, `remove=PATH` | creates one file or many, or removes what is at the path |
//! | `environment`, `directories` | prints the names of its environment variables, or of its preopened directories |
//! | `list=PATH` | prints the number of entries in a directory |
//! | `wait=PATH` | waits until the path exists |
//! | `line`, `stdin` | prints the next line of stdin, or the rest of it |
//! | `fail-once=PATH` | if there is no such file, creates it and exits with 1 |
//! | `argument-zero` | prints the name that the program was started by |
//! | `eprint=TEXT` | prints on stderr, and ignores a failure of that |
//! | `strict` | makes any later error end the program with exit code 1 |
//! | `exit=CODE`, `trap`, `loop` | ends the program, or loops forever |

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use task_checkpoint::bindings::task::checkpoint::files;
use task_checkpoint::bindings::task::checkpoint::types::Existing;
use task_checkpoint::{Checkpoint, Error, ResumePoint, SaveOptions, Saved, SchemaChange};

fn main() -> ExitCode {
    let mut strict = false;
    let mut options = SaveOptions::new();
    for argument in std::env::args().skip(1) {
        let (verb, rest) = argument.split_once('=').unwrap_or((&argument, ""));
        if verb == "strict" {
            strict = true;
            continue;
        }
        if verb == "annotate" {
            let (key, value) = rest.split_once('=').expect("KEY=VALUE");
            options = options.annotate(key, value);
            continue;
        }
        match act(verb, rest, options.clone()) {
            Ok(outcome) => println!("{verb} {outcome}"),
            Err(error) => {
                println!("error: {}", name_of(&error));
                eprintln!("{verb}: {error}");
                if strict {
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    ExitCode::SUCCESS
}

fn act(verb: &str, rest: &str, options: SaveOptions) -> Result<String, Error> {
    Ok(match verb {
        "prev-exists" => task_checkpoint::prev_exists()?.to_string(),
        "resume" => resume(task_checkpoint::resume_point()?),
        "read" => contents(task_checkpoint::read()?),
        "which" => match task_checkpoint::read_contents()? {
            None => "none".into(),
            Some(contents) => which(&contents.checkpoint),
        },
        "which-stream" => match task_checkpoint::read_stream()? {
            None => "none".into(),
            Some(stream) => which(stream.checkpoint()),
        },
        "which-restored" => match task_checkpoint::restore(rest)? {
            None => "none".into(),
            Some(checkpoint) => which(&checkpoint),
        },
        "write" => saved(options.write(rest)?),
        "write-in-background" => {
            options.write_in_background(rest)?;
            "staged".into()
        }
        "save-in-background" => {
            options.save_in_background(rest)?;
            "staged".into()
        }
        "flush" => task_checkpoint::flush()?.map_or("nothing".into(), saved),
        "schema" => {
            let (name, change) = rest.split_once('=').expect("NAME=CHANGE");
            let change = match change {
                "refuse" => SchemaChange::Refuse,
                "start-fresh" => SchemaChange::StartFresh,
                "allow" => SchemaChange::Allow,
                other => panic!("unknown schema change {other:?}"),
            };
            task_checkpoint::declare_schema(name, change)?;
            "declared".into()
        }
        "stream" => {
            let mut stream = options.stream()?;
            // The commit reports an error.
            let _ = write_random(&mut stream, number(rest));
            saved(stream.commit()?)
        }
        "stream-dropped" => {
            let mut stream = options.stream()?;
            write_random(&mut stream, number(rest)).expect("the stream must accept the data");
            "dropped".into()
        }
        "read-stream" => match task_checkpoint::read_stream()? {
            None => "none".into(),
            Some(mut stream) => {
                let (mut count, mut sum) = (0, 0);
                let mut buffer = vec![0; 1 << 16];
                loop {
                    match stream.read(&mut buffer) {
                        Ok(0) => break,
                        Ok(read) => {
                            count += read;
                            sum = sum_of(sum, &buffer[..read]);
                        }
                        Err(error) => return Err(Error::Other(error.to_string())),
                    }
                }
                assert_eq!(count as u64, stream.size_bytes());
                format!("{count} bytes {sum:016x}")
            }
        },
        "limits" => format!("{:?}", task_checkpoint::limits()?),
        "save-due" => task_checkpoint::save_due().to_string(),
        "until-save-due" => {
            while !task_checkpoint::save_due() {}
            "true".into()
        }
        "until-stopping" => {
            while task_checkpoint::stopping().is_none() {}
            "told".into()
        }
        "store" => saved(task_checkpoint::store(&State {
            step: number(rest),
            weights: vec![0.5; number(rest)],
        })?),
        "load" => match task_checkpoint::load::<State>()? {
            None => "none".into(),
            Some(state) => format!("step {} with {:?}", state.step, state.weights),
        },
        "compute" => {
            let (rounds, size) = rest.split_once('=').expect("ROUNDS=SIZE");
            let mut state = random(number(size));
            let mut saves = 0;
            for round in 0..number(rounds) {
                for byte in &mut state {
                    *byte = byte.wrapping_mul(167).wrapping_add(round as u8);
                }
                if task_checkpoint::save_due() {
                    options.clone().write(&state)?;
                    saves += 1;
                }
            }
            format!("{saves} {:016x}", sum_of(0, &state))
        }
        "burst" => {
            for n in 0..number(rest) {
                options.clone().write_in_background(n.to_string())?;
            }
            "staged".into()
        }
        "write-random" => saved(task_checkpoint::write(random(number(rest)))?),
        "save" => saved(options.save(rest)?),
        "save-reader" => {
            let file = fs::File::open(rest).expect("the file must be readable");
            saved(task_checkpoint::save_reader(file)?)
        }
        "save-at" => {
            let saved = files::save(&data(), rest, &[])?;
            saved.sequence.to_string()
        }
        "restore-at" => match files::restore(&data(), rest, Existing::Refuse)? {
            None => "none".into(),
            Some(checkpoint) => checkpoint.sequence.to_string(),
        },
        "restore" => restored(task_checkpoint::restore(rest)?),
        "restore-replacing" => restored(task_checkpoint::restore_replacing(rest)?),
        "file" => {
            let (path, text) = rest.split_once('=').expect("PATH=TEXT");
            fs::write(path, text).expect("a file");
            "made".into()
        }
        "files" => {
            let (path, count) = rest.split_once('=').expect("PATH=COUNT");
            fs::create_dir_all(path).expect("a directory");
            for number in 0..number(count) {
                let name = Path::new(path).join(format!("{number:05}"));
                fs::write(name, random(4096)).expect("a file");
            }
            "made".into()
        }
        "remove" => {
            match fs::metadata(rest).expect("the path must exist").is_dir() {
                true => fs::remove_dir_all(rest).expect("a directory"),
                false => fs::remove_file(rest).expect("a file"),
            }
            "done".into()
        }
        "environment" => {
            let names: Vec<_> = std::env::vars().map(|(name, _)| name).collect();
            names.join(" ")
        }
        "directories" => {
            let given = wasip2::filesystem::preopens::get_directories();
            let names: Vec<_> = given.into_iter().map(|(_, name)| name).collect();
            names.join(" ")
        }
        "list" => match fs::read_dir(rest) {
            Ok(names) => names.count().to_string(),
            Err(_) => "nothing".into(),
        },
        "wait" => {
            while !fs::exists(rest).expect("a path") {
                std::thread::sleep(Duration::from_millis(1));
            }
            "over".into()
        }
        "line" => {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).expect("stdin");
            format!("{line:?}")
        }
        "stdin" => {
            let mut all = Vec::new();
            std::io::stdin().read_to_end(&mut all).expect("stdin");
            contents(Some(all))
        }
        "fail-once" => {
            if !fs::exists(rest).expect("a path") {
                fs::write(rest, "").expect("a file");
                std::process::exit(1);
            }
            "passed".into()
        }
        "argument-zero" => std::env::args().next().unwrap_or_default(),
        "eprint" => {
            let _ = writeln!(std::io::stderr(), "{rest}");
            "done".into()
        }
        "exit" => std::process::exit(number(rest) as i32),
        "trap" => std::process::abort(),
        "loop" => loop {
            std::hint::spin_loop();
        },
        other => panic!("unknown verb {other:?}"),
    })
}

#[derive(serde::Deserialize, serde::Serialize)]
struct State {
    step: usize,
    weights: Vec<f32>,
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}

fn saved(saved: Saved) -> String {
    saved.sequence.to_string()
}

fn which(checkpoint: &Checkpoint) -> String {
    let Checkpoint {
        sequence,
        attempt,
        annotations,
        schema,
        ..
    } = checkpoint;
    let schema = schema.as_deref().unwrap_or("no schema");
    format!("{sequence} of {attempt}, {annotations:?}, {schema}")
}

/// Returns the descriptor of `/data`.
fn data() -> wasip2::filesystem::types::Descriptor {
    let given = wasip2::filesystem::preopens::get_directories();
    let data = given.into_iter().find(|(_, name)| name == "/data");
    data.expect("/data must be preopened").0
}

fn restored(checkpoint: Option<Checkpoint>) -> String {
    checkpoint.map_or("none".into(), |checkpoint| checkpoint.sequence.to_string())
}

/// Describes short contents as text, long ones by length and checksum.
fn contents(contents: Option<Vec<u8>>) -> String {
    match contents {
        None => "none".into(),
        Some(bytes) if bytes.len() <= 100 => format!("{:?}", String::from_utf8_lossy(&bytes)),
        Some(bytes) => {
            format!("{} bytes {:016x}", bytes.len(), sum_of(0, &bytes))
        }
    }
}

fn resume(point: ResumePoint) -> String {
    match point {
        ResumePoint::Fresh => "fresh".into(),
        ResumePoint::Resumed(checkpoint) => format!("resumed {}", checkpoint.sequence),
        ResumePoint::FellBack(fall_back) => format!(
            "fell-back {} past {}",
            fall_back.checkpoint.sequence, fall_back.damaged
        ),
    }
}

fn sum_of(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
    })
}

/// Returns the same pseudo-random bytes in every run, so that two runs save the same data.
fn random(count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count);
    write_random(&mut bytes, count).expect("memory");
    bytes
}

/// Writes what [`random`] returns to a stream.
fn write_random(into: &mut impl Write, count: usize) -> std::io::Result<()> {
    let mut state = 1u64;
    let mut buffer = vec![0; 1 << 16];
    let mut left = count;
    while left > 0 {
        let part = &mut buffer[..left.min(1 << 16)];
        for byte in &mut *part {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state as u8;
        }
        into.write_all(part)?;
        left -= part.len();
    }
    Ok(())
}

fn name_of(error: &Error) -> String {
    match error {
        Error::Fenced => "fenced".into(),
        Error::NotSingle(count) => format!("not-single {count}"),
        Error::Corrupt(_) => "corrupt".into(),
        Error::Unavailable(_) => "unavailable".into(),
        Error::QuotaExceeded(_) => "quota-exceeded".into(),
        Error::InvalidPath(_) => "invalid-path".into(),
        Error::ReadOnly(_) => "read-only".into(),
        Error::SchemaMismatch(_) => "schema-mismatch".into(),
        Error::Other(_) => "other".into(),
    }
}
