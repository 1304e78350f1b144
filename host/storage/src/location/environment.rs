//! The environment variables that say how a storage is reached.
//!
//! `object_store` takes them as they are, and panics on some. So each is checked before, and a message about one
//! names it. No message holds a value, which may be a secret.

use std::collections::BTreeMap;
use std::ffi::OsString;

use url::Url;

use crate::error::{Error, ErrorKind, Result};

/// The variables of one storage, by their names: trimmed, without blank ones, and safe to be used.
#[derive(Debug)]
pub(super) struct Variables(BTreeMap<String, String>);

/// What an endpoint in the clear is permitted by.
const ALLOW_HTTP: &str = "ALLOW_HTTP";

impl Variables {
    /// Those of this process whose names begin with one of these prefixes.
    pub(super) fn read(prefixes: &[&str]) -> Result<Self> {
        Self::of(std::env::vars_os(), prefixes)
    }

    pub(super) fn of(
        all: impl IntoIterator<Item = (OsString, OsString)>,
        prefixes: &[&str],
    ) -> Result<Self> {
        let mut variables = BTreeMap::new();
        for (name, value) in all {
            let Some(name) = name.to_str() else { continue };
            if !prefixes.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            let value = value
                .to_str()
                .ok_or_else(|| wrong(name, "is not Unicode"))?;
            let value = value.trim();
            if !value.is_empty() {
                variables.insert(name.to_owned(), checked(name, value)?);
            }
        }
        Ok(Self(variables))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        self.get(name).and_then(flag) == Some(true)
    }

    /// Gives `name` the value of `other`, if none of `names` has one.
    pub(super) fn fall_back(&mut self, names: &[&str], name: &str, other: &str) {
        if !names.iter().any(|name| self.has(name))
            && let Some(value) = self.get(other).map(str::to_owned)
        {
            self.0.insert(name.to_owned(), value);
        }
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// # Errors
    /// `InvalidLocation` if one of these endpoints is in the clear, and `<prefix>ALLOW_HTTP` does not permit it.
    pub(super) fn check_http(&self, prefix: &str, endpoints: &[&str]) -> Result<()> {
        let allow = format!("{prefix}{ALLOW_HTTP}");
        if self.is_on(&allow) {
            return Ok(());
        }
        for name in endpoints {
            if self.get(name).is_some_and(|url| url.starts_with("http:")) {
                let what = format!("is in the clear; use https://, or permit it by {allow}=true");
                return Err(wrong(name, &what));
            }
        }
        Ok(())
    }

    /// Each with its key in `object_store`, which is the name in lower case. Others are not for it.
    pub(super) fn settings<K: std::str::FromStr>(&self) -> impl Iterator<Item = (K, &str)> {
        let settings = self.0.iter();
        settings.filter_map(|(name, value)| {
            Some((name.to_ascii_lowercase().parse().ok()?, value.as_str()))
        })
    }

    /// The error for settings that do not make a storage.
    pub(super) fn unusable(&self, url: &str, source: object_store::Error) -> Error {
        let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
        let set = match names.is_empty() {
            true => "none is set".to_owned(),
            false => format!("set are {}", names.join(", ")),
        };
        let what =
            format!("{url}: the environment variables do not say how to reach this storage; {set}");
        Error::new(ErrorKind::InvalidLocation, what).with_source(source)
    }
}

/// The error for a variable whose value cannot be used.
pub(super) fn wrong(name: &str, what: &str) -> Error {
    Error::new(
        ErrorKind::InvalidLocation,
        format!("the environment variable {name} {what}"),
    )
}

/// The value of a variable, in the form in which it is used.
fn checked(name: &str, value: &str) -> Result<String> {
    // A key in JSON, or what begins to be one.
    if name.ends_with("SERVICE_ACCOUNT_KEY") {
        return Ok(value.to_owned());
    }
    if value.chars().any(char::is_control) {
        return Err(wrong(
            name,
            "holds a line break or another control character",
        ));
    }
    let is_path = [
        "_FILE",
        "_BUNDLE",
        "_CREDENTIALS",
        "SERVICE_ACCOUNT",
        "_PATH",
    ];
    if !value.is_ascii() && !is_path.iter().any(|end| name.ends_with(end)) {
        return Err(wrong(name, "holds a character that is not ASCII"));
    }
    if name.ends_with("_REGION")
        && !value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    {
        return Err(wrong(name, "is not the name of a region"));
    }
    if is_flag(name) && flag(value).is_none() {
        return Err(wrong(name, "is neither true nor false"));
    }
    match url_kind(name) {
        None => Ok(value.to_owned()),
        Some(kind) => checked_url(name, value, kind),
    }
}

/// What a variable that holds a URL holds it for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UrlKind {
    /// Paths are appended to it.
    Base,
    /// It is used as it is, and may hold a query, or for a proxy a password.
    Whole,
    /// A path on a known host.
    Path,
}

fn url_kind(name: &str) -> Option<UrlKind> {
    match name {
        "AZURE_USE_FABRIC_ENDPOINT" | "AWS_USE_FIPS_ENDPOINT" | "AWS_USE_DUALSTACK_ENDPOINT" => {
            None
        }
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" => Some(UrlKind::Path),
        "AZURE_AUTHORITY_HOST" => Some(UrlKind::Base),
        _ if name.ends_with("_PROXY_URL") || name.ends_with("_FULL_URI") => Some(UrlKind::Whole),
        _ if name.ends_with("_ENDPOINT")
            || name.contains("_ENDPOINT_URL")
            || name.ends_with("_URL") =>
        {
            Some(UrlKind::Base)
        }
        _ => None,
    }
}

fn checked_url(name: &str, value: &str, kind: UrlKind) -> Result<String> {
    let on_host = match kind {
        UrlKind::Path => format!("http://169.254.170.2{value}"),
        UrlKind::Base | UrlKind::Whole => value.to_owned(),
    };
    let scheme = on_host.split_once("://").map_or("", |(scheme, _)| scheme);
    if kind == UrlKind::Path && !value.starts_with('/') {
        return Err(wrong(name, "does not begin with a slash"));
    }
    if kind != UrlKind::Whole && !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str())
    {
        return Err(wrong(name, "does not begin with https:// or http://"));
    }
    let url = Url::parse(&on_host).map_err(|e| wrong(name, "is not a URL").with_source(e))?;
    if !url.has_host() {
        return Err(wrong(name, "names no host"));
    }
    if kind != UrlKind::Base {
        return Ok(value.to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        let what = "holds a user or a password, which would not be used; set the keys by their own variables";
        return Err(wrong(name, what));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(
            name,
            "holds a query or a fragment, which would not be used",
        ));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn is_flag(name: &str) -> bool {
    let flags = [
        ALLOW_HTTP,
        "ALLOW_INVALID_CERTIFICATES",
        "VIRTUAL_HOSTED_STYLE_REQUEST",
        "S3_EXPRESS",
        "IMDSV1_FALLBACK",
        "UNSIGNED_PAYLOAD",
        "SKIP_SIGNATURE",
        "DISABLE_TAGGING",
        "DISABLE_BULK_DELETE",
        "USE_FIPS_ENDPOINT",
        "USE_DUALSTACK_ENDPOINT",
        "USE_EMULATOR",
        "USE_FABRIC_ENDPOINT",
        "USE_AZURE_CLI",
    ];
    flags.iter().any(|flag| name.ends_with(flag))
}

/// As `object_store` reads it.
fn flag(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "on" | "yes" | "y" => Some(true),
        "0" | "false" | "off" | "no" | "n" => Some(false),
        _ => None,
    }
}
