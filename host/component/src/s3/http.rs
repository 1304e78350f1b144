//! Requests by `wasi:http`, one at a time: there is one thread.

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
};
use wasip2::io::streams::StreamError;

/// The most that a stream takes or gives in one call.
const PIECE_BYTES: usize = 4096;
/// The same for reading, where it is for the host to say.
const READ_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Client))
    }
}

#[derive(Debug)]
struct Client;

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await;
        let body = body
            .map_err(|e| failed(HttpErrorKind::Request, e))?
            .to_bytes();
        let response = send(&parts, &body)?;
        let mut answer = http::Response::builder().status(response.status());
        for (name, value) in response.headers().entries() {
            answer = answer.header(name, value);
        }
        let contents = receive(&response)?;
        let contents = HttpResponseBody::from(Bytes::from(contents));
        answer
            .body(contents)
            .map_err(|e| HttpError::new(HttpErrorKind::Decode, e))
    }
}

fn send(parts: &http::request::Parts, body: &[u8]) -> Result<IncomingResponse, HttpError> {
    let headers = Fields::new();
    for (name, value) in &parts.headers {
        // The host says which one it calls.
        if name != http::header::HOST && name != http::header::CONTENT_LENGTH {
            let set = headers.append(name.as_str(), value.as_bytes());
            set.map_err(|e| failed(HttpErrorKind::Request, e))?;
        }
    }
    // Without it the body would go in chunks, which S3 does not take.
    let length = body.len().to_string();
    let set = headers.append("content-length", length.as_bytes());
    set.map_err(|e| failed(HttpErrorKind::Request, e))?;

    let request = OutgoingRequest::new(headers);
    let scheme = match parts.uri.scheme_str() {
        Some("http") => Scheme::Http,
        _ => Scheme::Https,
    };
    let path = parts.uri.path_and_query().map(|path| path.as_str());
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let set = request.set_method(&method(&parts.method));
    let set = set.and_then(|()| request.set_scheme(Some(&scheme)));
    let set = set.and_then(|()| request.set_authority(authority));
    let set = set.and_then(|()| request.set_path_with_query(path));
    set.map_err(|()| failed(HttpErrorKind::Request, "the host refuses the address"))?;

    let outgoing = request.body();
    let outgoing = outgoing.map_err(|()| failed(HttpErrorKind::Request, "no body"))?;
    let answer = outgoing_handler::handle(request, None);
    let answer = answer.map_err(|e| failed(HttpErrorKind::Connect, e))?;
    write(outgoing, body)?;
    answer.subscribe().block();
    match answer.get() {
        Some(Ok(response)) => response.map_err(|e| failed(HttpErrorKind::Interrupted, e)),
        Some(Err(())) | None => Err(failed(HttpErrorKind::Unknown, "no answer is given")),
    }
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
fn write(outgoing: OutgoingBody, body: &[u8]) -> Result<(), HttpError> {
    let interrupted = |e: StreamError| failed(HttpErrorKind::Interrupted, e);
    let stream = outgoing.write();
    let stream = stream.map_err(|()| failed(HttpErrorKind::Request, "no body"))?;
    for piece in body.chunks(PIECE_BYTES) {
        stream
            .blocking_write_and_flush(piece)
            .map_err(interrupted)?;
    }
    drop(stream);
    let ended = OutgoingBody::finish(outgoing, None);
    ended.map_err(|e| failed(HttpErrorKind::Interrupted, e))
}

fn receive(response: &IncomingResponse) -> Result<Vec<u8>, HttpError> {
    let body: IncomingBody = response
        .consume()
        .map_err(|()| failed(HttpErrorKind::Interrupted, "the answer has no body"))?;
    let stream = body
        .stream()
        .map_err(|()| failed(HttpErrorKind::Interrupted, "the body is no stream"))?;
    let mut contents = Vec::new();
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(piece) => contents.extend_from_slice(&piece),
            Err(StreamError::Closed) => break,
            Err(error) => return Err(failed(HttpErrorKind::Interrupted, error)),
        }
    }
    // Before the body that it is of.
    drop(stream);
    Ok(contents)
}

fn failed(kind: HttpErrorKind, error: impl std::fmt::Debug) -> HttpError {
    HttpError::new(kind, std::io::Error::other(format!("{error:?}")))
}
