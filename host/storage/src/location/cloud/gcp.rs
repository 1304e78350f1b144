//! Google Cloud Storage.

use std::sync::Arc;

use object_store::client::ReqwestConnector;
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};

use super::{Opened, retry};
use crate::error::Result;
use crate::location::Location;
use crate::location::client::Checked;
use crate::location::environment::{Variables, wrong};

pub(super) fn open(location: &Location, bucket: &str) -> Result<Opened> {
    let variables = Variables::read(&PREFIXES)?;
    check(&variables)?;
    let mut builder = GoogleCloudStorageBuilder::new();
    if let Some(path) = variables.get("SERVICE_ACCOUNT") {
        builder = builder.with_config(GoogleConfigKey::ServiceAccount, path);
    }
    let settings = variables.settings();
    let store = settings
        .fold(builder, |builder, (key, value)| {
            builder.with_config(key, value)
        })
        .with_http_connector(Checked(ReqwestConnector::default()))
        .with_bucket_name(bucket)
        .with_retry(retry())
        .build()
        .map_err(|e| variables.unusable(&location.to_string(), e))?;
    Ok((Arc::new(store), location.clone()))
}

pub(in crate::location) const PREFIXES: [&str; 3] =
    ["GOOGLE_", "SERVICE_ACCOUNT", "STORAGE_EMULATOR_HOST"];

pub(in crate::location) fn check(variables: &Variables) -> Result<()> {
    if variables.has("STORAGE_EMULATOR_HOST") && !variables.has("GOOGLE_BASE_URL") {
        let what = "is not supported; set GOOGLE_BASE_URL to the emulator, or unset it";
        return Err(wrong("STORAGE_EMULATOR_HOST", what));
    }
    variables.check_http("GOOGLE_", &["GOOGLE_BASE_URL"])
}
