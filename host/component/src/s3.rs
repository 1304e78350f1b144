//! S3 over `wasi:http`.
//!
//! object_store signs and retries; what it needs from outside is a way to send a request, and hashes.

mod crypto;
mod http;

pub(crate) use self::crypto::Sha2;
pub(crate) use self::http::Connector;
