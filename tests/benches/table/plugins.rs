//! Measures what hostile plugins cost the others of a host: the example host, with 100 plugins on one engine.
//!
//! In one run, ten of them are hostile, each in a way of its own. In the other run, ten that compute as much take
//! their places. The host is a child process, which reports when each plugin saved.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::measure::{Target, note, row, skipped};
use crate::memory_cap;

#[path = "../../../host/wasmtime/examples/plugins/main.rs"]
mod host;

/// The first argument of the process that is the host.
pub(crate) const HOST: &str = "plugin-host";

/// How many plugins behave well in both runs, and how much each computes before each save.
const OTHERS: usize = 90;
const MILLIONS: u64 = 40;

/// Maximum time per attempt: several times what 100 plugins take together, because a retry would distort the
/// comparison.
const TIME: Duration = Duration::from_secs(60);

const HOSTILE: [&str; 10] = [
    "annotates",
    "fails",
    "floods",
    "greedy",
    "hoards",
    "loops",
    "overflows",
    "reads",
    "stages",
    "traps",
];

pub(crate) async fn isolation() {
    if !cfg!(target_os = "linux") {
        skipped("plugins beside hostile ones", "Linux, for /proc");
        return;
    }
    let others = || (0..OTHERS).map(|n| format!("works-{MILLIONS}-{n:02}"));
    let hostile = HOSTILE.map(str::to_owned);
    // How much the hostile ones compute, and how long a step takes.
    let alone = run(hostile.to_vec());
    let idle = run(Vec::new());
    let quick = run((0..10).map(|n| format!("works-0-{n}")).collect());
    let slow = run((0..10).map(|n| format!("works-{MILLIONS}-{n}")).collect());
    let step = (slow.cpu - quick.cpu).as_secs_f64() / (MILLIONS * 100) as f64;
    let extra = (alone.cpu.saturating_sub(quick.cpu)).as_secs_f64() / step;
    let millions = (extra / 100.0).round() as u64;
    let instead = (0..HOSTILE.len()).map(|n| format!("works-{millions}-instead-{n}"));

    let usual = run(others().chain(instead).collect());
    let attacked = run(others().chain(hostile).collect());
    let ratio = |of: fn(&Run) -> Duration| of(&attacked).as_secs_f64() / of(&usual).as_secs_f64();
    let what = "plugins beside hostile ones: slowest save / beside others";
    row(what, vec![ratio(Run::slowest)], Target::AtMost(2.0));
    let what = "plugins beside hostile ones: last save / beside others";
    row(what, vec![ratio(Run::last)], Target::AtMost(2.0));
    note(&format!(
        "{} and {} s of CPU; slowest save after {:?} and {:?}",
        attacked.cpu.as_secs(),
        usual.cpu.as_secs(),
        attacked.slowest(),
        usual.slowest(),
    ));
    let lost: usize = [&usual, &attacked].map(Run::lost).into_iter().sum();
    row(
        "plugins beside hostile ones: saves lost",
        vec![lost as f64],
        Target::AtMost(0.0),
    );
    let held = (attacked.peak_kib - idle.peak_kib) as f64;
    let most = (host::guest_limits().peak_bytes(&host::limits()) * 100) as f64 / 1024.0;
    row(
        "100 plugins, ten of them hostile: memory / formula",
        vec![held / most],
        Target::AtMost(1.0),
    );
    note(&format!(
        "{:.0} MiB beyond the {:.0} MiB of the host without plugins; the formula permits {:.0} MiB",
        held / 1024.0,
        idle.peak_kib as f64 / 1024.0,
        most / 1024.0
    ));
}

/// What a host did.
struct Run {
    /// When the plugins that behave well in every run saved, since the start of the host.
    saves: BTreeMap<String, Vec<Duration>>,
    results: BTreeMap<String, String>,
    cpu: Duration,
    peak_kib: u64,
}

/// Runs the plugins of these names to their ends, in a child process.
fn run(names: Vec<String>) -> Run {
    let temp = tempfile::tempdir().unwrap();
    let plugins = temp.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    for name in names {
        let file = plugins.join(name).with_extension("wasm");
        fs::hard_link(env!("PLUGIN"), &file)
            .or_else(|_| fs::copy(env!("PLUGIN"), &file).map(drop))
            .unwrap();
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .arg(HOST)
        .args([plugins, temp.path().join("state")])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", child.status);
    let mut run = Run {
        saves: BTreeMap::new(),
        results: BTreeMap::new(),
        cpu: Duration::ZERO,
        peak_kib: 0,
    };
    for line in String::from_utf8(child.stdout).unwrap().lines() {
        let words: Vec<_> = line.splitn(3, ' ').collect();
        match words[..] {
            ["save", name, micros] => {
                let time = Duration::from_micros(micros.parse().unwrap());
                run.saves.entry(name.to_owned()).or_default().push(time);
            }
            ["end", name, result] => {
                run.results.insert(name.to_owned(), result.to_owned());
            }
            ["cpu", millis] => run.cpu = Duration::from_millis(millis.parse().unwrap()),
            ["peak", kib] => run.peak_kib = kib.parse().unwrap(),
            _ => panic!("{line}"),
        }
    }
    let prefix = format!("works-{MILLIONS}-");
    run.saves
        .retain(|name, _| name.starts_with(&prefix) && !name.contains("instead"));
    run
}

impl Run {
    /// The longest time from one save of a plugin to its next.
    fn slowest(&self) -> Duration {
        let times = self.saves.values();
        let between = times.flat_map(|times| times.windows(2).map(|pair| pair[1] - pair[0]));
        between.max().unwrap_or_default()
    }

    /// The time of the last save.
    fn last(&self) -> Duration {
        self.saves
            .values()
            .flatten()
            .max()
            .copied()
            .unwrap_or_default()
    }

    /// How many saves of plugins that behave well were not made.
    fn lost(&self) -> usize {
        let done = |(name, times): (&String, &Vec<Duration>)| {
            assert_eq!(self.results[name], "Ok(\"resumed from 000\")", "{name}");
            10_usize.saturating_sub(times.len())
        };
        self.saves.iter().map(done).sum::<usize>() + 10 * (OTHERS - self.saves.len())
    }
}

/// The host: runs the plugins, and prints what [`Run`] holds.
pub(crate) async fn be_host(plugins: &Path, state: &Path) {
    let _cap = memory_cap::MemoryCap::start();
    tracing::subscriber::set_global_default(Saves(Instant::now())).unwrap();
    for report in host::run_all(plugins, state, TIME).await.unwrap() {
        println!("end {} {:?}", report.name, report.result);
    }
    println!("cpu {}", cpu_millis());
    println!("peak {}", memory_cap::peak_kib());
}

/// Returns the CPU time of this process.
fn cpu_millis() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    // The numbers of the fields are those of `man proc`, from which two are cut off. A tick takes 10 ms.
    let fields: Vec<_> = fields.split_whitespace().collect();
    [14, 15]
        .map(|n| fields[n - 3].parse::<u64>().unwrap() * 10)
        .iter()
        .sum()
}

/// Prints when a checkpoint was committed.
struct Saves(Instant);

impl Subscriber for Saves {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("checkpoint_storage")
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if fields.message == "committed a checkpoint" {
            let micros = self.0.elapsed().as_micros();
            let name = fields.location.rsplit('/').next().unwrap_or_default();
            let _ = writeln!(std::io::stdout(), "save {name} {micros}");
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Fields {
    message: String,
    location: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "location" => self.location = format!("{value:?}"),
            _ => {}
        }
    }
}
