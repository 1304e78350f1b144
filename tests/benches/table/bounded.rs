//! Measures what attacks make a host hold, beside what the documentation of `GuestLimits` says it may.
//!
//! The host is a child process, which ends itself beyond the documented memory. What it holds while it runs a guest
//! that does nothing does not count: it belongs to the process, not to the guest.

use std::fs::{self, File};
use std::path::Path;

use cap_std::fs::Dir;
use checkpoint_storage::Limits;
use tempfile::TempDir;
use wasmtime_checkpoint::GuestLimits;

use crate::cli::{Cli, Host, Outcome};
use crate::measure::{MIB, Target, note, row, skipped};
use crate::memory_cap;
use crate::noise::noise;

const KIB: u64 = 1 << 10;

/// What a guest tries.
struct Attack {
    name: &'static str,
    hosts: &'static [Host],
    caps: Caps,
    /// Creates the files that the guest finds in `/data`, and what lies in its location.
    prepare: fn(&Scene),
    /// The arguments of the guest `hostile`, or of `concurrent` with the option `-S p3`.
    guest: &'static [&'static str],
    /// Further options of the host.
    options: &'static [&'static str],
    ends: Ends,
}

/// How an attack ends.
#[derive(Clone, Copy)]
enum Ends {
    /// The guest reaches its end, and the first line that it prints ends with this.
    Saying(&'static str),
    Trapped,
}

/// The limits of the attacked host. They are small, but the one that is attacked dominates.
#[derive(Clone, Copy)]
struct Caps {
    memory: usize,
    handles: usize,
    instances: usize,
    tree: u64,
    background: u64,
}

const SMALL: Caps = Caps {
    memory: 32 * MIB,
    handles: 512,
    instances: 100,
    tree: MIB as u64,
    background: MIB as u64,
};

const BOTH: &[Host] = &[Host::Native, Host::Composed];
const NATIVE: &[Host] = &[Host::Native];

/// `wasmtime run` gives a composed task WASI, and limits that by options of its own.
const ATTACKS: &[Attack] = &[
    Attack {
        name: "read of 4 GiB of zeros",
        hosts: BOTH,
        caps: SMALL,
        prepare: |scene| scene.import_zeros(4 << 30),
        guest: &["reads"],
        options: &[],
        ends: Ends::Saying("quota-exceeded"),
    },
    Attack {
        name: "read of as many zeros as fit",
        hosts: BOTH,
        caps: Caps {
            memory: 600 * MIB,
            ..SMALL
        },
        prepare: |scene| scene.import_zeros(256 << 20),
        guest: &["reads"],
        options: &[],
        ends: Ends::Saying("ok"),
    },
    Attack {
        name: "200,000 paths of 2.9 KB",
        hosts: BOTH,
        caps: Caps {
            tree: 32 * MIB as u64,
            ..SMALL
        },
        prepare: |scene| scene.long_paths(200_000),
        guest: &["saves=tree"],
        options: &[],
        ends: Ends::Saying("quota-exceeded"),
    },
    Attack {
        name: "as many paths as fit, saved again and again",
        hosts: BOTH,
        caps: Caps {
            tree: 32 * MIB as u64,
            ..SMALL
        },
        prepare: |scene| scene.long_paths(110_000),
        guest: &["saves=tree"],
        options: &[],
        ends: Ends::Saying("ok"),
    },
    Attack {
        name: "a tree as large as fits, restored",
        hosts: BOTH,
        caps: Caps {
            tree: 32 * MIB as u64,
            ..SMALL
        },
        prepare: |scene| {
            scene.long_paths(110_000);
            scene.import("tree");
        },
        guest: &["restores"],
        options: &[],
        ends: Ends::Saying("ok"),
    },
    Attack {
        name: "as many short paths as fit",
        hosts: BOTH,
        caps: Caps {
            tree: 8 * MIB as u64,
            ..SMALL
        },
        prepare: |scene| scene.files("tree", 121_000, 5),
        guest: &["saves=tree"],
        options: &[],
        ends: Ends::Saying("ok"),
    },
    Attack {
        name: "5,000 open listings",
        hosts: NATIVE,
        caps: SMALL,
        prepare: |scene| scene.files("listed", 2000, 250),
        guest: &["open-listings=5000"],
        options: &[],
        ends: Ends::Trapped,
    },
    Attack {
        name: "as many open listings as fit",
        hosts: NATIVE,
        caps: SMALL,
        prepare: |scene| scene.files("listed", 2000, 250),
        guest: &["open-listings=500"],
        options: &[],
        ends: Ends::Saying("listings"),
    },
    Attack {
        name: "20,000 unread streams",
        hosts: NATIVE,
        caps: SMALL,
        prepare: |scene| scene.file(1 << 20),
        guest: &["unread-streams=20000"],
        options: &[],
        ends: Ends::Trapped,
    },
    Attack {
        name: "as many unread streams as fit",
        hosts: NATIVE,
        caps: Caps {
            handles: 8192,
            ..SMALL
        },
        prepare: |scene| scene.file(1 << 20),
        guest: &["unread-streams=8000"],
        options: &[],
        ends: Ends::Saying("streams"),
    },
    Attack {
        name: "as many unfinished writes as fit",
        hosts: NATIVE,
        caps: Caps {
            handles: 8192,
            ..SMALL
        },
        prepare: |scene| scene.file(1 << 20),
        guest: &["unfinished-writes=8000"],
        options: &[],
        ends: Ends::Saying("streams"),
    },
    Attack {
        name: "as many open files as fit",
        hosts: NATIVE,
        caps: SMALL,
        prepare: |_| {},
        guest: &["many-files"],
        options: &[],
        ends: Ends::Trapped,
    },
    Attack {
        name: "gigabytes of annotations, with retries",
        hosts: NATIVE,
        caps: SMALL,
        prepare: |_| {},
        guest: &["aliased-annotations"],
        options: &["--retries", "4"],
        ends: Ends::Trapped,
    },
    Attack {
        name: "as many annotations as fit in a call",
        hosts: BOTH,
        caps: Caps {
            memory: 64 * MIB,
            ..SMALL
        },
        prepare: |_| {},
        guest: &["many-annotations"],
        options: &[],
        ends: Ends::Saying("quota-exceeded"),
    },
    Attack {
        name: "background writes that are too large",
        hosts: NATIVE,
        caps: Caps {
            memory: 300 * MIB,
            ..SMALL
        },
        prepare: |_| {},
        guest: &["background=100000000"],
        options: &[],
        ends: Ends::Saying("quota-exceeded"),
    },
    Attack {
        name: "background writes as large as fit",
        hosts: BOTH,
        caps: Caps {
            memory: 150 * MIB,
            background: 256 * MIB as u64,
            ..SMALL
        },
        prepare: |_| {},
        guest: &["background=100000000"],
        options: &[],
        ends: Ends::Saying("ok"),
    },
    Attack {
        name: "10,000 writes of 1 MiB at once",
        hosts: NATIVE,
        caps: Caps {
            memory: 150 * MIB,
            background: 64 * MIB as u64,
            ..SMALL
        },
        prepare: |_| {},
        guest: &["flood=10000=1048576"],
        options: &["-S", "p3"],
        ends: Ends::Saying("some refused"),
    },
    Attack {
        name: "500 reads at once, of which two fit the guest",
        hosts: NATIVE,
        caps: Caps {
            memory: 150 * MIB,
            ..SMALL
        },
        prepare: |scene| scene.import_zeros(60 << 20),
        guest: &["reads=500"],
        options: &["-S", "p3"],
        ends: Ends::Trapped,
    },
    Attack {
        name: "background saves of a sparse file of 1 GiB",
        hosts: BOTH,
        caps: SMALL,
        prepare: |scene| scene.sparse("tree/sparse", 1 << 30),
        guest: &["saves=tree"],
        options: &[],
        ends: Ends::Saying("ok"),
    },
    Attack {
        name: "10,000 nested directories, restored over",
        hosts: BOTH,
        caps: SMALL,
        prepare: |scene| scene.files("kept", 1, 10),
        guest: &["nest=10000"],
        options: &[],
        ends: Ends::Saying("ok"),
    },
    Attack {
        name: "64 MiB of random bytes at once",
        hosts: NATIVE,
        caps: SMALL,
        prepare: |_| {},
        guest: &["random"],
        options: &[],
        ends: Ends::Trapped,
    },
    Attack {
        name: "waiting for a million events at once",
        hosts: NATIVE,
        caps: Caps {
            memory: 100 * MIB,
            ..SMALL
        },
        prepare: |_| {},
        guest: &["polls"],
        options: &[],
        ends: Ends::Trapped,
    },
];

pub(crate) async fn attacks() {
    if !cfg!(target_os = "linux") {
        skipped("peak memory under attack", "Linux, for /proc/PID/status");
        return;
    }
    for attack in ATTACKS {
        for host in attack.hosts {
            attack.measure(*host);
        }
    }
    for (what, item, items, instances) in INSTANCES {
        measure_instances(what, &item.repeat(items), instances);
    }
}

/// What a module has many of, the text of one, how many, and how many instances fit the default limits.
const INSTANCES: [(&str, &str, usize, usize); 3] = [
    ("globals", "(global i64 (i64.const 1))", 100_000, 20),
    ("functions", "(func) (elem declare func 0)", 5_000, 80),
    ("elements", "(elem funcref (ref.null func))", 10_000, 65),
];

/// Measures what many instances of a module take. One instance does not count, because it comes with the code.
fn measure_instances(what: &str, items: &str, instances: usize) {
    let temp = tempfile::tempdir().unwrap();
    let run = |instances: usize, cap_kib: u64| {
        let file = temp.path().join("task.wasm");
        fs::write(&file, component(items, instances)).unwrap();
        let cli = Cli::on(Host::Native, &temp.path().join("store"));
        let cli = cli.envs(capped(cap_kib)).task(&file, [""; 0]);
        let (outcome, peak) = cli.start().finish_measured();
        assert_eq!(outcome.code, Some(0), "{}", outcome.text());
        peak
    };
    for instances in [1, instances] {
        // Compiles it.
        run(instances, u64::MAX);
    }
    let idle = run(1, u64::MAX);
    let most = GuestLimits::default().instance_bytes as u64 / KIB;
    let peak = run(instances, idle + most);
    print(
        &format!("instances of {what}"),
        Host::Native,
        [idle, peak, most],
    );
}

/// Returns a task that has this many instances of a module of these items.
fn component(items: &str, instances: usize) -> Vec<u8> {
    let made = "(core instance (instantiate $m))".repeat(instances);
    let text = format!(
        r#"(component (core module $m {items}) {made}
            (core module $main (func (export "run") (result i32) (i32.const 0)))
            (core instance $main (instantiate $main))
            (func $run (result (result)) (canon lift (core func $main "run")))
            (instance $exports (export "run" (func $run)))
            (export "wasi:cli/run@0.2.12" (instance $exports)))"#
    );
    wat::parse_str(text).unwrap()
}

/// The environment of a host that ends itself once its peak memory exceeds this.
fn capped(kib: u64) -> [(&'static str, String); 1] {
    [(memory_cap::VARIABLE, kib.to_string())]
}

/// Prints the peak memory of a host in KiB, beside that of an idle one and what the formula permits beyond it.
fn print(name: &str, host: Host, [idle, peak, most]: [u64; 3]) {
    let held = peak.saturating_sub(idle);
    let ratio = held as f64 / most as f64;
    let what = format!("{name}, {host:?}: memory / formula");
    row(&what, vec![ratio], Target::AtMost(1.0));
    let [held, idle, most] = [held, idle, most].map(|kib| kib / KIB);
    note(&format!(
        "{held} MiB beyond the {idle} MiB of an idle host; the formula permits {most} MiB"
    ));
}

impl Attack {
    fn measure(&self, host: Host) {
        let scene = Scene::new();
        (self.prepare)(&scene);
        let idle = || scene.run(host, self, &["idle"], u64::MAX).1;
        // The first run may compile the guest, which takes memory of its own.
        idle();
        let idle = idle();
        let most = self.caps.peak_bytes() / KIB;
        let run = scene.run(host, self, self.guest, idle + most);
        let (outcome, peak) = run;
        self.ends.check(self.name, &outcome);
        print(self.name, host, [idle, peak, most]);
    }
}

impl Ends {
    fn check(self, name: &str, outcome: &Outcome) {
        match self {
            Self::Saying(end) => {
                assert_eq!(outcome.code, Some(0), "{name}: {}", outcome.text());
                let first = outcome.lines.first();
                let said = first.is_some_and(|line| line.ends_with(end));
                assert!(said, "{name}: {}", outcome.text());
            }
            Self::Trapped => outcome.trapped(),
        }
    }
}

impl Caps {
    fn options(&self, host: Host, cli: Cli) -> Cli {
        let cli = cli.cap("max-tree", &self.tree.to_string());
        match host {
            Host::Native => cli
                .cap("max-memory", &self.memory.to_string())
                .cap("max-handles", &self.handles.to_string())
                .cap("max-instances", &self.instances.to_string())
                .cap("max-background", &self.background.to_string()),
            Host::Composed => cli.cap("max-read", &self.memory.to_string()),
        }
    }

    /// Returns what the documentation says of these limits.
    fn peak_bytes(&self) -> u64 {
        let mut limits = Limits::default();
        limits.tree_bytes = self.tree;
        limits.background_bytes = self.background;
        limits.read_bytes = self.memory as u64;
        let guest = GuestLimits::default()
            .memory_bytes(self.memory)
            .handles(self.handles)
            .instance_bytes(self.instances * (64 << 10));
        guest.peak_bytes(&limits)
    }
}

/// A location, and a directory that the guest sees as `/data`.
struct Scene {
    temp: TempDir,
}

impl Scene {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        for name in ["work", "store"] {
            fs::create_dir(temp.path().join(name)).unwrap();
        }
        Self { temp }
    }

    fn work(&self) -> std::path::PathBuf {
        self.temp.path().join("work")
    }

    fn store(&self) -> std::path::PathBuf {
        self.temp.path().join("store")
    }

    /// Runs the guest. Returns the peak memory of the host in KiB.
    fn run(&self, host: Host, attack: &Attack, guest: &[&str], cap_kib: u64) -> (Outcome, u64) {
        let cli = Cli::on(host, &self.store()).dir(&self.work(), "/data");
        let cli = attack
            .caps
            .options(host, cli)
            .options(attack.options)
            .envs(capped(cap_kib));
        let program = match attack.options.contains(&"p3") {
            true => "examples/concurrent",
            false => "hostile",
        };
        cli.guest(program, guest).start().finish_measured()
    }

    /// Saves a file of zeros as the checkpoint.
    fn import_zeros(&self, size: u64) {
        let file = File::create(self.work().join("zeros")).unwrap();
        file.set_len(size).unwrap();
        self.import("zeros");
    }

    /// Saves what the guest sees at this path as the checkpoint.
    fn import(&self, path: &str) {
        let (from, store) = (self.work().join(path), self.store());
        let line = ["import".as_ref(), from.as_os_str(), store.as_os_str()];
        let outcome = Cli::new(line).outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    }

    /// Creates a sparse file, with some data.
    fn sparse(&self, path: &str, size: u64) {
        let path = self.work().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, noise(0, MIB)).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(size).unwrap();
    }

    fn file(&self, size: usize) {
        fs::write(self.work().join("file"), noise(0, size)).unwrap();
    }

    /// Creates files with names of this length.
    fn files(&self, dir: &str, count: usize, length: usize) {
        let dir = self.work().join(dir);
        fs::create_dir(&dir).unwrap();
        names(&dir, count, length);
    }

    /// Creates files with paths of 2.9 KB.
    fn long_paths(&self, count: usize) {
        let deep = vec!["d".repeat(240); 11].join("/");
        let dir = self.work().join("tree").join(deep);
        fs::create_dir_all(&dir).unwrap();
        names(&dir, count, 240);
    }
}

/// Creates empty files with names of this length.
fn names(dir: &Path, count: usize, length: usize) {
    // Through a handle: a long path takes its time.
    let dir = Dir::open_ambient_dir(dir, cap_std::ambient_authority()).unwrap();
    for n in 0..count {
        dir.create(format!("{n:0length$}")).unwrap();
    }
}
