//! Real servers, started as child processes on loopback ports for the duration of a test.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use super::{BUCKET, Env, env};

const ACCESS_KEY: &str = "test-key";
const SECRET_KEY: &str = "test-secret";

/// The well-known account of Azurite, with its published key.
const AZURITE_ACCOUNT: &str = "devstoreaccount1";
const AZURITE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The maximum time until a server listens. Ceph formats a disk first.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server with one bucket. Dropping this kills it and its child processes.
pub(super) struct Program {
    /// Held by a server that opens more ports than the one it is given, so that only one such server runs.
    only_one: Option<MutexGuard<'static, ()>>,
    command: Command,
    child: Child,
    port: u16,
    dir: TempDir,
    /// The environment with which a client reaches the server.
    pub(super) env: Env,
}

impl Program {
    /// SeaweedFS, an S3 server written in Go.
    pub(super) fn seaweedfs() -> Self {
        static ONE: Mutex<()> = Mutex::new(());
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let port = free_port();
        let mut server = Self::start(s3(port), port, |dir| {
            let mut command = Command::new("weed");
            command.arg("mini").arg(flag("-dir=", dir));
            command.arg(format!("-s3.port={port}"));
            command.args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1"]);
            command.args(["-admin.ui=false", "-webdav=false"]);
            command
        });
        server.only_one = Some(one);
        server.make_bucket();
        server
    }

    /// Ceph's S3 gateway, written in C++, with a different store underneath.
    pub(super) fn radosgw() -> Self {
        let port = free_port();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("servers/radosgw");
        let server = Self::start(s3(port), port, |dir| {
            let mut command = Command::new(script);
            command.arg(dir).arg(port.to_string());
            command.args([
                free_port().to_string(),
                ACCESS_KEY.into(),
                SECRET_KEY.into(),
            ]);
            command
        });
        server.make_bucket();
        server
    }

    /// rclone, an S3 server that ignores the condition of create-only puts.
    pub(super) fn rclone() -> Self {
        let port = free_port();
        Self::start(s3(port), port, |dir| {
            std::fs::create_dir(dir.join(BUCKET)).unwrap();
            let mut command = Command::new("rclone");
            command.args(["serve", "s3", "--addr", &format!("127.0.0.1:{port}")]);
            command.arg(format!("--auth-key={ACCESS_KEY},{SECRET_KEY}"));
            command.arg(dir);
            command
        })
    }

    /// Azurite, Microsoft's emulator of Azure Blob Storage.
    pub(super) fn azurite() -> Self {
        let port = free_port();
        let endpoint = format!("http://127.0.0.1:{port}/{AZURITE_ACCOUNT}");
        let env = env(&[
            ("AZURE_ENDPOINT", &endpoint),
            ("AZURE_ALLOW_HTTP", "true"),
            ("AZURE_STORAGE_ACCOUNT_NAME", AZURITE_ACCOUNT),
            ("AZURE_STORAGE_ACCOUNT_KEY", AZURITE_KEY),
        ]);
        let server = Self::start(env, port, |dir| {
            let mut command = Command::new("azurite-blob");
            command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()]);
            command.args(["--skipApiVersionCheck", "--disableTelemetry", "--location"]);
            command.arg(dir);
            command
        });
        rclone_mkdir([
            ("type", "azureblob"),
            ("account", AZURITE_ACCOUNT),
            ("key", AZURITE_KEY),
            ("endpoint", &endpoint),
        ]);
        server
    }

    fn start(env: Env, port: u16, command: impl FnOnce(&Path) -> Command) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log: PathBuf = dir.path().with_extension("log");
        let output = std::fs::File::create(&log).unwrap();
        let mut command = command(dir.path());
        // Some servers take their own credentials from these variables.
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY);
        command.env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        command
            .stdin(Stdio::null())
            .stderr(output.try_clone().unwrap());
        command.stdout(output).process_group(0);
        let child = spawn(&mut command);
        let mut server = Self {
            only_one: None,
            command,
            child,
            port,
            dir,
            env,
        };
        server.wait_for_port();
        server
    }

    /// Kills the server and restarts it with its stored data.
    pub(super) fn restart(&mut self) {
        self.kill();
        self.child = spawn(&mut self.command);
        self.wait_for_port();
    }

    fn wait_for_port(&mut self) {
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || began.elapsed() > PATIENCE {
                let said = std::fs::read_to_string(self.log()).unwrap();
                let program = self.command.get_program();
                panic!("{program:?} does not listen ({ended:?}): {said}");
            }
            // Polling the port is the only way to wait for the server.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn kill(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // The server may have exited already.
            let _ = kill_process_group(group, Signal::KILL);
        }
        drop(self.child.wait());
    }

    fn log(&self) -> PathBuf {
        self.dir.path().with_extension("log")
    }

    fn make_bucket(&self) {
        let endpoint = super::value(&self.env, "AWS_ENDPOINT");
        rclone_mkdir([
            ("type", "s3"),
            ("access_key_id", ACCESS_KEY),
            ("secret_access_key", SECRET_KEY),
            ("endpoint", endpoint),
        ]);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        drop(std::fs::remove_file(self.log()));
    }
}

fn spawn(command: &mut Command) -> Child {
    let child = command.spawn();
    child.unwrap_or_else(|e| panic!("{:?}: {e}", command.get_program()))
}

/// Creates the bucket with rclone, because object_store cannot. rclone retries, because a server may listen
/// before it can serve requests.
fn rclone_mkdir(remote: [(&str, &str); 4]) {
    let mut command = Command::new("rclone");
    command.args(["mkdir", "--retries", "20", "--retries-sleep", "1s"]);
    for (option, value) in remote {
        command.env(
            format!("RCLONE_CONFIG_SERVER_{}", option.to_uppercase()),
            value,
        );
    }
    let made = command.arg(format!("server:{BUCKET}")).output().unwrap();
    std::io::stderr().write_all(&made.stderr).unwrap();
    assert!(made.status.success());
}

fn s3(port: u16) -> Env {
    let endpoint = format!("http://127.0.0.1:{port}");
    env(&[
        ("AWS_ENDPOINT", &endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_REGION", "us-east-1"),
    ])
}

fn flag(name: &str, path: &Path) -> String {
    format!("{name}{}", path.display())
}

/// Returns a free port. If another program takes the port first, the test fails and says so.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
