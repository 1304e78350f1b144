//! An in-process S3 server on a loopback port. Tests decide which requests fail.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::stream;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper_util::rt::TokioIo;
use object_store::RetryConfig;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use s3s::auth::SimpleAuth;
use s3s::dto::StreamingBlob;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpResponse};
use tokio::sync::{Semaphore, oneshot};

use super::bucket::Buckets;

const ACCESS_KEY: &str = "test-key";
const SECRET_KEY: &str = "test-secret";

/// A request that reached the server.
pub(crate) struct Seen<'a> {
    /// The number of requests before it, since the start or the last [`Server::on_request`].
    pub(crate) number: u64,
    pub(crate) method: &'a str,
    /// `/bucket/key`
    pub(crate) path: &'a str,
}

/// What the server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Served,
    /// The server answers with this status. The request has no effect.
    Failed(u16),
    /// The connection is cut. The request has no effect.
    Lost,
    /// The request takes effect, then the connection is cut.
    AnswerLost,
    /// The request takes effect, and the connection is cut in the middle of the answer's body.
    Truncated,
    /// The request is served after this time.
    Late(Duration),
    /// The request has no effect until [`Server::release`].
    Held,
    /// The request takes effect. The answer is sent after [`Server::release`].
    AnswerHeld,
}

type Hook = Box<dyn FnMut(&Seen<'_>) -> Fate + Send>;

/// The server. Dropping this stops it.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    api: Api,
    service: S3Service,
    buckets: Buckets,
    faults: Mutex<Faults>,
    held: Mutex<u64>,
    held_more: Condvar,
    release: Semaphore,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Api {
    S3,
    Gcs,
}

struct Faults {
    hook: Hook,
    requests: u64,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_as(Api::S3)
    }

    /// Starts a server for the XML API of GCS, which differs from S3 in its conditions, deletions and keys.
    /// It stands in for an emulator: none exists that `object_store` can write to.
    pub(crate) fn start_gcs() -> Self {
        Self::start_as(Api::Gcs)
    }

    fn start_as(api: Api) -> Self {
        let buckets = Buckets::default();
        let mut builder = S3ServiceBuilder::new(buckets.clone());
        if api == Api::S3 {
            builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        }
        let shared = Arc::new(Shared {
            api,
            service: builder.build(),
            buckets,
            faults: Mutex::new(Faults {
                hook: Box::new(|_| Fate::Served),
                requests: 0,
            }),
            held: Mutex::new(0),
            held_more: Condvar::new(),
            release: Semaphore::new(0),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let for_thread = shared.clone();
        // The server has its own thread and runtime, so that tests may block.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, for_thread) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Calls `hook` for each request from now on. Requests are counted from 0 again.
    pub(crate) fn on_request(&self, hook: impl FnMut(&Seen<'_>) -> Fate + Send + 'static) {
        *lock(&self.shared.faults) = Faults {
            hook: Box::new(hook),
            requests: 0,
        };
    }

    /// The number of requests since the start or the last [`on_request`](Self::on_request).
    pub(crate) fn requests(&self) -> u64 {
        lock(&self.shared.faults).requests
    }

    /// Waits until another request is held. Each held request ends one call of this function.
    pub(crate) fn wait_for_held(&self) {
        let held = lock(&self.shared.held);
        let wait = self.shared.held_more.wait_while(held, |held| *held == 0);
        *wait.unwrap_or_else(PoisonError::into_inner) -= 1;
    }

    /// Returns whether a request is held that was not taken yet, and takes it.
    pub(crate) fn take_held(&self) -> bool {
        let mut held = lock(&self.shared.held);
        let any = *held > 0;
        *held = held.saturating_sub(1);
        any
    }

    /// Releases one held request.
    pub(crate) fn release(&self) {
        self.shared.release.add_permits(1);
    }

    pub(crate) fn keys(&self, bucket: &str) -> Vec<String> {
        self.shared.buckets.keys(bucket)
    }

    /// The environment with which another process reaches this server.
    pub(crate) fn env(&self) -> Vec<(&'static str, String)> {
        environment(self.address)
    }

    /// The environment with which another process reaches this server as GCS.
    pub(crate) fn gcs_env(&self) -> Vec<(&'static str, String)> {
        let key = format!(
            r#"{{"gcs_base_url": "http://{}", "disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""}}"#,
            self.address
        );
        vec![
            ("GOOGLE_SERVICE_ACCOUNT_KEY", key),
            ("GOOGLE_ALLOW_HTTP", "true".into()),
        ]
    }

    /// A client in this process, with few retries.
    pub(crate) fn client(&self, bucket: &str) -> AmazonS3 {
        AmazonS3Builder::new()
            .with_endpoint(format!("http://{}", self.address))
            .with_allow_http(true)
            .with_bucket_name(bucket)
            .with_region("us-east-1")
            .with_access_key_id(ACCESS_KEY)
            .with_secret_access_key(SECRET_KEY)
            .with_retry(RetryConfig {
                max_retries: 2,
                ..Default::default()
            })
            .build()
            .unwrap()
    }
}

/// The environment of a client of an S3 server at this address.
pub(crate) fn environment(address: SocketAddr) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT", format!("http://{address}")),
        ("AWS_ALLOW_HTTP", "true".into()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.into()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.into()),
        ("AWS_REGION", "us-east-1".into()),
    ]
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the S3 server panicked");
        }
    }
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let shared = shared.clone();
        let service = hyper::service::service_fn(move |request| {
            let shared = shared.clone();
            async move { shared.answer(request).await }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        // These tests disconnect clients on purpose, so ignore connection errors.
        tokio::spawn(async { drop(connection.await) });
    }
}

impl Shared {
    async fn answer(&self, request: hyper::Request<Incoming>) -> io::Result<HttpResponse> {
        let fate = self.fate(&request);
        let mut request = request.map(Body::from);
        if self.api == Api::Gcs
            && let Some(response) = self.as_s3(&mut request)
        {
            return Ok(response);
        }
        match fate {
            Fate::Served => {}
            Fate::Failed(status) => {
                let response = hyper::Response::builder().status(status);
                return response.body(Body::empty()).map_err(|_| cut());
            }
            Fate::Lost => return Err(cut()),
            Fate::AnswerLost => {
                self.serve(request).await?;
                return Err(cut());
            }
            Fate::Truncated => return truncated(self.serve(request).await?).await,
            Fate::Late(time) => tokio::time::sleep(time).await,
            Fate::Held => self.hold().await,
            Fate::AnswerHeld => {
                let answer = self.serve(request).await?;
                self.hold().await;
                return Ok(answer);
            }
        }
        self.serve(request).await
    }

    async fn serve(&self, request: hyper::Request<Body>) -> io::Result<HttpResponse> {
        let answer = self.service.call(request).await;
        answer.map_err(|_| cut())
    }

    /// Converts a GCS request to an S3 request, or answers it directly.
    fn as_s3(&self, request: &mut hyper::Request<Body>) -> Option<HttpResponse> {
        let headers = request.headers_mut();
        headers.remove("authorization");
        // Generation 0 means that the object does not exist.
        if let Some(generation) = headers.remove("x-goog-if-generation-match") {
            assert_eq!(generation, "0", "expected only create-only puts");
            headers.insert("if-none-match", HeaderValue::from_static("*"));
        }
        let path = Path::from_url_path(request.uri().path()).ok()?;
        let (bucket, key) = path.as_ref().split_once('/')?;
        let missing = request.method() == "DELETE"
            && request.uri().query().is_none()
            && !self.buckets.keys(bucket).iter().any(|k| k == key);
        let response = hyper::Response::builder().status(404).body(Body::empty());
        missing.then(|| response.ok()).flatten()
    }

    fn fate(&self, request: &hyper::Request<Incoming>) -> Fate {
        let mut faults = lock(&self.faults);
        let number = faults.requests;
        faults.requests += 1;
        (faults.hook)(&Seen {
            number,
            method: request.method().as_str(),
            path: request.uri().path(),
        })
    }

    async fn hold(&self) {
        *lock(&self.held) += 1;
        self.held_more.notify_all();
        if let Ok(permit) = self.release.acquire().await {
            permit.forget();
        }
    }
}

/// Returns the answer with half of its body, after which the connection is cut.
async fn truncated(answer: HttpResponse) -> io::Result<HttpResponse> {
    let (parts, mut body) = answer.into_parts();
    let whole = body.store_all_limited(usize::MAX).await;
    let whole = whole.map_err(|_| cut())?;
    let half = whole.slice(..whole.len() / 2);
    let pieces = stream::iter([Ok(half), Err(cut())]);
    let body = Body::from(StreamingBlob::wrap(pieces));
    Ok(HttpResponse::from_parts(parts, body))
}

/// An error that makes hyper cut the connection.
fn cut() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
