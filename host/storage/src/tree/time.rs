//! Modification times as they are kept: nanoseconds since 1970 in 64 bits.

use std::time::{Duration, SystemTime};

/// Returns the nanoseconds since 1970. A time before 1677 or after 2262 becomes the nearest one that fits.
pub(crate) fn nanoseconds(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => {
            let before = i64::try_from(before.duration().as_nanos());
            before.map_or(i64::MIN, |before| -before)
        }
    }
}

/// Returns the time, or `None` if this machine cannot represent it.
pub(crate) fn time_of(nanoseconds: i64) -> Option<SystemTime> {
    let since = Duration::from_nanos(nanoseconds.unsigned_abs());
    match nanoseconds < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(since),
        false => SystemTime::UNIX_EPOCH.checked_add(since),
    }
}
