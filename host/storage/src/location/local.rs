//! Paths of this machine, and `file:` URLs.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

/// The maximum number of links in a path, as on Linux.
const MAX_LINKS: usize = 40;

/// The scheme for directories in records. In a composed task, a directory's path differs from its path on the
/// machine, so no other host must mistake it for one of its own.
pub(super) const SCHEME: &str = match cfg!(target_family = "wasm") {
    true => "dir",
    false => "file",
};

/// Normalizes a path: removes `.`, repeated `/` and trailing `/`. Keeps `..`, because its meaning depends on
/// links.
pub(super) fn normalize(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            // The root is its own parent.
            Component::ParentDir if normal.parent().is_none() && normal.has_root() => {}
            component => normal.push(component),
        }
    }
    if normal.as_os_str().is_empty() && !path.as_os_str().is_empty() {
        normal.push(".");
    }
    normal
}

/// Returns the canonical spelling of a normalized path. A relative path has no URL.
pub(super) fn name(path: &Path) -> String {
    // In a component every path starts at the root, but a parsed path is not resolved yet.
    if path.has_root() {
        return url("file", path);
    }
    let text = path.display().to_string();
    match super::parse::scheme(&text).is_some() || text.trim().is_empty() {
        true => format!("./{text}"),
        false => text,
    }
}

/// Returns the URL of an absolute path.
pub(super) fn url(scheme: &str, path: &Path) -> String {
    let mut url = format!("{scheme}://");
    if cfg!(windows) {
        url.push('/');
    }
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'\\' if cfg!(windows) => url.push('/'),
            b'/' | b'-' | b'.' | b'_' | b'~' | b':' | b'@' | b'!' | b'$' | b'&' | b'\'' | b'('
            | b')' | b'*' | b'+' | b',' | b';' | b'=' => url.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => url.push(char::from(byte)),
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

/// Returns the path of a `file:` URL, given without the scheme and its colon.
pub(super) fn decode(rest: &str) -> Result<PathBuf, String> {
    let path = match rest.strip_prefix("//") {
        None => rest,
        Some(rest) => {
            let (host, _) = rest.split_once('/').unwrap_or((rest, ""));
            if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
                return Err(
                    "a file URL must not name a host; write three slashes: file:///a/directory"
                        .to_owned(),
                );
            }
            rest.get(host.len()..).unwrap_or_default()
        }
    };
    if !path.starts_with('/') {
        return Err("a file URL needs an absolute path: file:///a/directory".to_owned());
    }
    if let Some(c) = path.chars().find(|c| matches!(c, '?' | '#')) {
        return Err(format!(
            "a file URL must not have a query or a fragment; for a name with {c:?}, write %{:02X}",
            u32::from(c)
        ));
    }
    let bytes = decode_percent(path)?;
    let path = os_string(bytes).ok_or("a file URL must decode to Unicode on this platform")?;
    // `/C:/x` is `C:/x`.
    #[cfg(windows)]
    let path = match path.to_str().and_then(|path| path.strip_prefix('/')) {
        Some(path) if path.chars().nth(1) == Some(':') => OsString::from(path),
        _ => path,
    };
    Ok(normalize(Path::new(&path)))
}

fn decode_percent(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |index: usize| {
            let digit = char::from(*after.get(index)?).to_digit(16)?;
            u8::try_from(digit).ok()
        };
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return Err("a '%' in a file URL must be followed by two hexadecimal digits; write %25 for the character itself".to_owned());
        };
        match high * 16 + low {
            0 | b'/' => return Err("a file URL must not encode '/' or NUL".to_owned()),
            decoded => bytes.push(decoded),
        }
        rest = after.get(2..).unwrap_or_default();
    }
    Ok(bytes)
}

#[cfg(unix)]
fn os_string(bytes: Vec<u8>) -> Option<OsString> {
    use std::os::unix::ffi::OsStringExt;
    Some(OsString::from_vec(bytes))
}

#[cfg(not(unix))]
fn os_string(bytes: Vec<u8>) -> Option<OsString> {
    String::from_utf8(bytes).ok().map(Into::into)
}

/// Returns the absolute path, with links resolved in the part that exists. In the part that does not exist, `..`
/// removes the component before it.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, (&'static str, Option<io::Error>)> {
    if path.as_os_str().is_empty() {
        return Err(("expected a path, found an empty one", None));
    }
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(("a path must not contain NUL", None));
    }
    let absolute =
        absolute(path).map_err(|e| ("cannot determine the working directory", Some(e)))?;
    let mut resolved = PathBuf::new();
    let mut ahead: Vec<OsString> = Vec::new();
    push_reversed(&mut ahead, &absolute);
    let mut links = 0;
    while let Some(next) = ahead.pop() {
        match Path::new(&next).components().next() {
            None | Some(Component::CurDir) => {}
            Some(Component::ParentDir) => {
                resolved.pop();
            }
            // An absolute path replaces everything before it.
            Some(Component::RootDir | Component::Prefix(_)) => resolved.push(&next),
            Some(Component::Normal(name)) => match read_link(&resolved.join(name)) {
                Some(_) if links == MAX_LINKS => {
                    return Err(("too many symbolic links", None));
                }
                Some(target) => {
                    links += 1;
                    push_reversed(&mut ahead, &target);
                }
                None => resolved.push(name),
            },
        }
    }
    Ok(resolved)
}

fn push_reversed(ahead: &mut Vec<OsString>, path: &Path) {
    let parts: Vec<&OsStr> = path.components().map(Component::as_os_str).collect();
    ahead.extend(parts.into_iter().rev().map(OsStr::to_owned));
}

#[cfg(not(target_family = "wasm"))]
fn absolute(path: &Path) -> io::Result<PathBuf> {
    match path.is_absolute() {
        true => Ok(path.to_owned()),
        // Not `std::path::absolute`, which on Windows resolves `..` without considering links.
        false => Ok(std::env::current_dir()?.join(path)),
    }
}

/// Each preopened directory of a component has its own name, and none is the working directory.
#[cfg(target_family = "wasm")]
fn absolute(path: &Path) -> io::Result<PathBuf> {
    Ok(Path::new("/").join(path))
}

#[cfg(not(target_family = "wasm"))]
fn read_link(path: &Path) -> Option<PathBuf> {
    std::fs::read_link(path).ok()
}

/// A component hides its directories by name, and links cannot lead out of them, so they are not resolved.
#[cfg(target_family = "wasm")]
fn read_link(_path: &Path) -> Option<PathBuf> {
    None
}
