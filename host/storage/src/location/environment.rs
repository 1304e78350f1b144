//! The environment variables that configure access to a storage.
//!
//! `object_store` does not check them and panics on some, so this module checks each one first. Messages name the
//! variable but never contain its value, which may be a secret.

use std::collections::BTreeMap;
use std::ffi::OsString;

use url::Url;

use crate::error::{Error, ErrorKind, Result};

/// The variables of one storage by name: trimmed, without blank ones, and validated.
#[derive(Debug)]
pub(super) struct Variables(BTreeMap<String, String>);

/// The suffix of the variable that permits unencrypted endpoints.
const ALLOW_HTTP: &str = "ALLOW_HTTP";

impl Variables {
    /// Reads the variables of this process whose names begin with one of these prefixes.
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

    /// Sets `name` to the value of `other` if none of `names` is set.
    #[cfg(any(feature = "aws-base", feature = "azure"))]
    pub(super) fn fall_back(&mut self, names: &[&str], name: &str, other: &str) {
        if !names.iter().any(|name| self.has(name))
            && let Some(value) = self.get(other).map(str::to_owned)
        {
            self.0.insert(name.to_owned(), value);
        }
    }

    #[cfg(any(feature = "aws-base", feature = "azure"))]
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// # Errors
    /// `InvalidLocation` if one of these endpoints is unencrypted and `<prefix>ALLOW_HTTP` does not permit it.
    pub(super) fn check_http(&self, prefix: &str, endpoints: &[&str]) -> Result<()> {
        let allow = format!("{prefix}{ALLOW_HTTP}");
        if self.is_on(&allow) {
            return Ok(());
        }
        for name in endpoints {
            if self.get(name).is_some_and(|url| url.starts_with("http:")) {
                let what = format!("is unencrypted; use https://, or permit it with {allow}=true");
                return Err(wrong(name, &what));
            }
        }
        Ok(())
    }

    /// Returns the variables with their keys in `object_store`, which are the names in lower case. Skips those
    /// that it does not know.
    pub(super) fn settings<K: std::str::FromStr>(&self) -> impl Iterator<Item = (K, &str)> {
        let settings = self.0.iter();
        settings.filter_map(|(name, value)| {
            Some((name.to_ascii_lowercase().parse().ok()?, value.as_str()))
        })
    }

    /// Returns the error for settings with which no storage can be built.
    pub(super) fn unusable(&self, url: &str, source: object_store::Error) -> Error {
        let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
        let set = match names.is_empty() {
            true => "none is set".to_owned(),
            false => format!("these are set: {}", names.join(", ")),
        };
        let what = format!(
            "{url}: the environment variables are not sufficient to reach this storage; {set}"
        );
        Error::new(ErrorKind::InvalidLocation, what).with_source(source)
    }
}

/// Returns the error for a variable with an unusable value.
pub(super) fn wrong(name: &str, what: &str) -> Error {
    Error::new(
        ErrorKind::InvalidLocation,
        format!("the environment variable {name} {what}"),
    )
}

/// Validates a variable's value, and returns it in the form in which it is used.
fn checked(name: &str, value: &str) -> Result<String> {
    // A key in JSON, complete or not.
    if name.ends_with("SERVICE_ACCOUNT_KEY") {
        return Ok(value.to_owned());
    }
    if value.chars().any(char::is_control) {
        return Err(wrong(
            name,
            "contains a line break or another control character",
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
        return Err(wrong(name, "contains a non-ASCII character"));
    }
    if name.ends_with("_REGION")
        && !value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    {
        return Err(wrong(name, "is not a region name"));
    }
    if is_flag(name) && flag(value).is_none() {
        return Err(wrong(name, "must be true or false"));
    }
    match url_kind(name) {
        None => Ok(value.to_owned()),
        Some(kind) => checked_url(name, value, kind),
    }
}

/// How the URL in a variable is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UrlKind {
    /// A base URL to which paths are appended.
    Base,
    /// A complete URL, which may contain a query or, for a proxy, a password.
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
        return Err(wrong(name, "must begin with a slash"));
    }
    if kind != UrlKind::Whole && !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str())
    {
        return Err(wrong(name, "must begin with https:// or http://"));
    }
    let url = Url::parse(&on_host).map_err(|e| wrong(name, "is not a URL").with_source(e))?;
    if !url.has_host() {
        return Err(wrong(name, "has no host"));
    }
    if kind != UrlKind::Base {
        return Ok(value.to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        let what = "contains a user or a password, which would be ignored; set the credentials in their own variables";
        return Err(wrong(name, what));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(
            name,
            "contains a query or a fragment, which would be ignored",
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

/// Parses a boolean as `object_store` does.
fn flag(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "on" | "yes" | "y" => Some(true),
        "0" | "false" | "off" | "no" | "n" => Some(false),
        _ => None,
    }
}
