//! A client that does not retry what stays as it is.
//!
//! `object_store` retries every connection that fails and every answer of 500 and above, and takes what remains
//! for passing. Some of it is not: a certificate that nobody vouches for, a request that the server calls wrong.

use std::fmt;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use url::Url;

use super::errors::causes;

/// As much of a server's explanation as a message holds.
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
        // The client behind this would panic on what only one of the two parsers of URLs takes.
        if let Err(error) = Url::parse(&request.uri().to_string()) {
            return Err(permanent(format!("no valid address: {error}"), None));
        }
        match self.0.execute(request).await {
            Ok(response) => refused(response).await,
            Err(error) if is_tls(&error) => {
                let what = "no secure connection: the certificate is not trusted (see AWS_CA_BUNDLE), or the endpoint is not https://";
                Err(permanent(what.to_owned(), Some(error)))
            }
            Err(error) => Err(error),
        }
    }
}

fn permanent(what: String, source: Option<HttpError>) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, Permanent { what, source })
}

/// TLS reports what it cannot accept as invalid data; whatever else ends a connection has another kind.
fn is_tls(error: &HttpError) -> bool {
    error.kind() == HttpErrorKind::Connect
        && causes(error)
            .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
            .any(|error| error.kind() == std::io::ErrorKind::InvalidData)
}

/// The response, unless it says that the request is wrong.
async fn refused(response: HttpResponse) -> Result<HttpResponse, HttpError> {
    let status = response.status();
    let hint = match status.as_u16() {
        301 | 302 | 307 | 308 => {
            let region = response.headers().get("x-amz-bucket-region");
            match region.and_then(|region| region.to_str().ok()) {
                Some(region) => format!("; the bucket lies in another region: AWS_REGION={region}"),
                None => "; is the region or the endpoint right?".to_owned(),
            }
        }
        400 | 405 | 411 | 413 | 414 | 415 | 422 | 431 | 501 | 505 => String::new(),
        // Others have a meaning to object_store, or pass.
        _ => return Ok(response),
    };
    let (parts, body) = response.into_parts();
    let body = body.bytes().await?;
    let text = String::from_utf8_lossy(&body);
    // S3 says this of connections that were too slow or cut.
    let passing = ["RequestTimeout", "IncompleteBody", "BadDigest", "SlowDown"];
    if passing.iter().any(|code| text.contains(code)) {
        return Ok(HttpResponse::from_parts(
            parts,
            HttpResponseBody::from(body),
        ));
    }
    let text: String = text.chars().take(MAX_EXPLANATION_BYTES).collect();
    let what = format!("the server refuses the request with {status}{hint}: {text}");
    Err(permanent(what, None))
}
