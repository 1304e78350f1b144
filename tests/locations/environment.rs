//! Storage settings in the environment, and which answers of a storage are retried.

use super::WRONG_LOCATION;
use crate::support::cli::{Cli, Host, Outcome};
use crate::support::on_each_host;
use crate::support::s3::{Fate, Server};

on_each_host![
    an_invalid_variable_is_named_in_an_error_and_never_panics,
    requests_are_retried_until_a_restarting_storage_answers,
    a_request_that_the_server_rejects_as_invalid_is_not_retried,
];

type Changed = (&'static str, Option<String>);

/// The environment for a client of the server, with some variables changed or removed.
fn environment(server: &Server, changed: &[Changed]) -> Vec<(&'static str, String)> {
    let mut environment = server.env();
    environment.retain(|(name, _)| !changed.iter().any(|(other, _)| other == name));
    environment.extend(
        changed
            .iter()
            .filter_map(|(name, value)| Some((*name, value.clone()?))),
    );
    environment
}

fn on_s3(host: Host, environment: Vec<(&'static str, String)>, verbs: &str) -> Outcome {
    Cli::on_s3_by(host, "s3://bucket/task", environment)
        .verbs(verbs)
        .outcome()
}

fn an_invalid_variable_is_named_in_an_error_and_never_panics(host: Host) {
    let server = Server::start();
    let value = |name: &str| {
        let (_, value) = server
            .env()
            .into_iter()
            .find(|(known, _)| *known == name)
            .unwrap();
        value
    };
    // Values are trimmed, and a blank value counts as unset.
    let usable = [
        (
            "AWS_ENDPOINT",
            Some(format!("{}/\n", value("AWS_ENDPOINT"))),
        ),
        (
            "AWS_SECRET_ACCESS_KEY",
            Some(format!("{}\n", value("AWS_SECRET_ACCESS_KEY"))),
        ),
        (
            "AWS_ACCESS_KEY_ID",
            Some(format!(" {}", value("AWS_ACCESS_KEY_ID"))),
        ),
        ("AWS_REGION", Some("us-east-1\r\n".to_owned())),
        ("AWS_SESSION_TOKEN", Some(" ".to_owned())),
        ("AWS_ENDPOINT_URL", Some(String::new())),
    ];
    for number in 0..usable.len() {
        let environment = environment(&server, &usable[number..=number]);
        let outcome = on_s3(host, environment, "write=x");
        assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    }
    let flyte = [
        ("AWS_ENDPOINT", None),
        ("AWS_ACCESS_KEY_ID", None),
        ("AWS_SECRET_ACCESS_KEY", None),
        ("FLYTE_AWS_ENDPOINT", Some(value("AWS_ENDPOINT"))),
        ("FLYTE_AWS_ACCESS_KEY_ID", Some(value("AWS_ACCESS_KEY_ID"))),
        (
            "FLYTE_AWS_SECRET_ACCESS_KEY",
            Some(value("AWS_SECRET_ACCESS_KEY")),
        ),
    ];
    on_s3(host, environment(&server, &flyte), "read").printed(["read \"x\""]);

    let wrong = [
        ("AWS_ENDPOINT", "127.0.0.1:9000"),
        ("AWS_ENDPOINT", "http://127.0.0.1:99999"),
        ("AWS_ENDPOINT", "http://user:hunter2@127.0.0.1"),
        ("AWS_ENDPOINT", "http://127.0.0.1/\nx"),
        ("AWS_ENDPOINT_URL_S3", "localhost"),
        ("AWS_ACCESS_KEY_ID", "te\nst"),
        ("AWS_SECRET_ACCESS_KEY", "te\rst"),
        ("AWS_SESSION_TOKEN", "te\nst"),
        ("AWS_SESSION_TOKEN", "te\u{7f}st"),
        ("AWS_REGION", "us\neast"),
        ("AWS_REGION", "us east:99999"),
        ("AWS_ALLOW_HTTP", "maybe"),
        ("AWS_ALLOW_HTTP", "false"),
    ];
    for (name, value) in wrong {
        let environment = environment(&server, &[(name, Some(value.to_owned()))]);
        let outcome = on_s3(host, environment, "write=x");
        assert!(!outcome.text().contains("hunter2"), "{}", outcome.text());
        match host {
            Host::Native => {
                let error = outcome.failed(WRONG_LOCATION);
                assert!(error.contains(name), "{error}");
            }
            Host::Composed => {
                assert_eq!(
                    outcome.lines,
                    ["error: other"],
                    "{name}={value:?}: {}",
                    outcome.text()
                );
                assert!(outcome.stderr.contains(name), "{}", outcome.text());
            }
        }
    }
}

#[test]
fn credentials_in_files_are_not_silently_ignored() {
    let server = Server::start();
    let keys = [("AWS_ACCESS_KEY_ID", None), ("AWS_SECRET_ACCESS_KEY", None)];
    for name in [
        "AWS_PROFILE",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
    ] {
        let with = [(name, Some("production".to_owned()))];
        let outcome = on_s3(
            Host::Native,
            environment(&server, &[&keys[..], &with].concat()),
            "read",
        );
        let error = outcome.failed(WRONG_LOCATION);
        assert!(error.contains(name), "{error}");
        let outcome = on_s3(Host::Native, environment(&server, &with), "read");
        assert_eq!(outcome.code, Some(0), "{}", outcome.text());
    }
    let missing = [("AWS_CA_BUNDLE", Some("/nonexistent".to_owned()))];
    let outcome = on_s3(Host::Native, environment(&server, &missing), "read");
    assert!(outcome.failed(WRONG_LOCATION).contains("AWS_CA_BUNDLE"));
}

/// Twelve failures are more than the ten that object_store permits by default. Their waits of at most two seconds
/// each end before the time limit of half a minute does.
fn requests_are_retried_until_a_restarting_storage_answers(host: Host) {
    let server = Server::start();
    server.on_request(|seen| match seen.number < 12 {
        true => Fate::Failed(503),
        false => Fate::Served,
    });
    on_s3(host, server.env(), "write=x").printed(["write 2"]);
}

/// A retry of an invalid request would fail the same way.
fn a_request_that_the_server_rejects_as_invalid_is_not_retried(host: Host) {
    for status in [400, 405, 501] {
        let server = Server::start();
        server.on_request(move |_| Fate::Failed(status));
        let outcome = on_s3(host, server.env(), "write=x");
        match host {
            Host::Native => drop(outcome.failed(WRONG_LOCATION)),
            Host::Composed => assert_eq!(outcome.lines, ["error: other"], "{}", outcome.text()),
        }
        assert!(
            outcome.text().contains(&status.to_string()),
            "{}",
            outcome.text()
        );
        assert!(server.requests() <= 2, "{} requests", server.requests());
    }
}

/// The server does not support TLS, so a retry cannot succeed. Only natively: the composed host leaves TLS to the
/// program that runs it, which retries nothing by itself.
#[test]
fn an_endpoint_of_the_wrong_scheme_is_not_retried() {
    let server = Server::start();
    let mut environment = server.env();
    for (name, value) in &mut environment {
        if *name == "AWS_ENDPOINT" {
            *value = value.replace("http://", "https://");
        }
    }
    let outcome = on_s3(Host::Native, environment, "write=x");
    outcome.failed(WRONG_LOCATION);
    assert!(outcome.stderr.contains("https://"), "{}", outcome.text());
}
