//! Requests over `wasi:http`, one at a time. There is one thread, so no timer of this component can fire
//! during a request; the host enforces the timeouts instead.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};
use url::Url;
use wasip2::clocks::monotonic_clock;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{InputStream, StreamError};

/// The timeouts for connecting and for silence, the same as in object_store's own client.
const CONNECT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(30);

/// The most bytes per read.
const READ_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allowed = options.get_config_value(&ClientConfigKey::AllowHttp);
        let allowed = allowed.unwrap_or_default().to_lowercase();
        Ok(HttpClient::new(Client {
            allows_http: ["1", "true", "on", "yes", "y"].contains(&allowed.as_str()),
        }))
    }
}

#[derive(Debug)]
struct Client {
    /// Whether unencrypted requests are permitted.
    allows_http: bool,
}

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await;
        let body = body
            .map_err(|e| failed(HttpErrorKind::Request, e))?
            .to_bytes();
        let response = self.send(&parts, &body)?;
        let mut answer = http::Response::builder().status(response.status());
        for (name, value) in response.headers().entries() {
            answer = answer.header(name, value);
        }
        answer
            .body(receive(response)?)
            .map_err(|e| HttpError::new(HttpErrorKind::Decode, e))
    }
}

impl Client {
    fn send(
        &self,
        parts: &http::request::Parts,
        body: &[u8],
    ) -> Result<IncomingResponse, HttpError> {
        let (request, outgoing) = self.request(parts, body.len())?;
        let answer = outgoing_handler::handle(request, Some(patience()));
        let answer = answer.map_err(of_code)?;
        let written = write(outgoing, body);
        if let Err(late) = &written
            && late.kind() == HttpErrorKind::Timeout
        {
            return Err(failed(
                HttpErrorKind::Timeout,
                "the server stopped reading the request",
            ));
        }
        // A server may refuse the request before it has read all of it.
        answer.subscribe().block();
        match (answer.get(), written) {
            (Some(Ok(Ok(response))), _) => Ok(response),
            (Some(Ok(Err(code))), _) => Err(of_code(code)),
            (_, Err(error)) => Err(error),
            (_, Ok(())) => Err(failed(
                HttpErrorKind::Unknown,
                "the host returned no response",
            )),
        }
    }

    fn request(
        &self,
        parts: &http::request::Parts,
        body_bytes: usize,
    ) -> Result<(OutgoingRequest, OutgoingBody), HttpError> {
        let refused = |what: &str| failed(HttpErrorKind::Unknown, what);
        let headers = Fields::new();
        for (name, value) in &parts.headers {
            // The host sets the Host header itself.
            if name != http::header::HOST && name != http::header::CONTENT_LENGTH {
                let set = headers.append(name.as_str(), value.as_bytes());
                set.map_err(|_| refused("the host rejected a header"))?;
            }
        }
        // Without it the body would use chunked encoding, which S3 does not accept.
        let length = body_bytes.to_string();
        let set = headers.append("content-length", length.as_bytes());
        set.map_err(|_| refused("the host rejected a header"))?;

        // Use the address that was signed, which leaves out the scheme's default port.
        let url = Url::parse(&parts.uri.to_string())
            .map_err(|_| refused("the request has no valid URL"))?;
        let host = url
            .host_str()
            .ok_or_else(|| refused("the request has no valid URL"))?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let scheme = match url.scheme() {
            "http" if self.allows_http => Scheme::Http,
            "http" => {
                return Err(refused(
                    "unencrypted HTTP is not permitted; use https:// or set AWS_ALLOW_HTTP=true",
                ));
            }
            _ => Scheme::Https,
        };
        let path = parts.uri.path_and_query().map(|path| path.as_str());
        let request = OutgoingRequest::new(headers);
        let set = request.set_method(&method(&parts.method));
        let set = set.and_then(|()| request.set_scheme(Some(&scheme)));
        let set = set.and_then(|()| request.set_authority(Some(&authority)));
        let set = set.and_then(|()| request.set_path_with_query(path));
        set.map_err(|()| refused("the host rejected the URL"))?;
        let outgoing = request
            .body()
            .map_err(|()| refused("the host does not accept a request body"))?;
        Ok((request, outgoing))
    }
}

fn patience() -> RequestOptions {
    let options = RequestOptions::new();
    let [connect, silence] = [CONNECT, SILENCE].map(nanoseconds);
    // A host that does not support these keeps its own timeouts.
    let _ = options.set_connect_timeout(Some(connect));
    let _ = options.set_first_byte_timeout(Some(silence));
    let _ = options.set_between_bytes_timeout(Some(silence));
    options
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn method(method: &http::Method) -> Method {
    match method.as_str() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "PUT" => Method::Put,
        "POST" => Method::Post,
        "DELETE" => Method::Delete,
        other => Method::Other(other.into()),
    }
}

/// Writes and finishes the body. WASI requires that the stream is dropped before the body.
fn write(outgoing: OutgoingBody, mut body: &[u8]) -> Result<(), HttpError> {
    let interrupted = |e: StreamError| failed(HttpErrorKind::Request, e);
    let stream = outgoing.write();
    let stream = stream
        .map_err(|()| failed(HttpErrorKind::Request, "the request body cannot be written"))?;
    let mut flushed = false;
    loop {
        let permit = stream.check_write().map_err(interrupted)?;
        if permit == 0 {
            wait(&stream.subscribe())?;
        } else if !body.is_empty() {
            let most = usize::try_from(permit).map_or(body.len(), |n| n.min(body.len()));
            let (piece, rest) = body.split_at(most);
            stream.write(piece).map_err(interrupted)?;
            body = rest;
        } else if !flushed {
            stream.flush().map_err(interrupted)?;
            flushed = true;
        } else {
            break;
        }
    }
    drop(stream);
    let ended = OutgoingBody::finish(outgoing, None);
    ended.map_err(of_code)
}

/// Waits until the stream accepts more, or fails with a timeout.
fn wait(ready: &Pollable) -> Result<(), HttpError> {
    let late = monotonic_clock::subscribe_duration(nanoseconds(SILENCE));
    match poll(&[ready, &late]).contains(&0) {
        true => Ok(()),
        false => Err(failed(
            HttpErrorKind::Timeout,
            "the server stopped reading the request",
        )),
    }
}

/// A response in flight. WASI requires that the fields are dropped in this order.
struct Receiving {
    stream: InputStream,
    _body: IncomingBody,
    _response: IncomingResponse,
}

/// Returns the body as a stream, so that the caller can stop reading; it may be of any size.
fn receive(response: IncomingResponse) -> Result<HttpResponseBody, HttpError> {
    let body = response
        .consume()
        .map_err(|()| failed(HttpErrorKind::Interrupted, "the response has no body"))?;
    let stream = body.stream().map_err(|()| {
        failed(
            HttpErrorKind::Interrupted,
            "the response body cannot be read",
        )
    })?;
    let receiving = Receiving {
        stream,
        _body: body,
        _response: response,
    };
    let pieces = stream::try_unfold(receiving, |receiving| async move {
        match receiving.stream.blocking_read(READ_BYTES) {
            Ok(piece) => Ok(Some((
                http_body::Frame::data(Bytes::from(piece)),
                receiving,
            ))),
            Err(StreamError::Closed) => Ok(None),
            Err(error) => Err(failed(HttpErrorKind::Interrupted, error)),
        }
    });
    Ok(HttpResponseBody::new(StreamBody::new(pieces)))
}

/// Classifies an error as object_store's own client does. A request that was not sent or not answered may be
/// retried, even a create-only put, because the storage crate recognizes its own record.
fn kind(code: &ErrorCode) -> HttpErrorKind {
    use ErrorCode as E;
    match code {
        E::DnsTimeout
        | E::DnsError(_)
        | E::DestinationNotFound
        | E::DestinationUnavailable
        | E::ConnectionRefused
        | E::ConnectionTimeout
        | E::ConnectionLimitReached
        | E::TlsProtocolError
        | E::TlsCertificateError
        | E::TlsAlertReceived(_) => HttpErrorKind::Connect,
        E::ConnectionTerminated
        | E::HttpProtocolError
        | E::HttpResponseIncomplete
        | E::InternalError(_) => HttpErrorKind::Request,
        E::ConnectionReadTimeout | E::ConnectionWriteTimeout | E::HttpResponseTimeout => {
            HttpErrorKind::Timeout
        }
        E::HttpRequestDenied
        | E::HttpRequestMethodInvalid
        | E::HttpRequestUriInvalid
        | E::HttpRequestUriTooLong => HttpErrorKind::Unknown,
        _ => HttpErrorKind::Interrupted,
    }
}

/// Converts an error of the host. Marks TLS errors and invalid requests with the `io::ErrorKind` by which the
/// storage crate recognizes, for every client, errors that a retry cannot fix.
fn of_code(code: ErrorCode) -> HttpError {
    use ErrorCode as E;
    use std::io::ErrorKind;
    let permanent = match &code {
        E::TlsProtocolError | E::TlsCertificateError | E::TlsAlertReceived(_) => {
            ErrorKind::InvalidData
        }
        E::HttpRequestDenied
        | E::HttpRequestMethodInvalid
        | E::HttpRequestUriInvalid
        | E::HttpRequestUriTooLong => ErrorKind::InvalidInput,
        _ => return failed(kind(&code), code),
    };
    let error = std::io::Error::new(permanent, format!("{code:?}"));
    HttpError::new(kind(&code), error)
}

fn failed(kind: HttpErrorKind, error: impl std::fmt::Debug) -> HttpError {
    HttpError::new(kind, std::io::Error::other(format!("{error:?}")))
}
