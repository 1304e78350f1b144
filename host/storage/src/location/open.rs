//! Open locations: names with the storage through which they are accessed.

use std::fmt;
use std::sync::{Arc, LazyLock};

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::dir_store::DirStore;
use super::{Kind, Location, cloud, errors, local, parse};
use crate::blocking::Threads;
use crate::environment::Environment;
use crate::error::{Error, Result};

/// All `memory:` locations of this process.
static MEMORY: LazyLock<Arc<InMemory>> = LazyLock::new(Arc::default);

/// A location and its storage. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OpenLocation {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    url: Arc<str>,
    environment: Arc<Environment>,
    place: Place,
}

/// The place of an open location.
#[derive(Clone, Debug)]
enum Place {
    /// A directory of this machine, with its resolved path.
    Directory {
        path: Arc<std::path::Path>,
        is_url: bool,
    },
    Remote(Location),
    /// A store that the caller provided.
    Caller {
        lists_in_order: bool,
    },
}

impl Location {
    /// Opens the location: resolves its path, or builds its storage from the environment. Does not read or
    /// write the location yet.
    ///
    /// `memory:` locations last as long as the process. The others take their endpoints and credentials from
    /// the variables that `object_store` reads (`AWS_*`, `GOOGLE_*`, `AZURE_*`), and from `FLYTE_AWS_ENDPOINT`,
    /// `FLYTE_AWS_ACCESS_KEY_ID` and `FLYTE_AWS_SECRET_ACCESS_KEY` where the AWS variable is unset. Blank
    /// variables count as unset. Requests are retried for half a minute.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidLocation`](crate::ErrorKind::InvalidLocation) if the path cannot be resolved or a
    /// variable is invalid. The message names the variable.
    pub fn open(&self) -> Result<OpenLocation> {
        self.open_by(cloud::open)
    }

    /// Opens the location like [`open`](Self::open), but uses the caller's HTTP client and hashes for S3, for
    /// targets without `reqwest` and `ring`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[cfg(feature = "aws-base")]
    pub fn open_with(
        &self,
        connector: impl object_store::client::HttpConnector,
        crypto: Arc<dyn object_store::client::CryptoProvider>,
    ) -> Result<OpenLocation> {
        self.open_by(|location| cloud::open_s3(location, connector, crypto))
    }

    fn open_by(
        &self,
        cloud: impl FnOnce(&Self) -> Result<(Arc<dyn ObjectStore>, Self)>,
    ) -> Result<OpenLocation> {
        if let Some(directory) = self.directory()? {
            return Ok(OpenLocation::of_directory(directory, self.is_url));
        }
        let (store, named) = match &self.kind {
            Kind::Memory(_) if cfg!(target_family = "wasm") => {
                let what =
                    "a component's memory does not outlive the attempt; use a directory or S3";
                return Err(parse::invalid(&self.to_string(), what));
            }
            Kind::Memory(_) => (MEMORY.clone() as Arc<dyn ObjectStore>, self.clone()),
            _ => cloud(self)?,
        };
        Ok(OpenLocation::remote(store, named))
    }

    fn key(&self) -> Path {
        match &self.kind {
            Kind::Local(_) => Path::ROOT,
            Kind::Memory(key)
            | Kind::S3 { key, .. }
            | Kind::Gcs { key, .. }
            | Kind::Azure { key, .. } => key.clone(),
        }
    }
}

impl OpenLocation {
    /// Creates a location in a store of the caller. Claims and messages contain `url`. Locations in the same
    /// store have the same scheme and host, followed by their prefix.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path, url: impl Into<String>) -> Self {
        Self {
            store,
            prefix,
            url: url.into().into(),
            environment: Arc::default(),
            place: Place::Caller {
                lists_in_order: false,
            },
        }
    }

    /// Declares that the caller's store lists names in ascending order, as S3 (but not its directory buckets), Google
    /// Cloud Storage and Azure do. Finding the newest record then takes one page of a list, however long the log is. Has
    /// no effect on a location that was opened by its name.
    #[must_use]
    pub fn with_ordered_lists(mut self) -> Self {
        if let Place::Caller { lists_in_order } = &mut self.place {
            *lists_in_order = true;
        }
        self
    }

    fn of_directory(path: std::path::PathBuf, is_url: bool) -> Self {
        Self {
            store: Arc::new(DirStore::new(&path)),
            prefix: Path::ROOT,
            url: local::url(local::SCHEME, &path).into(),
            environment: Arc::default(),
            place: Place::Directory {
                path: path.into(),
                is_url,
            },
        }
    }

    fn remote(store: Arc<dyn ObjectStore>, location: Location) -> Self {
        Self {
            store,
            prefix: location.key(),
            url: location.to_string().into(),
            environment: Arc::default(),
            place: Place::Remote(location),
        }
    }

    /// Sets the environment, which provides time and random numbers. Default: that of this machine.
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.environment = Arc::new(environment);
        self
    }

    /// Returns the environment, which provides time and random numbers.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    pub(crate) fn threads(&self) -> Threads {
        self.environment.threads()
    }

    /// Opens the location that a record of this one names. Permits only the same storage: a forged record must
    /// not make this process read from everywhere its credentials reach.
    ///
    /// # Errors
    /// `InvalidLocation` if it is in another storage.
    pub(crate) fn in_same_storage(&self, url: &str) -> Result<Self> {
        let named = self.open_beside(url)?;
        Ok(Self {
            environment: self.environment.clone(),
            ..named
        })
    }

    fn open_beside(&self, url: &str) -> Result<Self> {
        let elsewhere = || {
            let what = "a record names this as the predecessor, but it is in another storage; name the location to resume from with `--prev`, or begin again with `--fresh`";
            Err(parse::invalid(url, what))
        };
        let location = match &self.place {
            Place::Directory { .. } => {
                // A relative path may mean something else in another process.
                let path = url
                    .strip_prefix(local::SCHEME)
                    .and_then(|url| url.strip_prefix(':'));
                let path = path.and_then(|path| local::decode(path).ok());
                let Some(path) = path else {
                    return elsewhere();
                };
                return Location::from_path(path).open();
            }
            Place::Remote(location) => location,
            Place::Caller { lists_in_order } => {
                let (storage, key) = split(url);
                if storage != split(&self.url).0 {
                    return elsewhere();
                }
                let prefix = parse::key(key).map_err(|what| parse::invalid(url, &what))?;
                // The caller's store may be the only way to access it.
                let named = Self::new(self.store.clone(), prefix, url);
                return Ok(match lists_in_order {
                    true => named.with_ordered_lists(),
                    false => named,
                });
            }
        };
        match url.parse::<Location>() {
            Ok(named) if location.shares_storage(&named) => {
                Ok(Self::remote(self.store.clone(), named))
            }
            _ => elsewhere(),
        }
    }

    /// Returns the canonical name: an absolute URL that means the same in every process that can access it.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn store(&self) -> &dyn ObjectStore {
        &*self.store
    }

    /// Its directory on this machine, if it has one.
    pub fn local_dir(&self) -> Option<&std::path::Path> {
        match &self.place {
            Place::Directory { path, .. } => Some(path),
            Place::Remote(_) | Place::Caller { .. } => None,
        }
    }

    /// Returns whether it was named by a path rather than a URL.
    #[cfg_attr(
        any(not(feature = "dir"), target_family = "wasm"),
        expect(dead_code, reason = "only the importer of plain objects asks")
    )]
    pub(crate) fn is_path(&self) -> bool {
        matches!(self.place, Place::Directory { is_url: false, .. })
    }

    /// Returns whether the storage is known to support create-only puts.
    pub(crate) fn supports_conditional_put(&self) -> bool {
        match &self.place {
            Place::Directory { .. } => true,
            Place::Remote(location) => matches!(location.kind, Kind::Memory(_)),
            Place::Caller { .. } => false,
        }
    }

    /// Returns whether lists of the storage are known to ascend by name.
    pub(crate) fn lists_in_order(&self) -> bool {
        match &self.place {
            Place::Directory { .. } => false,
            Place::Remote(location) => match &location.kind {
                // The suffix of the names of directory buckets, which list in any order.
                Kind::S3 { bucket, .. } => !bucket.ends_with("--x-s3"),
                Kind::Memory(_) | Kind::Gcs { .. } | Kind::Azure { .. } => true,
                Kind::Local(_) => false,
            },
            Place::Caller { lists_in_order } => *lists_in_order,
        }
    }

    pub(crate) fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// Converts an error of this location's storage, classified by what the caller can do about it.
    pub(crate) fn error(&self, what: impl fmt::Display, source: object_store::Error) -> Error {
        let kind = errors::kind(&source);
        Error::new(kind, format!("{}: {what}", self.url)).with_source(source)
    }
}

impl fmt::Display for OpenLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// Splits a URL into the part before its path, and the path without its leading slash.
fn split(url: &str) -> (&str, &str) {
    let start = url.find("://").map_or(0, |colon| colon + 3);
    let (_, rest) = url.split_at(start);
    match rest.find('/') {
        Some(slash) => {
            let (storage, path) = url.split_at(start + slash);
            (storage, path.strip_prefix('/').unwrap_or(path))
        }
        None => (url, ""),
    }
}
