//! Durations, moments, sizes and keys as people write and read them.
//!
//! Promises: what is printed can be typed back. Does not: read a clock.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use bytes::Bytes;

use crate::cmd::escape;
use crate::cmd::exit::Exit;
use crate::cmd::fail::Failure;
use crate::model::key::{Key, SYSTEM_PREFIX};
use crate::model::time::Timestamp;

/// `30m`, `1h30m`, `250ms`. At least a millisecond.
pub fn duration(text: &str) -> Result<Duration, String> {
    let given = humantime::parse_duration(text)
        .map_err(|_| format!("write it like 30s, 5m or 1h30m, not `{text}`"))?;
    match given.as_millis() {
        0 => Err("it must be at least 1ms".to_owned()),
        ms if u64::try_from(ms).is_err() => Err("that is longer than anything lasts".to_owned()),
        ms => Ok(Duration::from_millis(ms as u64)),
    }
}

/// A timestamp: the number that `--meta` and `ts` show, or a moment such as `2026-01-31T12:00:00Z`.
pub fn timestamp(text: &str) -> Result<Timestamp, String> {
    if let Ok(number) = text.parse::<u64>() {
        return match number {
            0 => Err("timestamps begin at 1".to_owned()),
            number => Ok(Timestamp(number)),
        };
    }
    let moment = humantime::parse_rfc3339_weak(text).map_err(|_| {
        format!("`{text}` is neither a number as shown by `ts` nor like 2026-01-31T12:00:00Z")
    })?;
    let since = moment.duration_since(std::time::UNIX_EPOCH).map_err(|_| "that is before 1970".to_owned())?;
    // The format ends with the year 9999, timestamps some centuries later.
    Ok(Timestamp::from_ms(since.as_millis() as u64))
}

/// A timestamp's moment, to the millisecond, in UTC.
pub fn moment(ms: u64) -> String {
    // Beyond this the formatter refuses (the year 9999).
    const LAST_MS: u64 = 253_402_300_799_999;
    let moment = std::time::UNIX_EPOCH + Duration::from_millis(ms.min(LAST_MS));
    humantime::format_rfc3339_millis(moment).to_string()
}

/// A duration for people: three units at most (`1h 2m 3s`).
pub fn span(ms: u64) -> String {
    let rounded = match ms {
        0..10_000 => ms,
        10_000..3_600_000 => ms / 1_000 * 1_000,
        _ => ms / 60_000 * 60_000,
    };
    humantime::format_duration(Duration::from_millis(rounded)).to_string()
}

/// A size for people: `12 B`, `3.4 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut number = bytes as f64 / 1024.0;
    let mut unit = 0;
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    format!("{number:.1} {}", UNITS[unit])
}

/// A number with its thousands apart: `100,000`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A user's key as typed. The cluster's own keys are not for `kv`.
pub fn user_key(typed: &OsStr) -> Result<Bytes, Failure> {
    user_key_bytes(typed.as_bytes())
}

/// Like [`user_key`], from bytes.
pub fn user_key_bytes(name: &[u8]) -> Result<Bytes, Failure> {
    if name.starts_with(SYSTEM_PREFIX) {
        let shown = escape::short(name, 60);
        return Err(Failure::new(Exit::Forbidden, format!("{shown} is not a key for you to use"))
            .because("keys that start with `_/` belong to the cluster itself")
            .cure("nomad meta get KEY to read it, nomad config set NAME VALUE to change a setting"));
    }
    match Key::from_name(name) {
        Ok(_) => Ok(Bytes::copy_from_slice(name)),
        Err(error) => Err(Failure::usage("that is not a key").caused_by(&error)),
    }
}

/// A bound of a range of user keys: any bytes, also such as no user key has.
pub fn user_bound(name: &[u8]) -> Result<Key, Failure> {
    let internal = [Key::FIRST_USER.as_bytes(), name].concat();
    Key::from_internal(internal.into())
        .map_err(|error| Failure::usage("that is not a bound").caused_by(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("30m"), Ok(Duration::from_secs(1_800)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "30", "-5s", "5 parsecs", "0s", "999us", "99999999999999999999y"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn timestamps_are_numbers_or_moments() {
        assert_eq!(timestamp("12345"), Ok(Timestamp(12_345)));
        let newyear = timestamp("2026-01-01T00:00:00Z").unwrap();
        assert_eq!(newyear, Timestamp::from_ms(1_767_225_600_000));
        assert_eq!(timestamp(&moment(newyear.ms())), Ok(newyear));
        for wrong in ["0", "", "yesterday", "1969-01-01T00:00:00Z"] {
            assert!(timestamp(wrong).is_err(), "{wrong}");
        }
        assert!(moment(u64::MAX).starts_with("9999"));
    }

    #[test]
    fn people_read_few_digits() {
        assert_eq!(span(1_234), "1s 234ms");
        assert_eq!(span(61_999), "1m 1s");
        assert_eq!(span(3_599_000 + 1_000 + 61_000), "1h 1m");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(64 << 20), "64.0 MiB");
        assert_eq!(size(u64::MAX), "16384.0 PiB");
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn system_keys_are_refused_with_exit_4() {
        assert_eq!(user_key_bytes(b"_/x").unwrap_err().exit, Exit::Forbidden);
        assert_eq!(user_key_bytes(b"").unwrap_err().exit, Exit::Usage);
        assert_eq!(user_key_bytes(&[b'k'; 5000]).unwrap_err().exit, Exit::Usage);
        assert_eq!(user_key_bytes(b"_x").unwrap(), Bytes::from_static(b"_x"));
    }

    #[test]
    fn a_bound_may_lie_where_no_user_key_is() {
        let below = user_bound(b"_/a").unwrap();
        assert!(Key::from_name(b"^").unwrap() < below && below < Key::from_name(b"_0").unwrap());
        assert_eq!(user_bound(b"").unwrap(), Key::FIRST_USER);
    }
}
