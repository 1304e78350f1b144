//! Paths of this machine, and `file:` URLs.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

/// As many links as a path of Linux may lead through.
const MAX_LINKS: usize = 40;

/// The scheme of the names that records have for directories. In a composed task a directory has another
/// path than on the machine, so no other host may take its name for its own.
pub(super) const SCHEME: &str = match cfg!(target_family = "wasm") {
    true => "dir",
    false => "file",
};

/// A path without what makes no difference: `.`, and `/` twice or at the end. `..` stays, because what
/// it means depends on links.
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

/// The canonical spelling of a normalized path. One that is not absolute has no URL.
pub(super) fn name(path: &Path) -> String {
    // In a component every path begins at the root, but one that is parsed is not resolved yet.
    if path.has_root() {
        return url("file", path);
    }
    let text = path.display().to_string();
    match super::parse::scheme(&text).is_some() || text.trim().is_empty() {
        true => format!("./{text}"),
        false => text,
    }
}

/// The URL of an absolute path.
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

/// The path of a `file:` URL, of which the scheme and its colon are gone.
pub(super) fn decode(rest: &str) -> Result<PathBuf, String> {
    let path = match rest.strip_prefix("//") {
        None => rest,
        Some(rest) => {
            let (host, _) = rest.split_once('/').unwrap_or((rest, ""));
            if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
                return Err(
                    "a file URL names no host; it has three slashes: file:///a/directory"
                        .to_owned(),
                );
            }
            rest.get(host.len()..).unwrap_or_default()
        }
    };
    if !path.starts_with('/') {
        return Err("a file URL holds an absolute path: file:///a/directory".to_owned());
    }
    if let Some(c) = path.chars().find(|c| matches!(c, '?' | '#')) {
        return Err(format!(
            "a file URL has neither a query nor a fragment; for a name with {c:?}, write %{:02X}",
            u32::from(c)
        ));
    }
    let bytes = decode_percent(path)?;
    let path = os_string(bytes).ok_or("a file URL must decode to Unicode here")?;
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
            return Err("two hexadecimal digits follow a '%' in a file URL; write %25 for the character itself".to_owned());
        };
        match high * 16 + low {
            0 | b'/' => return Err("a file URL may encode neither '/' nor NUL".to_owned()),
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

/// The absolute path, with links resolved as far as they exist. What does not exist is taken as it is written:
/// a `..` takes the part before it away.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, (&'static str, Option<io::Error>)> {
    if path.as_os_str().is_empty() {
        return Err(("a path is expected", None));
    }
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(("no path holds a NUL", None));
    }
    let absolute = absolute(path).map_err(|e| ("there is no working directory", Some(e)))?;
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
            // An absolute one takes the place of all before it.
            Some(Component::RootDir | Component::Prefix(_)) => resolved.push(&next),
            Some(Component::Normal(name)) => match read_link(&resolved.join(name)) {
                Some(_) if links == MAX_LINKS => {
                    return Err(("too many links lead to this path", None));
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
        // Not `std::path::absolute`, which on Windows resolves `..` without regard to links.
        false => Ok(std::env::current_dir()?.join(path)),
    }
}

/// Every directory that a component was given has a name of its own, and none is the working directory.
#[cfg(target_family = "wasm")]
fn absolute(path: &Path) -> io::Result<PathBuf> {
    Ok(Path::new("/").join(path))
}

#[cfg(not(target_family = "wasm"))]
fn read_link(path: &Path) -> Option<PathBuf> {
    std::fs::read_link(path).ok()
}

/// A component's directories are hidden by their names, and a link does not lead out of one of them.
#[cfg(target_family = "wasm")]
fn read_link(_path: &Path) -> Option<PathBuf> {
    None
}
