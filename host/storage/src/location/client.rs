//! An HTTP client that does not retry permanent errors.
//!
//! `object_store` retries every failed connection and every response of 500 and above, and treats the remaining
//! errors as temporary. Some are permanent, such as an untrusted certificate or a request that the server rejects.

use std::fmt;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use url::Url;

use super::errors::causes;

/// How much of a server's explanation an error message includes.
const MAX_EXPLANATION_BYTES: usize = 1024;

/// What a retry cannot change, and what to do about it.
#[derive(Debug)]
pub(super) struct Permanent {
    what: String,
    source: Option<HttpError>,
}

impl fmt::Display for Permanent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Permanent {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// A connector whose clients tell what is permanent from what passes.
#[derive(Debug)]
pub(super) struct Checked<C>(pub(super) C);

impl<C: HttpConnector> HttpConnector for Checked<C> {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(CheckedClient(self.0.connect(options)?)))
    }
}

#[derive(Debug)]
struct CheckedClient(HttpClient);

#[async_trait]
impl HttpService for CheckedClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // The inner client would panic on a URL that only one of the two URL parsers accepts.
        if let Err(error) = Url::parse(&request.uri().to_string()) {
            return Err(permanent(format!("invalid URL: {error}"), None));
        }
        match self.0.execute(request).await {
            Ok(response) => refused(response).await,
            Err(error) if is_tls(&error) => {
                let what = "cannot make a secure connection: the certificate is not trusted (set AWS_CA_BUNDLE), or the endpoint does not serve https://";
                Err(permanent(what.to_owned(), Some(error)))
            }
            Err(error) => Err(error),
        }
    }
}

fn permanent(what: String, source: Option<HttpError>) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, Permanent { what, source })
}

/// Returns whether TLS failed. TLS errors have the kind `InvalidData`; other connection errors do not.
fn is_tls(error: &HttpError) -> bool {
    error.kind() == HttpErrorKind::Connect
        && causes(error)
            .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
            .any(is_invalid_data)
}

/// Returns whether an error, or one that it wraps, has this kind. An `io::Error` does not report the error that it
/// wraps as its source.
fn is_invalid_data(error: &std::io::Error) -> bool {
    let wrapped = || error.get_ref()?.downcast_ref::<std::io::Error>();
    error.kind() == std::io::ErrorKind::InvalidData || wrapped().is_some_and(is_invalid_data)
}

/// Returns the response, or an error if it says that the request is wrong.
async fn refused(response: HttpResponse) -> Result<HttpResponse, HttpError> {
    let status = response.status();
    let hint = match status.as_u16() {
        301 | 302 | 307 | 308 => {
            let region = response.headers().get("x-amz-bucket-region");
            match region.and_then(|region| region.to_str().ok()) {
                Some(region) => {
                    format!("; the bucket is in another region, set AWS_REGION={region}")
                }
                None => "; check the region and the endpoint".to_owned(),
            }
        }
        400 | 405 | 411 | 413 | 414 | 415 | 422 | 431 | 501 | 505 => String::new(),
        // object_store handles the others, or they are temporary.
        _ => return Ok(response),
    };
    let (parts, body) = response.into_parts();
    let body = body.bytes().await?;
    let text = String::from_utf8_lossy(&body);
    // S3 responds with these if a connection was too slow or interrupted.
    let passing = ["RequestTimeout", "IncompleteBody", "BadDigest", "SlowDown"];
    if passing.iter().any(|code| text.contains(code)) {
        return Ok(HttpResponse::from_parts(
            parts,
            HttpResponseBody::from(body),
        ));
    }
    let text: String = text.chars().take(MAX_EXPLANATION_BYTES).collect();
    let what = format!("the server rejected the request with {status}{hint}: {text}");
    Err(permanent(what, None))
}
