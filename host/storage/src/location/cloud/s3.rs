//! S3, and servers that implement its protocol.

use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::client::{CryptoProvider, HttpConnector};

use super::{Opened, retry};
use crate::error::Result;
use crate::location::Location;
use crate::location::client::Checked;
use crate::location::environment::{Variables, wrong};

const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
const ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"];
const CA_BUNDLE: &str = "AWS_CA_BUNDLE";

#[cfg(feature = "aws")]
pub(super) fn open_natively(location: &Location, bucket: &str) -> Result<Opened> {
    use object_store::client::ReqwestConnector;

    let variables = variables(Variables::read(&PREFIXES)?)?;
    let mut options = object_store::ClientOptions::new();
    if let Some(path) = variables.get(CA_BUNDLE) {
        for certificate in certificates(path)? {
            options = options.with_root_certificate(certificate);
        }
    }
    let builder = AmazonS3Builder::new().with_client_options(options);
    let builder = builder.with_http_connector(Checked(ReqwestConnector::default()));
    build(location, bucket, builder, &variables)
}

pub(super) fn open_by(
    location: &Location,
    bucket: &str,
    connector: impl HttpConnector,
    crypto: Arc<dyn CryptoProvider>,
) -> Result<Opened> {
    let variables = variables(Variables::read(&PREFIXES)?)?;
    if variables.has(CA_BUNDLE) {
        let what = "has no effect here, because the host of this component verifies certificates; unset it";
        return Err(wrong(CA_BUNDLE, what));
    }
    let builder = AmazonS3Builder::new()
        .with_http_connector(Checked(connector))
        .with_crypto_provider(crypto);
    build(location, bucket, builder, &variables)
}

fn build(
    location: &Location,
    bucket: &str,
    builder: AmazonS3Builder,
    variables: &Variables,
) -> Result<Opened> {
    let settings = variables.settings();
    let builder = settings.fold(builder, |builder, (key, value)| {
        builder.with_config(key, value)
    });
    let store = builder
        .with_bucket_name(bucket)
        .with_retry(retry())
        .build()
        .map_err(|e| variables.unusable(&location.to_string(), e))?;
    Ok((Arc::new(store), location.clone()))
}

pub(in crate::location) const PREFIXES: [&str; 2] = ["AWS_", "FLYTE_AWS_"];

/// Resolves the variables.
///
/// # Errors
/// `InvalidLocation` for variables that select a storage or its credentials but would be ignored.
pub(in crate::location) fn variables(mut variables: Variables) -> Result<Variables> {
    let flyte_endpoint = !ENDPOINTS.iter().any(|name| variables.has(name))
        && variables
            .get("FLYTE_AWS_ENDPOINT")
            .is_some_and(|url| url.starts_with("http:"));
    // flytekit does the same without requiring permission.
    if flyte_endpoint && !variables.has("AWS_ALLOW_HTTP") {
        variables.set("AWS_ALLOW_HTTP", "true");
    }
    variables.fall_back(&ENDPOINTS, "AWS_ENDPOINT", "FLYTE_AWS_ENDPOINT");
    for name in [KEY_ID, SECRET] {
        variables.fall_back(&[name], name, &format!("FLYTE_{name}"));
    }
    variables.check_http("AWS_", &ENDPOINTS)?;
    if let Some(url) = variables.get("AWS_ENDPOINT_URL_STS")
        && url.starts_with("http:")
    {
        return Err(wrong(
            "AWS_ENDPOINT_URL_STS",
            "is unencrypted; use https://",
        ));
    }
    match (variables.has(KEY_ID), variables.has(SECRET)) {
        (true, false) => return Err(wrong(SECRET, &format!("is not set, but {KEY_ID} is"))),
        (false, true) => return Err(wrong(KEY_ID, &format!("is not set, but {SECRET} is"))),
        (true, true) => {}
        (false, false) => check_files(&variables)?,
    }
    for name in ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"] {
        if variables.is_on(name) && !ENDPOINTS.iter().any(|name| variables.has(name)) {
            let what = "is not supported; set the endpoint with AWS_ENDPOINT_URL_S3";
            return Err(wrong(name, what));
        }
    }
    Ok(variables)
}

/// # Errors
/// If the variables refer to credentials in a file of the AWS tools. Such files are not supported.
fn check_files(variables: &Variables) -> Result<()> {
    if variables.is_on("AWS_SKIP_SIGNATURE") {
        return Ok(());
    }
    let what = format!(
        "refers to credentials in a file, which is not supported; set {KEY_ID} and {SECRET} instead (`aws configure export-credentials --format env` prints them)"
    );
    let of_profile = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"];
    let of_files = ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"];
    let has_others = [
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ];
    let has_others = has_others.iter().any(|name| variables.has(name));
    let unread = of_profile
        .iter()
        .chain(of_files.iter().filter(|_| !has_others));
    match unread.copied().find(|name| variables.has(name)) {
        Some(name) => Err(wrong(name, &what)),
        None => Ok(()),
    }
}

#[cfg(feature = "aws")]
fn certificates(path: &str) -> Result<Vec<object_store::Certificate>> {
    let bytes = std::fs::read(path)
        .map_err(|e| wrong(CA_BUNDLE, "names a file that cannot be read").with_source(e))?;
    let unusable = || wrong(CA_BUNDLE, "names a file without PEM certificates");
    let certificates = object_store::Certificate::from_pem_bundle(&bytes)
        .map_err(|e| unusable().with_source(e))?;
    match certificates.is_empty() {
        true => Err(unusable()),
        false => Ok(certificates),
    }
}
