//! An in-memory implementation of the S3 operations that `object_store` uses.
//!
//! Conditional puts are atomic: one lock covers the check and the effect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures::{TryStreamExt, stream};
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

/// The size of a page of a listing. S3 may return fewer than the thousand keys that a client asks for. Small
/// pages make a listing of a few hundred objects take several requests.
const PAGE: usize = 100;

/// All buckets of a server. A bucket is created when it is first named. Clones share the buckets.
#[derive(Clone, Default)]
pub(crate) struct Buckets {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<(String, String), Stored>,
    uploads: BTreeMap<String, BTreeMap<i32, Bytes>>,
    /// The number of etags and upload ids assigned so far.
    names: u64,
}

#[derive(Clone)]
struct Stored {
    contents: Bytes,
    etag: String,
    modified: SystemTime,
}

impl Buckets {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, bucket: &str, key: &str) -> S3Result<Stored> {
        let id = (bucket.to_owned(), key.to_owned());
        let found = self.lock().objects.get(&id).cloned();
        found.ok_or_else(|| s3_error!(NoSuchKey))
    }

    /// Returns the keys of a bucket, in order.
    pub(crate) fn keys(&self, bucket: &str) -> Vec<String> {
        let state = self.lock();
        let of_bucket = state.objects.keys().filter(|(b, _)| b == bucket);
        of_bucket.map(|(_, key)| key.clone()).collect()
    }
}

impl State {
    fn name(&mut self) -> String {
        self.names += 1;
        format!("{:032x}", self.names)
    }

    fn put(
        &mut self,
        id: (String, String),
        contents: Bytes,
        if_match: Option<ETagCondition>,
        if_none_match: Option<ETagCondition>,
    ) -> S3Result<ETag> {
        let now = self.objects.get(&id).map(|o| o.etag.as_str());
        if let Some(condition) = if_match {
            let met = now.is_some_and(|etag| matches(&condition, etag));
            if now.is_none() {
                return Err(s3_error!(NoSuchKey));
            }
            if !met {
                return Err(s3_error!(PreconditionFailed));
            }
        }
        if let Some(condition) = if_none_match
            && now.is_some_and(|etag| matches(&condition, etag))
        {
            return Err(s3_error!(PreconditionFailed));
        }
        let etag = self.name();
        self.objects.insert(
            id,
            Stored {
                contents,
                etag: etag.clone(),
                modified: SystemTime::now(),
            },
        );
        Ok(ETag::Strong(etag))
    }
}

fn matches(condition: &ETagCondition, etag: &str) -> bool {
    condition.is_any() || condition.as_etag().is_some_and(|e| e.value() == etag)
}

async fn collect(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(body) = body else {
        return Ok(Bytes::new());
    };
    let whole = body.try_fold(BytesMut::new(), |mut whole, piece| async move {
        whole.extend_from_slice(&piece);
        Ok(whole)
    });
    whole
        .await
        .map(BytesMut::freeze)
        .map_err(|_| s3_error!(IncompleteBody))
}

fn blob(contents: Bytes) -> StreamingBlob {
    StreamingBlob::wrap(stream::iter([Ok::<_, std::io::Error>(contents)]))
}

#[async_trait::async_trait]
impl S3 for Buckets {
    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        let contents = collect(input.body).await?;
        let id = (input.bucket, input.key);
        let etag = self
            .lock()
            .put(id, contents, input.if_match, input.if_none_match)?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(etag),
            ..Default::default()
        }))
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let stored = self.get(&input.bucket, &input.key)?;
        let full = stored.contents.len() as u64;
        let (contents, content_range) = match input.range {
            None => (stored.contents, None),
            Some(range) => {
                let range = range.check(full)?;
                let (start, end) = (range.start, range.end);
                let header = format!("bytes {start}-{}/{full}", end - 1);
                let part = stored.contents.slice(start as usize..end as usize);
                (part, Some(header))
            }
        };
        Ok(S3Response::new(GetObjectOutput {
            content_length: Some(contents.len() as i64),
            content_range,
            body: Some(blob(contents)),
            e_tag: Some(ETag::Strong(stored.etag)),
            last_modified: Some(stored.modified.into()),
            ..Default::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let stored = self.get(&request.input.bucket, &request.input.key)?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(stored.contents.len() as i64),
            e_tag: Some(ETag::Strong(stored.etag)),
            last_modified: Some(stored.modified.into()),
            ..Default::default()
        }))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = request.input;
        self.lock().objects.remove(&(input.bucket, input.key));
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let input = request.input;
        let mut state = self.lock();
        let deleted = input.delete.objects.into_iter().map(|object| {
            state
                .objects
                .remove(&(input.bucket.clone(), object.key.clone()));
            DeletedObject {
                key: Some(object.key),
                ..Default::default()
            }
        });
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: Some(deleted.collect()),
            ..Default::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let prefix = input.prefix.clone().unwrap_or_default();
        let delimiter = input.delimiter.clone().filter(|d| !d.is_empty());
        let asked = input.max_keys.and_then(|n| usize::try_from(n).ok());
        let limit = asked.unwrap_or(PAGE).min(PAGE);
        // The token is the last key or common prefix of the previous page.
        let token = input.continuation_token.clone();
        let after = token.clone().or(input.start_after.clone());
        let after = after.unwrap_or_default();

        let mut contents = Vec::new();
        let mut groups = BTreeSet::new();
        let mut last = None;
        let mut is_truncated = false;
        let state = self.lock();
        for ((bucket, key), stored) in &state.objects {
            let Some(rest) = key.strip_prefix(&prefix) else {
                continue;
            };
            let group = delimiter
                .as_ref()
                .and_then(|d| rest.find(d).map(|at| at + d.len()))
                .map(|end| format!("{prefix}{}", &rest[..end]));
            let name = group.as_ref().unwrap_or(key);
            if *bucket != input.bucket || *name <= after || groups.contains(name) {
                continue;
            }
            if contents.len() + groups.len() == limit {
                is_truncated = true;
                break;
            }
            last = Some(name.clone());
            match group {
                Some(group) => {
                    groups.insert(group);
                }
                None => contents.push(Object {
                    key: Some(key.clone()),
                    size: Some(stored.contents.len() as i64),
                    e_tag: Some(ETag::Strong(stored.etag.clone())),
                    last_modified: Some(stored.modified.into()),
                    ..Default::default()
                }),
            }
        }
        let groups: Vec<_> = groups
            .into_iter()
            .map(|prefix| CommonPrefix {
                prefix: Some(prefix),
            })
            .collect();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(prefix),
            delimiter,
            key_count: Some((contents.len() + groups.len()) as i32),
            continuation_token: token,
            next_continuation_token: last.filter(|_| is_truncated),
            is_truncated: Some(is_truncated),
            contents: Some(contents),
            common_prefixes: Some(groups),
            ..Default::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        let mut state = self.lock();
        let upload = state.name();
        state.uploads.insert(upload.clone(), BTreeMap::new());
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload),
            ..Default::default()
        }))
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let input = request.input;
        let contents = collect(input.body).await?;
        let mut state = self.lock();
        let etag = state.name();
        let parts = state
            .uploads
            .get_mut(&input.upload_id)
            .ok_or_else(|| s3_error!(NoSuchUpload))?;
        parts.insert(input.part_number, contents);
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(ETag::Strong(etag)),
            ..Default::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        let mut state = self.lock();
        let parts = state
            .uploads
            .remove(&input.upload_id)
            .ok_or_else(|| s3_error!(NoSuchUpload))?;
        let named = input.multipart_upload.and_then(|u| u.parts);
        let mut whole = BytesMut::new();
        for part in named.unwrap_or_default() {
            let contents = part.part_number.and_then(|n| parts.get(&n));
            whole.extend_from_slice(contents.ok_or_else(|| s3_error!(InvalidPart))?);
        }
        let id = (input.bucket.clone(), input.key.clone());
        let etag = state.put(id, whole.freeze(), input.if_match, input.if_none_match)?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(etag),
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let removed = self.lock().uploads.remove(&request.input.upload_id);
        removed.ok_or_else(|| s3_error!(NoSuchUpload))?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}
