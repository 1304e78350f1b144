//! Cloud storage, configured by the environment.

use std::sync::Arc;

use object_store::ObjectStore;

use super::{Location, parse};
use crate::error::Result;

#[cfg(any(feature = "aws-base", feature = "gcp", feature = "azure"))]
use super::Kind;

#[cfg(feature = "azure")]
pub(super) mod azure;
#[cfg(feature = "gcp")]
pub(super) mod gcp;
#[cfg(feature = "aws-base")]
pub(super) mod s3;

/// The storage of a location, and the location's canonical name.
type Opened = (Arc<dyn ObjectStore>, Location);

/// How long to retry a request. Half a minute outlasts a restart of the storage. object_store's three minutes
/// exceed most grace periods, and a task that receives `unavailable` can decide for itself. There is no limit
/// on the number of retries: ten would be used up after four seconds. Retries are at most two seconds apart:
/// object_store's fifteen are half of the time, so a storage that has come back could be missed.
#[cfg(any(feature = "aws-base", feature = "gcp", feature = "azure"))]
fn retry() -> object_store::RetryConfig {
    object_store::RetryConfig {
        retry_timeout: std::time::Duration::from_secs(30),
        max_retries: usize::MAX,
        backoff: object_store::BackoffConfig {
            max_backoff: std::time::Duration::from_secs(2),
            ..Default::default()
        },
    }
}

pub(super) fn open(location: &Location) -> Result<Opened> {
    match &location.kind {
        #[cfg(feature = "aws")]
        Kind::S3 { bucket, .. } => s3::open_natively(location, bucket),
        #[cfg(feature = "gcp")]
        Kind::Gcs { bucket, .. } => gcp::open(location, bucket),
        #[cfg(feature = "azure")]
        Kind::Azure {
            account,
            container,
            key,
        } => azure::open(location, account.as_deref(), container, key),
        _ => Err(not_built(location)),
    }
}

#[cfg(feature = "aws-base")]
pub(super) fn open_s3(
    location: &Location,
    connector: impl object_store::client::HttpConnector,
    crypto: Arc<dyn object_store::client::CryptoProvider>,
) -> Result<Opened> {
    match &location.kind {
        Kind::S3 { bucket, .. } => s3::open_by(location, bucket, connector, crypto),
        _ => open(location),
    }
}

fn not_built(location: &Location) -> crate::error::Error {
    let what = "this program was built without support for this storage";
    parse::invalid(&location.to_string(), what)
}
