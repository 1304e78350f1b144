//! The connections between processes and the storage.
//!
//! Every request runs as a separate task. Its [`Course`] decides when it takes effect, even if its sender has
//! died by then.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::course::{Course, Failure, Weather};
use super::store::{Shared, World, meta};

/// The connection of one process to the storage.
#[derive(Clone)]
pub(super) struct Connection {
    shared: Shared,
    weather: Weather,
    process: u32,
    dead: Arc<AtomicBool>,
    failures: Arc<AtomicU64>,
}

impl Connection {
    pub(super) fn new(shared: &Shared, process: u32, weather: Weather) -> Self {
        Self {
            shared: shared.clone(),
            weather,
            process,
            dead: Arc::default(),
            failures: Arc::default(),
        }
    }

    /// Stops everything that the process began, except for requests in flight.
    pub(super) fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    /// The number of requests of this process that have failed so far.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::SeqCst)
    }

    async fn stop_if_dead(&self) {
        if self.dead.load(Ordering::SeqCst) {
            std::future::pending().await
        }
    }

    /// Sends a request with this effect and waits for the answer. Also returns whether the answer must break
    /// off.
    async fn send<T: Send + 'static>(
        &self,
        verb: &'static str,
        path: &Path,
        effect: impl Fn(&mut World) -> Result<T> + Send + 'static,
    ) -> Result<(T, bool)> {
        self.stop_if_dead().await;
        let short = path.as_ref().strip_prefix("task/").unwrap_or("").to_owned();
        let course = {
            let mut world = self.shared.lock();
            let world = &mut *world;
            world.in_flight += 1;
            world.trace.operations += 1;
            let is_record = verb == "put" && short.starts_with("log");
            self.weather.course(is_record, &mut world.dice)
        };
        let (answer, answered) = oneshot::channel();
        tokio::spawn(
            self.clone()
                .deliver(course, verb, short.clone(), effect, answer),
        );
        if let Some((fails, failure)) = course.fails {
            sleep(fails).await;
            self.stop_if_dead().await;
            self.failures.fetch_add(1, Ordering::SeqCst);
            let mut world = self.shared.lock();
            world.trace.failed += 1;
            world.note(self.process, format_args!("{verb} {short} fails"));
            return Err(match failure {
                Failure::Failed => failed(),
                Failure::Conflict => Error::AlreadyExists {
                    path: path.to_string(),
                    source: "simulated conflict".into(),
                },
                Failure::Denied => Error::PermissionDenied {
                    path: path.to_string(),
                    source: "simulated failure".into(),
                },
            });
        }
        // A request that never takes effect has failed.
        let answer = answered.await.unwrap_or_else(|_| Err(failed()));
        sleep(course.answers).await;
        self.stop_if_dead().await;
        answer.map(|answer| (answer, course.cut))
    }

    async fn deliver<T>(
        self,
        course: Course,
        verb: &'static str,
        path: String,
        effect: impl Fn(&mut World) -> Result<T>,
        answer: oneshot::Sender<Result<T>>,
    ) {
        let mut answer = Some(answer);
        for (how, delay) in [("", course.arrives), (" again", course.repeats)] {
            let Some(delay) = delay else { continue };
            sleep(delay).await;
            if course.dies && self.dead.load(Ordering::SeqCst) {
                break;
            }
            let mut world = self.shared.lock();
            let done = effect(&mut world);
            let outcome = match &done {
                Ok(_) => "done",
                Err(Error::AlreadyExists { .. }) => "already exists",
                Err(_) => "not found",
            };
            world.note(self.process, format_args!("{verb} {path}{how}: {outcome}"));
            drop(world);
            if let Some(answer) = answer.take() {
                // The sender may have given up.
                let _ = answer.send(done);
            }
        }
        self.shared.lock().in_flight -= 1;
    }
}

fn failed() -> Error {
    Error::Generic {
        store: "simulated",
        source: "simulated failure".into(),
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the connection of process {}", self.process)
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The requested range of an object. As on S3, the range is cut off at the end of the object.
fn part(range: Option<GetRange>, size: u64) -> Result<Range<u64>> {
    let whole = range.is_none();
    let range = match range {
        None => 0..size,
        Some(GetRange::Bounded(range)) => range.start..range.end.min(size),
        Some(GetRange::Offset(start)) => start..size,
        Some(GetRange::Suffix(length)) => size.saturating_sub(length)..size,
    };
    match range.start < range.end || whole {
        true => Ok(range),
        false => Err(failed()),
    }
}

#[async_trait::async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Connection {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let (at, bytes, mode) = (path.clone(), Bytes::from(payload), options.mode);
        let put = self.send("put", path, move |world| world.put(&at, &bytes, &mode));
        Ok(put.await?.0)
    }

    async fn put_multipart_opts(
        &self,
        _path: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotImplemented {
            operation: "put_multipart".into(),
            implementer: "simulated".into(),
        })
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let at = path.clone();
        let verb = if options.head { "head" } else { "get" };
        let (whole, cut) = self.send(verb, path, move |world| world.get(&at)).await?;
        let range = part(options.range, whole.len() as u64)?;
        let contents = whole.slice(range.start as usize..range.end as usize);
        let mut pieces = vec![Ok(contents.clone())];
        if cut && !options.head {
            self.failures.fetch_add(1, Ordering::SeqCst);
            self.shared.note(self.process, "the answer breaks off");
            pieces = vec![Ok(contents.slice(..contents.len() / 2)), Err(failed())];
        }
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::iter(pieces).boxed()),
            meta: meta(path, &whole),
            range,
            attributes: Default::default(),
            extensions: Default::default(),
        })
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let whole = self.get_opts(path, GetOptions::default()).await?;
        let whole = whole.bytes().await?;
        let ranges = ranges.iter();
        Ok(ranges
            .map(|range| whole.slice(range.start as usize..range.end as usize))
            .collect())
    }

    /// Each deletion is a request of its own. Several are in flight at once.
    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let connection = self.clone();
        paths
            .map(move |path| {
                let connection = connection.clone();
                async move {
                    let path = path?;
                    let at = path.clone();
                    let delete = connection.send("delete", &path, move |world| world.delete(&at));
                    delete.await?;
                    Ok(path)
                }
            })
            .buffered(3)
            .boxed()
    }

    /// Lists in small pages. Each page shows the state at the time of its own request.
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (connection, prefix) = (self.clone(), prefix.cloned().unwrap_or_default());
        let pages = stream::try_unfold(Some(None), move |after: Option<Option<String>>| {
            let (connection, prefix) = (connection.clone(), prefix.clone());
            async move {
                let Some(after) = after else { return Ok(None) };
                let beneath = format!("{prefix}/");
                let page = move |world: &mut World| Ok(world.page(&beneath, after.as_deref()));
                let (page, _) = connection.send("list", &prefix, page).await?;
                let last = page.last().map(|meta| Some(meta.location.to_string()));
                Ok::<_, Error>(Some((stream::iter(page.into_iter().map(Ok)), last)))
            }
        });
        pages.try_flatten().boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let offset = offset.clone();
        let listed = self.list(prefix);
        listed
            .try_filter(move |meta| std::future::ready(meta.location > offset))
            .boxed()
    }

    async fn list_with_delimiter(&self, _prefix: Option<&Path>) -> Result<ListResult> {
        Err(Error::NotImplemented {
            operation: "list_with_delimiter".into(),
            implementer: "simulated".into(),
        })
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented {
            operation: "copy".into(),
            implementer: "simulated".into(),
        })
    }

    async fn rename_opts(
        &self,
        _from: &Path,
        _to: &Path,
        _options: object_store::RenameOptions,
    ) -> Result<()> {
        Err(Error::NotImplemented {
            operation: "rename".into(),
            implementer: "simulated".into(),
        })
    }
}
