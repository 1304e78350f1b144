//! A store that counts requests and transferred bytes.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

use crate::measure::human_size;

/// Counts requests and forwards them to another store.
#[derive(Debug)]
pub(crate) struct Counting<S> {
    inner: S,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    puts: AtomicU64,
    gets: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
    up_bytes: AtomicU64,
    down_bytes: AtomicU64,
}

impl<S: ObjectStore> Counting<S> {
    pub(crate) fn new(inner: S) -> Arc<Self> {
        Arc::new(Self {
            inner,
            counts: Arc::default(),
        })
    }

    /// Returns the counts since the last call, divided by `times`. A listing counts once, regardless of its
    /// length.
    pub(crate) fn take(&self, times: u64) -> String {
        let Counts {
            puts,
            gets,
            lists,
            deletes,
            up_bytes,
            down_bytes,
        } = &*self.counts;
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        let counts = [
            (puts, "put"),
            (gets, "get"),
            (lists, "list"),
            (deletes, "delete"),
        ];
        let mut parts: Vec<_> = counts
            .into_iter()
            .map(|(count, name)| (take(count) as f64 / times as f64, name))
            .filter(|(count, _)| *count > 0.0)
            .map(|(count, name)| match count.fract() {
                0.0 => format!("{count} {name}"),
                _ => format!("{count:.2} {name}"),
            })
            .collect();
        for (bytes, way) in [(up_bytes, "up"), (down_bytes, "down")] {
            match take(bytes) / times {
                0 => {}
                bytes => parts.push(format!("{} {way}", human_size(bytes))),
            }
        }
        parts.join(", ")
    }
}

impl<S> fmt::Display for Counting<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counting")
    }
}

fn add(to: &AtomicU64, amount: u64) {
    to.fetch_add(amount, Ordering::Relaxed);
}

#[async_trait::async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: ObjectStore> ObjectStore for Counting<S> {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        add(&self.counts.puts, 1);
        add(&self.counts.up_bytes, payload.content_length() as u64);
        self.inner.put_opts(path, payload, options).await
    }

    // The storage crate makes no multipart uploads.
    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let got = self.inner.get_opts(path, options).await?;
        add(&self.counts.gets, 1);
        if !head {
            add(&self.counts.down_bytes, got.range.end - got.range.start);
        }
        Ok(got)
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let got = self.inner.get_ranges(path, ranges).await?;
        add(&self.counts.gets, ranges.len() as u64);
        let bytes = got.iter().map(|bytes| bytes.len() as u64).sum();
        add(&self.counts.down_bytes, bytes);
        Ok(got)
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let counts = self.counts.clone();
        let counted = paths.inspect(move |_| add(&counts.deletes, 1));
        self.inner.delete_stream(counted.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        add(&self.counts.lists, 1);
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        add(&self.counts.lists, 1);
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        add(&self.counts.lists, 1);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}
