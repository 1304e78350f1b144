//! Option values that clap cannot parse itself.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use checkpoint_storage::{Location, OpenLocation};

/// A location as written on the command line: a URL, or a path, which need not be Unicode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocationArg(OsString);

impl LocationArg {
    pub(crate) fn open(&self) -> checkpoint_storage::Result<OpenLocation> {
        Location::from_os_str(&self.0)?.open()
    }
}

impl From<OsString> for LocationArg {
    fn from(text: OsString) -> Self {
        Self(text)
    }
}

impl fmt::Display for LocationArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// The value of one of Flyte's options; `None` if it names no location. On a first attempt Flyte passes two quote
/// characters, and older versions leave the template unreplaced. An operator's template may produce what its language
/// prints for an absent value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlyteUrl(pub(crate) Option<LocationArg>);

impl From<OsString> for FlyteUrl {
    fn from(text: OsString) -> Self {
        Self((!text.to_str().is_some_and(means_none)).then(|| text.into()))
    }
}

fn means_none(text: &str) -> bool {
    let text = text.trim();
    let quoted = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    let text = quoted('"').or_else(|| quoted('\'')).unwrap_or(text).trim();
    matches!(text, "" | "None" | "null") || (text.contains("{{") && text.contains("}}"))
}

/// A directory of the host, and the path under which the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SharedDir {
    pub(crate) host: PathBuf,
    pub(crate) guest: String,
}

impl FromStr for SharedDir {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, guest) = text.split_once("::").unwrap_or((text, text));
        if host.is_empty() || guest.is_empty() {
            return Err("expected HOST or HOST::GUEST".into());
        }
        Ok(Self {
            host: host.into(),
            guest: guest.into(),
        })
    }
}

/// An environment variable of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => match std::env::var(text) {
                Ok(value) => (text, value),
                Err(_) => {
                    return Err(format!(
                        "{text} is not set in this environment; pass {text}=VALUE"
                    ));
                }
            },
        };
        if name.is_empty() {
            return Err("expected NAME or NAME=VALUE".into());
        }
        Ok(Self {
            name: name.into(),
            value,
        })
    }
}

/// Parses a duration such as `90s` or `2h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    match duration.is_zero() {
        true => Err("must be longer than 0".into()),
        false => Ok(duration),
    }
}

/// Parses a percentage such as `5` or `5%`. Returns it as a fraction.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').parse::<f64>();
    match percent.map_err(|e| e.to_string())? {
        percent if percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err("expected a percentage above 0, up to 100".into()),
    }
}

/// Parses a size such as `64MiB`, `1 GB` or `4096`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => {
            return Err(
                "expected a whole number, optionally with B, kB, MB, GB, KiB, MiB or GiB".into(),
            );
        }
    };
    let number: u64 = number.parse().map_err(|_| "expected a whole number")?;
    let bytes = number.checked_mul(factor).and_then(|n| n.try_into().ok());
    bytes.ok_or_else(|| "too large for this machine".into())
}

/// Formats a size for people.
pub(crate) fn human_size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ => format!("{value:.1} {unit}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn flytes_absent_values_name_no_location() {
        let blank = ["", " ", "\t\n", "\"\"", "''", "' '", " \"\" "];
        let words = [
            "None",
            "null",
            "'None'",
            "{{.prevCheckpointPrefix}}",
            "{{ .x }}",
        ];
        for none in [&blank[..], &words].concat() {
            assert_eq!(
                FlyteUrl::from(OsString::from(none)),
                FlyteUrl(None),
                "{none:?}"
            );
        }
        for some in ["s3://b/p", "none", "None/x", "./None", "\"", "'x'"] {
            let location = LocationArg(some.into());
            assert_eq!(
                FlyteUrl::from(OsString::from(some)),
                FlyteUrl(Some(location))
            );
        }
    }

    #[test]
    fn sizes_are_parsed_and_printed_with_units() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("1 GB"), Ok(1_000_000_000));
        assert_eq!(size("4096"), Ok(4096));
        for wrong in ["", "MiB", "-1", "1.5GiB", "1 parsec", "99999999999GiB"] {
            size(wrong).unwrap_err();
        }
        assert_eq!(human_size(1536), "1.5 KiB");
        assert_eq!(human_size(7), "7 B");
    }

    #[test]
    fn a_directory_keeps_its_path_unless_another_is_given() {
        let dir = |host: &str, guest: &str| SharedDir {
            host: host.into(),
            guest: guest.into(),
        };
        assert_eq!("a/b".parse(), Ok(dir("a/b", "a/b")));
        assert_eq!("a/b::/data".parse(), Ok(dir("a/b", "/data")));
        "::/data".parse::<SharedDir>().unwrap_err();
    }

    #[test]
    fn a_variable_without_a_value_is_inherited() {
        let variable: Variable = "A=b=c".parse().unwrap();
        assert_eq!(
            (variable.name.as_str(), variable.value.as_str()),
            ("A", "b=c")
        );
        let inherited: Variable = "PATH".parse().unwrap();
        assert_eq!(inherited.value, std::env::var("PATH").unwrap());
        "NOT_SET_ANYWHERE_AT_ALL".parse::<Variable>().unwrap_err();
    }
}
