//! A store whose operations fail as a test plans it.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What happens to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It fails without taking effect.
    Fails,
    /// It does not take effect, and the storage says that the object exists.
    Conflict,
    /// It takes effect but fails.
    AnswerIsLost,
    /// It never returns, as if the process had died, and does not take effect.
    HangsBefore,
    /// It takes effect but never returns.
    HangsAfter,
    /// It takes effect after one second of the runtime's clock, which the test pauses.
    Slow,
    /// It fails, but takes effect when [`FaultyStore::release`] is called.
    Withheld,
}

type Plan = Box<dyn FnMut(&Operation) -> Option<Fault> + Send>;

/// An operation as the plan sees it.
#[derive(Debug)]
pub(super) struct Operation {
    /// Counted from 0, beginning when the plan was set.
    pub(super) number: usize,
    pub(super) verb: &'static str,
    pub(super) path: String,
}

/// A store in memory, with a plan for which operations fail.
pub(super) struct FaultyStore {
    pub(super) inner: Arc<InMemory>,
    plan: Mutex<Plan>,
    count: AtomicUsize,
    withheld: Mutex<Vec<(Path, PutPayload, PutOptions)>>,
    stale_list: Mutex<Option<Vec<ObjectMeta>>>,
    ignores_conditions: AtomicBool,
    fetched: AtomicU64,
    stored: AtomicU64,
}

impl FaultyStore {
    pub(super) fn new(inner: Arc<InMemory>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            plan: Mutex::new(Box::new(|_| None)),
            count: AtomicUsize::new(0),
            withheld: Mutex::default(),
            stale_list: Mutex::default(),
            ignores_conditions: AtomicBool::new(false),
            fetched: AtomicU64::new(0),
            stored: AtomicU64::new(0),
        })
    }

    pub(super) fn plan(&self, plan: impl FnMut(&Operation) -> Option<Fault> + Send + 'static) {
        self.count.store(0, Ordering::SeqCst);
        *self.plan.lock().unwrap() = Box::new(plan);
    }

    /// Applies this fault to every put whose path contains `within`.
    pub(super) fn fail_puts(&self, within: &'static str, fault: Fault) {
        self.plan(move |op| (op.verb == "put" && op.path.contains(within)).then_some(fault));
    }

    /// From now on every operation succeeds.
    pub(super) fn recover(&self) {
        self.plan(|_| None);
    }

    /// From now on every put overwrites, as on servers that do not support conditional puts.
    pub(super) fn ignore_conditions(&self) {
        self.ignores_conditions.store(true, Ordering::SeqCst);
    }

    pub(super) fn operations(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// The number of bytes that were asked for since this was last called.
    pub(super) fn take_fetched(&self) -> u64 {
        self.fetched.swap(0, Ordering::SeqCst)
    }

    /// The number of bytes that were put since this was last called.
    pub(super) fn take_stored(&self) -> u64 {
        self.stored.swap(0, Ordering::SeqCst)
    }

    /// Delivers the puts that were withheld.
    pub(super) async fn release(&self) {
        let withheld = std::mem::take(&mut *self.withheld.lock().unwrap());
        for (path, payload, options) in withheld {
            let _ = self.inner.put_opts(&path, payload, options).await;
        }
    }

    /// The next list returns what a list would return now.
    pub(super) async fn freeze_list(&self) {
        let now = self.inner.list(None).try_collect().await.unwrap();
        *self.stale_list.lock().unwrap() = Some(now);
    }

    fn next(&self, verb: &'static str, path: &Path) -> Option<Fault> {
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let path = path.to_string();
        (self.plan.lock().unwrap())(&Operation { number, verb, path })
    }
}

async fn meet<T>(fault: Option<Fault>, work: impl Future<Output = Result<T>>) -> Result<T> {
    match fault {
        None => work.await,
        Some(Fault::Slow) => {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            work.await
        }
        Some(Fault::Fails | Fault::Withheld) => Err(failure()),
        Some(Fault::Conflict) => Err(Error::AlreadyExists {
            path: String::new(),
            source: "planned by the test".into(),
        }),
        Some(Fault::AnswerIsLost) => {
            let _ = work.await;
            Err(failure())
        }
        Some(Fault::HangsBefore) => std::future::pending().await,
        Some(Fault::HangsAfter) => {
            let _ = work.await;
            std::future::pending().await
        }
    }
}

fn meet_stream<T: Send + 'static>(
    fault: Option<Fault>,
    work: BoxStream<'static, Result<T>>,
) -> BoxStream<'static, Result<T>> {
    match fault {
        None | Some(Fault::Slow) => work,
        Some(Fault::HangsBefore | Fault::HangsAfter) => futures::stream::pending().boxed(),
        Some(Fault::Fails | Fault::Conflict | Fault::AnswerIsLost | Fault::Withheld) => {
            futures::stream::once(async { Err(failure()) }).boxed()
        }
    }
}

fn failure() -> Error {
    Error::Generic {
        store: "faulty",
        source: "planned by the test".into(),
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

#[async_trait::async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        if self.ignores_conditions.load(Ordering::SeqCst) {
            options.mode = PutMode::Overwrite;
        }
        let kept = (path.clone(), payload.clone(), options.clone());
        let fault = self.next("put", path);
        if fault == Some(Fault::Withheld) {
            self.withheld.lock().unwrap().push(kept);
        }
        let bytes = payload.content_length() as u64;
        let putting = async {
            let answer = self.inner.put_opts(path, payload, options).await?;
            self.stored.fetch_add(bytes, Ordering::SeqCst);
            Ok(answer)
        };
        meet(fault, putting).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let fetching = async {
            let is_read = !options.head;
            let answer = self.inner.get_opts(path, options).await?;
            if is_read {
                let bytes = answer.range.end - answer.range.start;
                self.fetched.fetch_add(bytes, Ordering::SeqCst);
            }
            Ok(answer)
        };
        meet(self.next("get", path), fetching).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        meet(self.next("get", path), self.inner.get_ranges(path, ranges)).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let fault = self.next("delete", &Path::default());
        meet_stream(fault, self.inner.delete_stream(paths))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let all = self.stale_list.lock().unwrap().take();
        if let Some(all) = all {
            let prefix = prefix.cloned().unwrap_or_default();
            let all = all.into_iter();
            let some: Vec<_> = all.filter(|m| m.location.prefix_matches(&prefix)).collect();
            return futures::stream::iter(some.into_iter().map(Ok)).boxed();
        }
        let fault = self.next("list", &prefix.cloned().unwrap_or_default());
        meet_stream(fault, self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(
        &self,
        from: &Path,
        to: &Path,
        options: object_store::RenameOptions,
    ) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}
