//! Of two attempts on one location, only the newer one can save.

use std::sync::Arc;

use checkpoint_storage::{Attempt, AttemptSettings, ErrorKind, OpenLocation};
use object_store::path::Path;

use crate::support::cli::{Cli, Host};
use crate::support::s3::{Fate, Server};
use crate::support::{Place, on_each_host};

on_each_host![the_older_of_two_running_tasks_is_fenced];

fn location(server: &Server) -> OpenLocation {
    let client = Arc::new(server.client("bucket"));
    OpenLocation::new(client, Path::from("task"), "s3://bucket/task")
}

async fn begin(location: &OpenLocation, number: u32) -> Attempt {
    let settings = AttemptSettings::default().number(number);
    Attempt::begin(location.clone(), settings).await.unwrap()
}

fn the_older_of_two_running_tasks_is_fenced(host: Host) {
    let place = Place::on(host);
    let mut older = place
        .cli()
        .verbs("write=one wait=/data/go write=two save=/data/go write=three")
        .start();
    assert_eq!(older.line(), Some("write 2"));
    place
        .run("read write=newer")
        .printed(["read \"one\"", "write 4"]);
    std::fs::write(place.work().join("go"), "").unwrap();
    let outcome = older.finish();
    assert_eq!(
        outcome.lines,
        [
            "write 2",
            "wait over",
            "error: fenced",
            "error: fenced",
            "error: fenced"
        ],
        "{}",
        outcome.text()
    );
    place.run("read").printed(["read \"newer\""]);
}

#[test]
fn a_fenced_task_that_gives_up_ends_with_the_code_for_that() {
    let place = Place::new();
    let verbs = "strict write=one wait=/data/go write=two";
    let mut older = place.cli().options(["--retries", "5"]).verbs(verbs).start();
    assert_eq!(older.line(), Some("write 2"));
    place.run("write=newer").printed(["write 4"]);
    std::fs::write(place.work().join("go"), "").unwrap();
    // It is not run again either: that would fence the newer one.
    older.finish().failed(76);
    place.run("read").printed(["read \"newer\""]);
}

#[test]
fn a_listing_does_not_fence_the_running_task() {
    let place = Place::new();
    let verbs = "write=one wait=/data/go write=two";
    let mut running = place.cli().verbs(verbs).start();
    assert_eq!(running.line(), Some("write 2"));
    let store = place.store();
    let listing = Cli::new(["ls".as_ref(), "--json".as_ref(), store.as_os_str()]).outcome();
    assert_eq!(listing.code, Some(0), "{}", listing.text());
    assert!(
        listing.text().contains("\"sequence\": 2"),
        "{}",
        listing.text()
    );
    std::fs::write(place.work().join("go"), "").unwrap();
    running
        .finish()
        .printed(["write 2", "wait over", "write 3"]);
}

#[tokio::test]
async fn an_older_attempt_is_fenced_before_the_newer_one_has_saved() {
    let server = Server::start();
    let location = location(&server);
    let older = begin(&location, 0).await;
    older.write("one".into()).await.unwrap();
    let newer = begin(&location, 1).await;
    for _ in 0..2 {
        let error = older.write("two".into()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
    }
    assert_eq!(newer.read().await.unwrap().unwrap(), "one");
    newer.write("three".into()).await.unwrap();
    assert_eq!(newer.read().await.unwrap().unwrap(), "three");
}

#[tokio::test]
async fn an_older_attempt_stays_fenced_when_the_newer_one_has_pruned() {
    let server = Server::start();
    let location = location(&server);
    let older = begin(&location, 0).await;
    older.write("one".into()).await.unwrap();
    let newer = begin(&location, 1).await;
    for _ in 0..10 {
        newer.write("newer".into()).await.unwrap();
    }
    let error = older.write("two".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    let last = begin(&location, 2).await;
    assert_eq!(last.read().await.unwrap().unwrap(), "newer");
}

#[tokio::test]
async fn a_commit_that_arrives_after_the_next_claim_does_not_count() {
    let server = Arc::new(Server::start());
    let location = location(&server);
    let older = begin(&location, 0).await;
    older.write("one".into()).await.unwrap();

    let mut held = false;
    server.on_request(move |seen| {
        let hold = !held && seen.method == "PUT" && seen.path.contains("/log/");
        held |= hold;
        if hold { Fate::Held } else { Fate::Served }
    });
    let late = tokio::spawn(async move { older.write("two".into()).await });
    let waiting = server.clone();
    tokio::task::spawn_blocking(move || waiting.wait_for_held())
        .await
        .unwrap();

    let newer = begin(&location, 1).await;
    server.release();
    let error = late.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert_eq!(newer.read().await.unwrap().unwrap(), "one");
    newer.write("three".into()).await.unwrap();
}

#[tokio::test]
async fn an_attempt_does_not_fence_itself_when_an_answer_is_lost() {
    let server = Server::start();
    let location = location(&server);
    let attempt = begin(&location, 0).await;
    server.on_request(|seen| match (seen.method, seen.number) {
        ("PUT", 0) => Fate::AnswerLost,
        _ => Fate::Served,
    });
    let saved = attempt.write("one".into()).await.unwrap();
    assert_eq!(saved.sequence, 2);
    attempt.write("two".into()).await.unwrap();
    let next = begin(&location, 1).await;
    assert_eq!(next.read().await.unwrap().unwrap(), "two");
}

#[tokio::test]
async fn a_save_that_did_not_reach_the_storage_can_be_retried() {
    let server = Server::start();
    let location = location(&server);
    let attempt = begin(&location, 0).await;
    server.on_request(|seen| match seen.method {
        "PUT" => Fate::Lost,
        _ => Fate::Served,
    });
    let error = attempt.write("one".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(attempt.read().await.unwrap().is_none());
    server.on_request(|_| Fate::Served);
    attempt.write("two".into()).await.unwrap();
    let next = begin(&location, 1).await;
    assert_eq!(next.read().await.unwrap().unwrap(), "two");
}

#[tokio::test]
async fn a_save_whose_outcome_is_unknown_does_not_block_the_next() {
    let server = Server::start();
    let location = location(&server);
    let attempt = begin(&location, 0).await;
    // The commit takes effect but its answer is lost, and the read-back fails with 403, which is not retried.
    // The attempt cannot know the outcome.
    server.on_request(|seen| match seen.method {
        "PUT" => Fate::AnswerLost,
        _ => Fate::Failed(403),
    });
    let first = attempt.write("one".into()).await;
    server.on_request(|_| Fate::Served);
    assert!(first.is_err(), "{first:?}");
    attempt.write("two".into()).await.unwrap();
    assert_eq!(attempt.read().await.unwrap().unwrap(), "two");
    let next = begin(&location, 1).await;
    assert_eq!(next.read().await.unwrap().unwrap(), "two");
}

#[test]
fn exactly_one_of_several_concurrent_tasks_succeeds_and_its_checkpoint_is_intact() {
    let place = Place::new();
    let racers: Vec<_> = (0..6)
        .map(|racer| {
            place
                .cli()
                .verbs(&format!("strict write=racer-{racer} write=end-{racer}"))
                .start()
        })
        .collect();
    let outcomes: Vec<_> = racers.into_iter().map(|r| r.finish()).collect();
    let mut through = Vec::new();
    for (racer, outcome) in outcomes.iter().enumerate() {
        match outcome.code {
            Some(0) => through.push(format!("read \"end-{racer}\"")),
            Some(76) => {}
            _ => panic!("{}", outcome.text()),
        }
    }
    let read = place.run("read");
    assert!(
        through.contains(&read.lines[0]),
        "{through:?} {}",
        read.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writers_of_one_attempt_never_mix_checkpoints() {
    let server = Server::start();
    let location = location(&server);
    let attempt = Arc::new(begin(&location, 0).await);
    let writers: Vec<_> = (0..4u8)
        .map(|writer| {
            let attempt = attempt.clone();
            tokio::spawn(async move {
                for round in 0..10 {
                    // Small contents are stored in the record, large contents in data objects.
                    let size = if round % 2 == 0 { 1000 } else { 200_000 };
                    let contents = vec![writer; size];
                    attempt.write(contents.into()).await.unwrap();
                    let read = attempt.read().await.unwrap().unwrap();
                    assert!(read.iter().all(|byte| *byte == read[0]), "torn");
                    assert!([1000, 200_000].contains(&read.len()), "torn");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(attempt.totals().saves, 40);
}
