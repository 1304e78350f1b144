//! Requests by `wasi:http`, one at a time: there is one thread, and no timer of its own runs while a request
//! does, so the host is told how long to wait.

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

/// How long a connection may take, and how long nothing may be heard: those of object_store's own client.
const CONNECT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(30);

/// As much as is read at a time.
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
    /// Whether requests may go in the clear.
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
            return Err(failed(HttpErrorKind::Timeout, "nothing is taken any more"));
        }
        // A server may answer, and refuse, before it has taken everything.
        answer.subscribe().block();
        match (answer.get(), written) {
            (Some(Ok(Ok(response))), _) => Ok(response),
            (Some(Ok(Err(code))), _) => Err(of_code(code)),
            (_, Err(error)) => Err(error),
            (_, Ok(())) => Err(failed(HttpErrorKind::Unknown, "no answer is given")),
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
            // The host says which one it calls.
            if name != http::header::HOST && name != http::header::CONTENT_LENGTH {
                let set = headers.append(name.as_str(), value.as_bytes());
                set.map_err(|_| refused("the host refuses a header"))?;
            }
        }
        // Without it the body would go in chunks, which S3 does not take.
        let length = body_bytes.to_string();
        let set = headers.append("content-length", length.as_bytes());
        set.map_err(|_| refused("the host refuses a header"))?;

        // The address as it was signed: without the port that its scheme has anyway.
        let url = Url::parse(&parts.uri.to_string()).map_err(|_| refused("no address"))?;
        let host = url.host_str().ok_or_else(|| refused("no address"))?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let scheme = match url.scheme() {
            "http" if self.allows_http => Scheme::Http,
            "http" => {
                return Err(refused(
                    "AWS_ALLOW_HTTP does not say that it may be in the clear",
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
        set.map_err(|()| refused("the host refuses the address"))?;
        let outgoing = request.body().map_err(|()| refused("no body"))?;
        Ok((request, outgoing))
    }
}

fn patience() -> RequestOptions {
    let options = RequestOptions::new();
    let [connect, silence] = [CONNECT, SILENCE].map(nanoseconds);
    // A host that cannot do so waits as long as it does.
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

/// The stream is dropped before the body ends, as the host asks for.
fn write(outgoing: OutgoingBody, mut body: &[u8]) -> Result<(), HttpError> {
    let interrupted = |e: StreamError| failed(HttpErrorKind::Request, e);
    let stream = outgoing.write();
    let stream = stream.map_err(|()| failed(HttpErrorKind::Request, "no body"))?;
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

/// Waits until something can be written again, but not for ever.
fn wait(ready: &Pollable) -> Result<(), HttpError> {
    let late = monotonic_clock::subscribe_duration(nanoseconds(SILENCE));
    match poll(&[ready, &late]).contains(&0) {
        true => Ok(()),
        false => Err(failed(HttpErrorKind::Timeout, "nothing is taken any more")),
    }
}

/// An answer that is being read. Dropped in this order, as the host asks for.
struct Receiving {
    stream: InputStream,
    _body: IncomingBody,
    _response: IncomingResponse,
}

/// The body piece by piece, so that whoever asked can stop: it may be of any size.
fn receive(response: IncomingResponse) -> Result<HttpResponseBody, HttpError> {
    let body = response
        .consume()
        .map_err(|()| failed(HttpErrorKind::Interrupted, "the answer has no body"))?;
    let stream = body
        .stream()
        .map_err(|()| failed(HttpErrorKind::Interrupted, "the body is no stream"))?;
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

/// What to do about an error, as object_store's own client has it: where nothing was sent or nothing answered,
/// anything may be sent again. The storage crate knows its own record when it meets it.
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

/// An error of the host's. What it says of TLS and of the request itself is as the storage crate expects it of
/// every client, which tells by it what no retry changes.
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
