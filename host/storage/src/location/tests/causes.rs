//! Environment variables, and the errors about them.

#![cfg(all(feature = "aws", feature = "azure", feature = "gcp"))]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::error::{ErrorKind, Result};
use crate::location::cloud::{azure, gcp, s3};
use crate::location::environment::Variables;

type Environment<'a> = &'a [(&'a str, &'a str)];

fn given(environment: Environment<'_>, prefixes: &[&str]) -> Result<Variables> {
    let all = environment.iter();
    let all = all.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Variables::of(all, prefixes)
}

fn s3(environment: Environment<'_>) -> Result<Variables> {
    s3::variables(given(environment, &s3::PREFIXES)?)
}

/// Asserts that the environment causes an error that names the variable and contains none of the values.
#[track_caller]
fn names<T: std::fmt::Debug>(variable: &str, environment: Environment<'_>, read: Result<T>) {
    let error = read.expect_err(variable);
    assert_eq!(error.kind(), ErrorKind::InvalidLocation);
    let message = format!(
        "{:#}",
        crate::location::errors::causes(&error)
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ")
    );
    assert!(message.contains(variable), "{message}");
    for (_, value) in environment {
        assert!(
            value.trim().len() < 5 || !message.contains(value.trim()),
            "{message}"
        );
    }
}

#[test]
fn a_variable_that_cannot_be_used_is_named() {
    for (name, value) in [
        ("AWS_ENDPOINT", "minio:9000"),
        ("AWS_ENDPOINT", "minio"),
        ("AWS_ENDPOINT", "//minio:9000"),
        ("AWS_ENDPOINT", "https://"),
        ("AWS_ENDPOINT", "https://minio:99999"),
        ("AWS_ENDPOINT_URL", "ftp://minio"),
        ("AWS_ENDPOINT_URL_S3", "https://mi nio"),
        ("AWS_ENDPOINT_URL_S3", "https://user:secret@minio"),
        ("AWS_ENDPOINT", "https://secret@minio"),
        ("AWS_ENDPOINT", "https://minio/?x=1"),
        ("AWS_ENDPOINT", "https://minio/#x"),
        ("AWS_ENDPOINT", "https://min\nio"),
        ("AWS_ENDPOINT", "https://min\u{e4}o"),
        ("AWS_ENDPOINT_URL_STS", "http://sts"),
        ("AWS_ENDPOINT_URL_STS", "sts"),
        ("AWS_METADATA_ENDPOINT", "169.254.169.254"),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "x"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://x:99999"),
        ("AWS_REGION", "eu west 1"),
        ("AWS_REGION", "eu\nwest"),
        ("AWS_REGION", "a/../b:99999"),
        ("AWS_DEFAULT_REGION", "x:99999"),
        ("AWS_SESSION_TOKEN", "to\r\nken"),
        ("AWS_SESSION_TOKEN", "t\u{f6}ken"),
        ("AWS_ALLOW_HTTP", "perhaps"),
        ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "2"),
        ("AWS_SKIP_SIGNATURE", "never"),
        ("AWS_ACCESS_KEY_ID", "AK\u{0}IA"),
        ("AWS_SECRET_ACCESS_KEY", "sec\nret"),
    ] {
        let environment = [(name, value)];
        names(name, &environment, s3(&environment));
    }
    let bytes = [("AWS_REGION".into(), OsString::from_vec(vec![0xff]))];
    let error = Variables::of(bytes, &["AWS_"]).unwrap_err();
    assert!(error.to_string().contains("AWS_REGION"), "{error}");
}

#[test]
fn an_endpoint_in_the_clear_needs_permission() {
    for name in ["AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
        for scheme in ["http://minio:9000", "HTTP://minio:9000"] {
            let environment = [(name, scheme)];
            let error = s3(&environment).unwrap_err().to_string();
            assert!(
                error.contains(name) && error.contains("AWS_ALLOW_HTTP"),
                "{error}"
            );
            let allowed = s3(&[(name, scheme), ("AWS_ALLOW_HTTP", "true\n")]).unwrap();
            assert_eq!(allowed.get(name), Some("http://minio:9000"));
        }
    }
    let google = [("GOOGLE_BASE_URL", "http://gcs")];
    let read = given(&google, &gcp::PREFIXES).unwrap();
    let error = gcp::check(&read).unwrap_err().to_string();
    assert!(error.contains("GOOGLE_ALLOW_HTTP"), "{error}");
    let microsoft = [("AZURE_ENDPOINT", "http://azurite")];
    let read = given(&microsoft, &azure::PREFIXES).unwrap();
    let error = azure::variables(read, None).unwrap_err().to_string();
    assert!(error.contains("AZURE_ALLOW_HTTP"), "{error}");
}

#[test]
fn blank_is_unset_and_values_are_trimmed() {
    let read = s3(&[
        ("AWS_ENDPOINT", ""),
        ("AWS_ENDPOINT_URL", " \n"),
        ("AWS_ACCESS_KEY_ID", "AKIA\n"),
        ("AWS_SECRET_ACCESS_KEY", "\tsecret\r\n"),
        ("AWS_SESSION_TOKEN", " "),
        ("AWS_REGION", " eu-west-1 "),
        ("AWS_PROFILE", ""),
        ("AWS_ALLOW_HTTP", ""),
        ("AWSOMETHING", "x\ny"),
        ("PATH", "x\ny"),
    ])
    .unwrap();
    assert_eq!(read.get("AWS_ENDPOINT"), None);
    assert_eq!(read.get("AWS_ENDPOINT_URL"), None);
    assert_eq!(read.get("AWS_SESSION_TOKEN"), None);
    assert_eq!(read.get("AWS_ACCESS_KEY_ID"), Some("AKIA"));
    assert_eq!(read.get("AWS_SECRET_ACCESS_KEY"), Some("secret"));
    assert_eq!(read.get("AWS_REGION"), Some("eu-west-1"));
}

#[test]
fn flytes_variables_count_where_those_of_aws_are_unset() {
    let flyte = [
        ("FLYTE_AWS_ENDPOINT", "http://minio:9000"),
        ("FLYTE_AWS_ACCESS_KEY_ID", "flyte"),
        ("FLYTE_AWS_SECRET_ACCESS_KEY", "flytes"),
    ];
    let read = s3(&flyte).unwrap();
    assert_eq!(read.get("AWS_ENDPOINT"), Some("http://minio:9000"));
    assert_eq!(read.get("AWS_ACCESS_KEY_ID"), Some("flyte"));
    assert_eq!(read.get("AWS_SECRET_ACCESS_KEY"), Some("flytes"));
    let own = [
        ("AWS_ENDPOINT_URL", "https://s3.example.com"),
        ("AWS_ACCESS_KEY_ID", "own"),
        ("AWS_SECRET_ACCESS_KEY", "owns"),
    ];
    let read = s3(&[&flyte[..], &own].concat()).unwrap();
    assert_eq!(read.get("AWS_ENDPOINT"), None);
    assert_eq!(read.get("AWS_ENDPOINT_URL"), Some("https://s3.example.com"));
    assert_eq!(read.get("AWS_ACCESS_KEY_ID"), Some("own"));
    assert_eq!(read.get("AWS_SECRET_ACCESS_KEY"), Some("owns"));
    // A blank one is unset.
    let read = s3(&[&flyte[..], &[("AWS_ACCESS_KEY_ID", " ")]].concat()).unwrap();
    assert_eq!(read.get("AWS_ACCESS_KEY_ID"), Some("flyte"));
    // An error names the variable that was set.
    let wrong = [("FLYTE_AWS_ENDPOINT", "minio:9000")];
    names("FLYTE_AWS_ENDPOINT", &wrong, s3(&wrong));
    let refused = [flyte[0], ("AWS_ALLOW_HTTP", "false")];
    let error = s3(&refused).unwrap_err().to_string();
    assert!(error.contains("AWS_ALLOW_HTTP"), "{error}");
}

#[test]
fn what_says_whose_storage_is_meant_is_not_ignored() {
    for name in [
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_CONFIG_FILE",
    ] {
        let alone = [(name, "production")];
        names(name, &alone, s3(&alone));
        let keys = [("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x")];
        s3(&[&keys[..], &alone].concat()).unwrap();
        s3(&[("AWS_SKIP_SIGNATURE", "true"), alone[0]]).unwrap();
    }
    for name in ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"] {
        let on = [(name, "true")];
        names(name, &[], s3(&on));
        s3(&[(name, "false")]).unwrap();
        s3(&[
            on[0],
            (
                "AWS_ENDPOINT_URL_S3",
                "https://s3-fips.us-east-1.amazonaws.com",
            ),
        ])
        .unwrap();
    }
    // Half of a key pair is an error.
    names(
        "AWS_SECRET_ACCESS_KEY",
        &[],
        s3(&[("AWS_ACCESS_KEY_ID", "x")]),
    );
    names(
        "AWS_ACCESS_KEY_ID",
        &[],
        s3(&[("AWS_SECRET_ACCESS_KEY", "x")]),
    );
    let emulated = [("STORAGE_EMULATOR_HOST", "localhost:4443")];
    let read = given(&emulated, &gcp::PREFIXES).and_then(|read| gcp::check(&read));
    names("STORAGE_EMULATOR_HOST", &emulated, read);
}

#[test]
fn an_account_of_azure_is_the_one_that_the_location_names() {
    let azure = |environment: Environment<'_>, account| {
        azure::variables(given(environment, &azure::PREFIXES)?, account)
    };
    let account = |read: Result<Variables>| {
        read.unwrap()
            .get("AZURE_STORAGE_ACCOUNT_NAME")
            .map(str::to_owned)
    };
    let name = [("AZURE_STORAGE_ACCOUNT_NAME", "here")];
    assert_eq!(account(azure(&name, None)).as_deref(), Some("here"));
    assert_eq!(account(azure(&name, Some("here"))).as_deref(), Some("here"));
    assert_eq!(account(azure(&[], Some("there"))).as_deref(), Some("there"));
    assert_eq!(
        account(azure(&[("AZURE_STORAGE_ACCOUNT", "tools")], None)).as_deref(),
        Some("tools")
    );
    names(
        "AZURE_STORAGE_ACCOUNT_NAME",
        &[],
        azure(&name, Some("there")),
    );
    let connection = [(
        "AZURE_STORAGE_CONNECTION_STRING",
        "AccountName=x;AccountKey=secret",
    )];
    names(
        "AZURE_STORAGE_CONNECTION_STRING",
        &connection,
        azure(&connection, None),
    );
    azure(&[connection[0], name[0]], None).unwrap();
    let endpoint = [("AZURE_ENDPOINT", "azurite:10000")];
    names("AZURE_ENDPOINT", &endpoint, azure(&endpoint, None));
}
