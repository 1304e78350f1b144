//! Locations: where the checkpoints of one task lie, and how to reach that storage.

use std::fmt;
use std::sync::{Arc, LazyLock};

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use url::Url;

use crate::blocking::Threads;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};

/// All `memory:` locations of this process.
static MEMORY: LazyLock<Arc<InMemory>> = LazyLock::new(Arc::default);

/// A URL prefix that holds the checkpoints of one task. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct OpenLocation {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    url: Arc<str>,
    environment: Arc<Environment>,
    /// Where it lies on this machine, if it does.
    local: Option<Arc<std::path::Path>>,
}

impl OpenLocation {
    /// The location of a URL (`file:///…`, `memory:///…`, `s3://…`, `gs://…`, `az://…`) or of a plain
    /// path on this machine. Nothing is read or written yet.
    ///
    /// `memory:` locations last as long as the process. Credentials and endpoints come from the
    /// environment, as `object_store` reads them (`AWS_*`, `GOOGLE_*`, `AZURE_*`).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidLocation`] if the URL, or what the environment says about it, is wrong.
    pub fn parse(url: &str) -> Result<Self> {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        match scheme {
            None => Self::local(url, std::path::Path::new(url)),
            Some("file") => {
                let path = parse_url(url)?.to_file_path().map_err(|()| {
                    invalid(url, "a file URL has three slashes: file:///a/directory")
                })?;
                Self::local(url, &path)
            }
            Some("memory") => Ok(Self::new(MEMORY.clone(), url_path(&parse_url(url)?)?, url)),
            Some(scheme) => Self::cloud(url, scheme),
        }
    }

    /// The location that a record of this one names, which may have been forged: it must not make
    /// this process read from wherever its credentials reach.
    ///
    /// # Errors
    /// `InvalidLocation` if it lies in another storage.
    pub(crate) fn in_same_storage(&self, url: &str) -> Result<Self> {
        if storage_of(url) == storage_of(&self.url) {
            return match storage_of(url).0 {
                "file" => Self::parse(url),
                // A store of the caller's may be reached in no other way.
                _ => {
                    let prefix = url_path(&parse_url(url)?)?;
                    let directory = std::path::Path::new("/").join(prefix.as_ref());
                    let local = self.local.is_some().then(|| directory.into());
                    Ok(Self {
                        local,
                        environment: self.environment.clone(),
                        ..Self::new(self.store.clone(), prefix, url)
                    })
                }
            };
        }
        let what = "a record names this as the predecessor, which lies in another storage; if it is one, name it as the previous location";
        Err(invalid(url, what))
    }

    /// A location in a store of the caller's. `url` is what claims and messages call it.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path, url: impl Into<String>) -> Self {
        Self {
            store,
            prefix,
            url: url.into().into(),
            environment: Arc::default(),
            local: None,
        }
    }

    /// A location in a directory of this machine, of which the files are the objects of `store`: for a host
    /// whose directories [`parse`](Self::parse) does not reach. The store must put a file as a whole, or
    /// not at all if one is there and it is asked to, and what it has put must be durable.
    pub fn in_directory(
        store: Arc<dyn ObjectStore>,
        directory: &std::path::Path,
        prefix: Path,
        url: impl Into<String>,
    ) -> Self {
        Self {
            local: Some(directory.into()),
            ..Self::new(store, prefix, url)
        }
    }

    /// Takes the time, random numbers and the like from here. Default: from this machine.
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.environment = Arc::new(environment);
        self
    }

    /// What this location takes from the world around it.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    pub(crate) fn threads(&self) -> Threads {
        self.environment.threads()
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn store(&self) -> &dyn ObjectStore {
        &*self.store
    }

    /// Its directory on this machine, if it has one.
    pub fn local_dir(&self) -> Option<&std::path::Path> {
        self.local.as_deref()
    }

    /// Whether it is known to put an object only where none is, if it is asked to.
    pub(crate) fn supports_conditional_put(&self) -> bool {
        self.local.is_some() || self.url.starts_with("memory:")
    }

    pub(crate) fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// An error of this location's storage, by what the caller can do about it.
    pub(crate) fn error(&self, what: impl fmt::Display, source: object_store::Error) -> Error {
        use object_store::Error as E;
        let kind = match &source {
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => ErrorKind::ReadOnly,
            // Where no object is asked for, what is not found is the bucket.
            E::NotFound { .. }
            | E::NotImplemented { .. }
            | E::NotSupported { .. }
            | E::InvalidPath { .. } => ErrorKind::InvalidLocation,
            other if is_refused(other) => ErrorKind::ReadOnly,
            other => io_kind(other).map_or(ErrorKind::Unavailable, |kind| match kind {
                std::io::ErrorKind::PermissionDenied
                | std::io::ErrorKind::ReadOnlyFilesystem
                | std::io::ErrorKind::NotADirectory => ErrorKind::ReadOnly,
                _ => ErrorKind::Unavailable,
            }),
        };
        Error::new(kind, format!("{}: {what}", self.url)).with_source(source)
    }

    #[cfg(not(target_family = "wasm"))]
    fn local(url: &str, path: &std::path::Path) -> Result<Self> {
        use object_store::local::LocalFileSystem;

        let path = std::path::absolute(path)
            .map_err(|e| invalid(url, "not a path of this machine").with_source(e))?;
        let prefix = Path::from_absolute_path(&path)
            .map_err(|e| invalid(url, "not a path that can hold checkpoints").with_source(e))?;
        // Without fsync a commit could outlive its data, or an acknowledged one be lost.
        let store = LocalFileSystem::new().with_fsync(true);
        Ok(Self {
            local: Some(path.into()),
            ..Self::new(Arc::new(store), prefix, url)
        })
    }

    #[cfg(target_family = "wasm")]
    fn local(url: &str, _path: &std::path::Path) -> Result<Self> {
        Err(invalid(url, "this host passes its directories as stores"))
    }

    fn cloud(url: &str, scheme: &str) -> Result<Self> {
        match scheme {
            #[cfg(feature = "aws")]
            "s3" => Self::bucket(url, |bucket| {
                let builder = object_store::aws::AmazonS3Builder::from_env();
                builder.with_bucket_name(bucket).with_retry(retry()).build()
            }),
            #[cfg(feature = "gcp")]
            "gs" => Self::bucket(url, |bucket| {
                let builder = object_store::gcp::GoogleCloudStorageBuilder::from_env();
                builder.with_bucket_name(bucket).with_retry(retry()).build()
            }),
            #[cfg(feature = "azure")]
            "az" => Self::bucket(url, |container| {
                let builder = object_store::azure::MicrosoftAzureBuilder::from_env();
                builder
                    .with_container_name(container)
                    .with_retry(retry())
                    .build()
            }),
            _ => Err(invalid(
                url,
                "no storage of this kind; use file, memory, s3, gs, az, or a plain path",
            )),
        }
    }

    #[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
    fn bucket<S: ObjectStore>(
        url: &str,
        build: impl FnOnce(&str) -> object_store::Result<S>,
    ) -> Result<Self> {
        let parsed = parse_url(url)?;
        let bucket = parsed.host_str();
        let store = build(bucket.ok_or_else(|| invalid(url, "names no bucket"))?);
        let store = store.map_err(|e| {
            invalid(url, "the environment does not say how to reach it").with_source(e)
        })?;
        Ok(Self::new(Arc::new(store), url_path(&parsed)?, url))
    }
}

impl fmt::Display for OpenLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// Half a minute bridges a restart of the storage; object_store's three minutes are longer than most
/// grace periods, and a task that is told `unavailable` can decide for itself.
#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
fn retry() -> object_store::RetryConfig {
    object_store::RetryConfig {
        retry_timeout: std::time::Duration::from_secs(30),
        ..Default::default()
    }
}

/// The scheme and the bucket.
fn storage_of(url: &str) -> (&str, &str) {
    match url.split_once("://") {
        None | Some(("file", _)) => ("file", ""),
        Some((scheme, rest)) => (scheme, rest.split('/').next().unwrap_or_default()),
    }
}

fn parse_url(url: &str) -> Result<Url> {
    Url::parse(url).map_err(|e| invalid(url, "not a URL").with_source(e))
}

fn url_path(url: &Url) -> Result<Path> {
    Path::from_url_path(url.path())
        .map_err(|e| invalid(url.as_str(), "not a path that can hold checkpoints").with_source(e))
}

fn invalid(url: &str, what: &str) -> Error {
    Error::new(ErrorKind::InvalidLocation, format!("{url:?}: {what}"))
}

/// Whether a server refused a request because of who asked. `object_store` says so of lists in text only.
fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let refusals = ["status code: 401", "status code: 403"];
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        let text = error.to_string();
        refusals.iter().any(|refusal| text.contains(refusal))
    })
}

/// The kind of the first I/O error among the causes. Local storage wraps it, more than once.
fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<std::io::ErrorKind> {
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref::<std::io::Error>())
        .map(std::io::Error::kind)
}
