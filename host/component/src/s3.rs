//! S3 over `wasi:http`.
//!
//! object_store signs and retries; what it needs from outside is a way to send a request, and hashes.

mod crypto;
mod http;

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::{ObjectStore, Result, RetryConfig};

/// As long as the other hosts: it bridges a restart of the storage.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);

/// A bucket, with what the environment says of its endpoint and credentials.
pub(crate) fn bucket(name: &str) -> Result<Arc<dyn ObjectStore>> {
    let builder = AmazonS3Builder::from_env()
        .with_bucket_name(name)
        .with_http_connector(http::Connector)
        .with_crypto_provider(Arc::new(crypto::Sha2))
        .with_retry(RetryConfig {
            retry_timeout: RETRY_TIMEOUT,
            ..RetryConfig::default()
        });
    Ok(Arc::new(builder.build()?))
}
