//! Conformance tests for every storage, including real servers of each kind.
//!
//! `cargo test` tests the storages that need no installation. `tests/servers/run` installs real servers and
//! tests those too.

mod conformance;
mod programs;

use std::sync::Arc;

use checkpoint_storage::{Location, OpenLocation};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore};

use crate::support::Place;
use crate::support::cli::{Cli, Outcome};
use crate::support::s3::Server;
use programs::Program;

/// The bucket or container on every server.
const BUCKET: &str = "bucket";

/// The environment with which another process reaches a server.
type Env = Vec<(&'static str, String)>;

fn env(pairs: &[(&'static str, &str)]) -> Env {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| (*name, (*value).into()))
        .collect()
}

fn value<'a>(env: &'a Env, name: &str) -> &'a str {
    let mut found = env.iter().filter(|(n, _)| *n == name);
    &found.next().unwrap().1
}

fn s3(env: &Env) -> Arc<dyn ObjectStore> {
    let store = AmazonS3Builder::new()
        .with_endpoint(value(env, "AWS_ENDPOINT"))
        .with_allow_http(true)
        .with_bucket_name(BUCKET)
        .with_region(value(env, "AWS_REGION"))
        .with_access_key_id(value(env, "AWS_ACCESS_KEY_ID"))
        .with_secret_access_key(value(env, "AWS_SECRET_ACCESS_KEY"));
    Arc::new(store.build().unwrap())
}

fn azure(env: &Env) -> Arc<dyn ObjectStore> {
    let store = MicrosoftAzureBuilder::new()
        .with_endpoint(value(env, "AZURE_ENDPOINT").into())
        .with_allow_http(true)
        .with_container_name(BUCKET)
        .with_account(value(env, "AZURE_STORAGE_ACCOUNT_NAME"))
        .with_access_key(value(env, "AZURE_STORAGE_ACCOUNT_KEY"));
    Arc::new(store.build().unwrap())
}

fn gcs(env: &Env) -> Arc<dyn ObjectStore> {
    let store = GoogleCloudStorageBuilder::new()
        .with_service_account_key(value(env, "GOOGLE_SERVICE_ACCOUNT_KEY"))
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .with_bucket_name(BUCKET);
    Arc::new(store.build().unwrap())
}

/// Runs all checks on a server: from this process, and with the command line through the environment.
async fn conforms(scheme: &str, env: &Env, store: Arc<dyn ObjectStore>) {
    let url = |name: &str| format!("{scheme}://{BUCKET}/{name}");
    let open = |name: &str| {
        OpenLocation::new(store.clone(), Path::from(name), url(name)).with_ordered_lists()
    };
    conformance::check_all(&open).await;

    let doctor = doctor(&url("doctor"), env);
    assert_eq!(doctor.code, Some(0), "{}", doctor.text());
    crate::kill::resumes_after_kills(&url("training"), env, 4);
}

fn doctor(url: &str, env: &Env) -> Outcome {
    Cli::new(["doctor", url]).envs(env.clone()).outcome()
}

fn opened(name: &str) -> OpenLocation {
    name.parse::<Location>().unwrap().open().unwrap()
}

#[tokio::test]
async fn memory_conforms() {
    let open = |name: &str| opened(&format!("memory:///conformance/{name}"));
    conformance::check_all(&open).await;
}

#[tokio::test]
async fn a_local_disk_conforms() {
    let place = Place::new();
    let path = |name: &str| place.store().join(name).to_str().unwrap().to_owned();
    conformance::check_all(&|name| opened(&path(name))).await;
    let doctor = doctor(&path("doctor"), &Env::new());
    assert_eq!(doctor.code, Some(0), "{}", doctor.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_s3_test_server_conforms() {
    let server = Server::start();
    conforms("s3", &server.env(), s3(&server.env())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gcs_test_server_conforms() {
    let server = Server::start_gcs();
    conforms("gs", &server.gcs_env(), gcs(&server.gcs_env())).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs SeaweedFS, which tests/servers/run installs"]
async fn seaweedfs_conforms() {
    let server = Program::seaweedfs();
    conforms("s3", &server.env, s3(&server.env)).await;
}

#[test]
#[ignore = "needs SeaweedFS, which tests/servers/run installs"]
fn a_server_that_dies_and_comes_back_loses_nothing() {
    let mut server = Program::seaweedfs();
    let place = Place::new();
    let run = |verbs: &str| {
        let store = format!("s3://{BUCKET}/restarted");
        let cli = Cli::run(["--store", &store]).envs(server.env.clone());
        cli.dir(&place.work(), "/data").verbs(verbs)
    };
    let verbs = "write=one write-random=5000000 read wait=/data/go read write=two";
    let mut running = run(verbs).start();
    let read = (0..3).map(|_| running.line().unwrap().to_owned()).last();
    let after = run("read");
    server.restart();
    std::fs::write(place.work().join("go"), "").unwrap();
    let outcome = running.finish();
    assert_eq!(outcome.lines.get(4), read.as_ref(), "{}", outcome.text());
    assert_eq!(outcome.lines[5..], ["write 4"], "{}", outcome.text());
    after.outcome().printed(["read \"two\""]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Ceph, which tests/servers/run installs"]
async fn radosgw_conforms() {
    let server = Program::radosgw();
    conforms("s3", &server.env, s3(&server.env)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Azurite, which tests/servers/run installs"]
async fn azurite_conforms() {
    let server = Program::azurite();
    conforms("az", &server.env, azure(&server.env)).await;
}

#[test]
#[ignore = "needs rclone, which tests/servers/run installs"]
fn a_server_that_ignores_conditions_is_refused() {
    let server = Program::rclone();
    let url = format!("s3://{BUCKET}/task");
    let doctor = doctor(&url, &server.env);
    assert_eq!(doctor.code, Some(78), "{}", doctor.text());
    let refused = "NO   only one of several writers creates an object";
    let refused = doctor.lines.iter().any(|line| line.starts_with(refused));
    assert!(refused, "{}", doctor.text());
    // A task does not start on such a server either.
    let run = Cli::run(["--store", &url]).envs(server.env.clone());
    run.verbs("write=one").outcome().failed(78);
}
