//! Parsing the name of a location.

use std::str::FromStr;

use object_store::path::Path;

use super::{Kind, Location, local};
use crate::error::{Error, ErrorKind, Result};

/// The domains that an `abfs:` URL may name after its account.
const AZURE_DOMAINS: [&str; 2] = [".dfs.core.windows.net", ".blob.core.windows.net"];

impl FromStr for Location {
    type Err = Error;

    /// # Errors
    /// [`ErrorKind::InvalidLocation`] if the text is blank or a URL that is not a valid location. The message
    /// never contains what precedes an `@`.
    fn from_str(text: &str) -> Result<Self> {
        if text.trim().is_empty() {
            return Err(invalid(text, "expected a URL or a path"));
        }
        let Some(scheme) = scheme(text) else {
            return Ok(Self::from_path(text));
        };
        let rest = text.get(scheme.len() + 1..).unwrap_or_default();
        let kind = match scheme.to_ascii_lowercase().as_str() {
            "file" => local::decode(rest).map(Kind::Local),
            "memory" => memory(rest),
            "s3" | "s3a" => bucket(rest).map(|(bucket, key)| Kind::S3 { bucket, key }),
            "gs" | "gcs" => bucket(rest).map(|(bucket, key)| Kind::Gcs { bucket, key }),
            "az" | "azure" | "abfs" | "abfss" | "wasb" | "wasbs" => azure(rest),
            _ => {
                Err("unsupported scheme; use file, memory, s3, gs, az, abfs, or a path".to_owned())
            }
        };
        let kind = kind.map_err(|what| {
            // A directory may have such a name.
            let is_url = text.contains("://");
            let hint = format!(" (for a directory of this name, write ./{text})");
            let hint = if is_url || text.contains('@') {
                ""
            } else {
                &hint
            };
            invalid(text, &format!("{what}{hint}"))
        })?;
        Ok(Self { kind, is_url: true })
    }
}

/// Returns the scheme of a text that looks like a URL. A single letter is a Windows drive.
pub(super) fn scheme(text: &str) -> Option<&str> {
    let first = text.split('/').next().unwrap_or_default();
    let (before, after) = first.split_once(':')?;
    let mut letters = before.chars();
    let is_scheme = letters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    match before.chars().count() {
        0 => None,
        1 if is_scheme => None,
        // Includes malformed URLs, such as `"s3://b/x"` with the quotes.
        _ => (is_scheme || after.is_empty()).then_some(before),
    }
}

/// Parses a key, which is literal, as in every S3 tool. Ignores one trailing slash.
pub(super) fn key(text: &str) -> Result<Path, String> {
    if text.is_empty() {
        return Ok(Path::ROOT);
    }
    let text = text.strip_suffix('/').unwrap_or(text);
    if let Some(part) = text
        .split('/')
        .find(|part| matches!(*part, "" | "." | ".."))
    {
        return Err(format!(
            "a part of a key must not be empty, '.' or '..', but one is {part:?}"
        ));
    }
    Path::parse(text).map_err(|_| "a key must not contain control characters".to_owned())
}

fn memory(rest: &str) -> Result<Kind, String> {
    let key = rest
        .strip_prefix("///")
        .ok_or("write a memory URL with three slashes: memory:///key")?;
    self::key(key).map(Kind::Memory)
}

/// Splits the part after the two slashes into the bucket or host, and the key.
fn authority(rest: &str) -> Result<(&str, Path), String> {
    let rest = rest
        .strip_prefix("//")
        .ok_or("expected two slashes and a bucket after the scheme")?;
    let (authority, key) = rest.split_once('/').unwrap_or((rest, ""));
    Ok((authority, self::key(key)?))
}

fn bucket(rest: &str) -> Result<(String, Path), String> {
    let (bucket, key) = authority(rest)?;
    check_bucket(bucket)?;
    Ok((bucket.to_owned(), key))
}

fn check_bucket(bucket: &str) -> Result<(), String> {
    if bucket.is_empty() {
        return Err("it does not name a bucket".to_owned());
    }
    let wrong = bucket
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !"-_.".contains(*c));
    match wrong {
        Some('@') => Err(
            "a URL must not contain a user or a password; set the environment variables instead"
                .to_owned(),
        ),
        Some(':') => Err(
            "a URL must not contain a port; set the endpoint with an environment variable instead"
                .to_owned(),
        ),
        Some(c) => Err(format!("a bucket name must not contain {c:?}")),
        None if !bucket.starts_with(|c: char| c.is_ascii_alphanumeric()) => {
            Err("a bucket name must begin with a letter or a digit".to_owned())
        }
        None => Ok(()),
    }
}

fn azure(rest: &str) -> Result<Kind, String> {
    let (authority, key) = authority(rest)?;
    let (container, host) = match authority.split_once('@') {
        Some((container, host)) => (container, Some(host.to_ascii_lowercase())),
        None => (authority, None),
    };
    check_bucket(container)?;
    let account = match &host {
        Some(host) => Some(azure_account(host)?),
        None => None,
    };
    Ok(Kind::Azure {
        account,
        container: container.to_owned(),
        key,
    })
}

fn azure_account(host: &str) -> Result<String, String> {
    let account = AZURE_DOMAINS
        .iter()
        .find_map(|domain| host.strip_suffix(domain));
    match account {
        Some(account)
            if !account.is_empty() && account.bytes().all(|b| b.is_ascii_alphanumeric()) =>
        {
            Ok(account.to_owned())
        }
        _ => Err(
            "expected ACCOUNT.dfs.core.windows.net after the '@'; set other hosts with AZURE_ENDPOINT"
                .to_owned(),
        ),
    }
}

/// Returns the error for an invalid name.
pub(super) fn invalid(name: &str, what: &str) -> Error {
    let name = redact(name);
    Error::new(ErrorKind::InvalidLocation, format!("{name:?}: {what}"))
}

/// Redacts what may be a password: everything before the last `@` of a URL, because passwords may contain slashes.
pub(super) fn redact(text: &str) -> String {
    match (scheme(text), text.rsplit_once('@')) {
        (Some(scheme), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => text.to_owned(),
    }
}
