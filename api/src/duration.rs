//! A length of time as Flux and Go write it: `1h`, `10m30s`, `1.5h`, `500ms`.

use std::fmt;
use std::str::FromStr;
use std::time;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What the CRDs accept as a duration: the pattern that Flux's own kinds have.
pub(crate) const PATTERN: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$";

const NANOS_PER_UNIT: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
];
const NANOS_PER_HOUR: u64 = 3_600_000_000_000;

/// A length of time, read from and written in Go's notation. It cannot be negative. In a CRD it cannot be zero either: what
/// is asked again after no time at all is asked without end.
///
/// Like Go's, it is limited to the nanoseconds that fit in an `i64` (292 years), so that no arithmetic on it overflows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(time::Duration);

/// Why a text is no [`Duration`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// It begins with a minus sign.
    #[error("duration {0:?} is negative")]
    Negative(String),
    /// It is not a sequence of numbers, each with a unit.
    #[error("{0:?} is no duration: write numbers with the units ms, s, m or h, such as 10m or 1h30m")]
    Syntax(String),
    /// It is longer than 292 years.
    #[error("duration {0:?} is too long")]
    TooLong(String),
}

impl Duration {
    /// A duration of whole seconds.
    pub const fn from_secs(seconds: u32) -> Self {
        Self(time::Duration::from_secs(seconds as u64))
    }

    /// The same length of time as the standard library has it.
    pub const fn as_std(self) -> time::Duration {
        self.0
    }
}

impl From<Duration> for time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl TryFrom<time::Duration> for Duration {
    type Error = DurationError;

    fn try_from(duration: time::Duration) -> Result<Self, Self::Error> {
        match i64::try_from(duration.as_nanos()) {
            Ok(_) => Ok(Self(duration)),
            Err(_) => Err(DurationError::TooLong(format!("{duration:?}"))),
        }
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || DurationError::Syntax(text.to_owned());
        let too_long = || DurationError::TooLong(text.to_owned());
        if text.starts_with('-') {
            return Err(DurationError::Negative(text.to_owned()));
        }
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        if rest == "0" {
            return Ok(Self::default());
        }
        if rest.is_empty() {
            return Err(syntax());
        }
        let mut nanos: u64 = 0;
        while !rest.is_empty() {
            let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(syntax)?;
            let (number, after) = rest.split_at(number_end);
            let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
            let (unit, next) = after.split_at(unit_end);
            let per_unit = nanos_per_unit(unit).ok_or_else(syntax)?;
            let part = scaled(number, per_unit).ok_or_else(syntax)?.ok_or_else(too_long)?;
            nanos = nanos.checked_add(part).filter(|sum| i64::try_from(*sum).is_ok()).ok_or_else(too_long)?;
            rest = next;
        }
        Ok(Self(time::Duration::from_nanos(nanos)))
    }
}

fn nanos_per_unit(unit: &str) -> Option<u64> {
    if unit == "h" {
        return Some(NANOS_PER_HOUR);
    }
    NANOS_PER_UNIT.iter().find(|(name, _)| *name == unit).map(|(_, nanos)| *nanos)
}

/// `number` times `per_unit`: `None` for what is no decimal number, `Some(None)` for what does not fit.
/// The fraction is scaled in integers, for `1.001s` has to be 1001 ms and not one nanosecond less.
fn scaled(number: &str, per_unit: u64) -> Option<Option<u64>> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole = match whole {
        "" => Some(0),
        digits => digits.parse::<u64>().ok(),
    };
    // Digits beyond the sixteenth are below a nanosecond for every unit.
    let fraction = &fraction[..fraction.len().min(16)];
    let fraction_nanos = match fraction {
        "" => 0,
        digits => {
            let scale = 10u128.pow(digits.len() as u32);
            let value = digits.parse::<u128>().ok()?;
            u64::try_from(value * u128::from(per_unit) / scale).ok()?
        }
    };
    Some(whole.and_then(|whole| whole.checked_mul(per_unit)).and_then(|nanos| nanos.checked_add(fraction_nanos)))
}

/// Go's notation: `1h0m0s`, `10m0s`, `1.5s`, `500ms`.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let nanos = self.0.subsec_nanos();
        if seconds == 0 && nanos > 0 {
            return match nanos {
                0..1_000 => write!(f, "{nanos}ns"),
                1_000..1_000_000 => write!(f, "{}us", decimal(u64::from(nanos / 1_000), nanos % 1_000, 3)),
                _ => write!(f, "{}ms", decimal(u64::from(nanos / 1_000_000), nanos % 1_000_000, 6)),
            };
        }
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}s", decimal(seconds % 60, nanos, 9))
    }
}

fn decimal(whole: u64, fraction: u32, digits: usize) -> String {
    if fraction == 0 {
        return whole.to_string();
    }
    let fraction = format!("{fraction:0digits$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl schemars::JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": PATTERN,
            "x-kubernetes-validations": [
                {"rule": "duration(self) > duration('0s')", "message": "must be longer than zero"}
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_what_go_does() {
        // text, nanoseconds, as Go prints it
        let cases: &[(&str, u64, &str)] = &[
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("5s", 5_000_000_000, "5s"),
            ("+5s", 5_000_000_000, "5s"),
            ("10m", 600_000_000_000, "10m0s"),
            ("1h", 3_600_000_000_000, "1h0m0s"),
            ("1.5h", 5_400_000_000_000, "1h30m0s"),
            ("1h0m30s", 3_630_000_000_000, "1h0m30s"),
            ("30m1h", 5_400_000_000_000, "1h30m0s"),
            ("100ms", 100_000_000, "100ms"),
            ("1.001s", 1_001_000_000, "1.001s"),
            (".5s", 500_000_000, "500ms"),
            ("1.s", 1_000_000_000, "1s"),
            ("3us", 3_000, "3us"),
            ("3\u{b5}s", 3_000, "3us"),
            ("52763797000ns", 52_763_797_000, "52.763797s"),
            ("0.3333333333333333333h", 1_200_000_000_000 - 1, "19m59.999999999s"),
            ("9223372036854775807ns", i64::MAX as u64, "2562047h47m16.854775807s"),
        ];
        for (text, nanos, printed) in cases {
            let duration: Duration = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(duration.as_std(), time::Duration::from_nanos(*nanos), "{text}");
            assert_eq!(duration.to_string(), *printed, "{text}");
            assert_eq!(printed.parse::<Duration>(), Ok(duration), "{text}: does not read what it wrote");
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        let syntax = ["", "3", "s", ".", ".s", "1d", "1h 5m", "1.2.3s", "+-5s", "1h-5m", "1e3s", "x", "\u{663}s", "+"];
        for text in syntax {
            assert_eq!(text.parse::<Duration>(), Err(DurationError::Syntax(text.to_owned())), "{text}");
        }
        for text in ["-1s", "-0", "--1s"] {
            assert_eq!(text.parse::<Duration>(), Err(DurationError::Negative(text.to_owned())), "{text}");
        }
        for text in ["9223372036854775808ns", "3000000h", "99999999999999999999999999h"] {
            assert_eq!(text.parse::<Duration>(), Err(DurationError::TooLong(text.to_owned())), "{text}");
        }
    }
}
