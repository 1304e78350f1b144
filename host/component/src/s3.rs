//! S3 over `wasi:http`.
//!
//! object_store signs and retries requests. It needs an HTTP client and hashes from outside.

mod crypto;
mod http;

pub(crate) use self::crypto::Sha2;
pub(crate) use self::http::Connector;
