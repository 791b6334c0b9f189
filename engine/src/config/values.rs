//! Option values that only the engine's tables use.

use codecs::conf::OptionValue;

codecs::choice! {
    /// How much is told.
    pub enum LogLevel { Off "off", Error "error", Warn "warn" | "warning", Info "info", Debug "debug", Trace "trace" }
}

codecs::choice! {
    /// Where an input's chunks wait.
    pub enum StorageType { Memory "memory", Filesystem "filesystem", Memrb "memrb" }
}

#[expect(clippy::derivable_impls, reason = "the macro that makes the enum derives no default")]
impl Default for StorageType {
    fn default() -> Self {
        StorageType::Memory
    }
}

codecs::choice! {
    /// How stored chunks reach the disk.
    pub enum StorageSync { Normal "normal", Full "full" }
}

codecs::choice! {
    /// How names are looked up first.
    pub enum DnsMode { Udp "UDP", Tcp "TCP" }
}

codecs::choice! {
    /// Who looks names up.
    pub enum DnsResolver { Async "async", Legacy "legacy" }
}

impl LogLevel {
    /// The level of the program's log.
    pub fn level(self) -> crate::log::Level {
        use crate::log::Level;
        match self {
            LogLevel::Off => Level::Off,
            LogLevel::Error => Level::Error,
            LogLevel::Warn => Level::Warn,
            LogLevel::Info => Level::Info,
            LogLevel::Debug => Level::Debug,
            LogLevel::Trace => Level::Trace,
        }
    }
}

/// An interval of at least a moment: a number of seconds above 0, fractions are allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval(pub f64);

impl OptionValue for Interval {
    const SHAPE: &'static str = "seconds above 0";
    fn parse(text: &str) -> Result<Self, String> {
        const RULE: &str = "a number of seconds above 0, such as 1 or 0.2";
        let text = text.trim();
        let number: f64 = text.strip_suffix('s').unwrap_or(text).parse().map_err(|_| RULE.to_owned())?;
        if number > 0.0 && number.is_finite() { Ok(Interval(number)) } else { Err(RULE.into()) }
    }
}

/// A number that may have a fraction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number(pub f64);

impl OptionValue for Number {
    const SHAPE: &'static str = "number";
    fn parse(text: &str) -> Result<Self, String> {
        let number: Option<f64> = text.trim().parse().ok();
        number.filter(|n| n.is_finite()).map(Number).ok_or_else(|| "a number".into())
    }
}

/// A TCP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(pub u16);

impl OptionValue for Port {
    const SHAPE: &'static str = "port";
    fn parse(text: &str) -> Result<Self, String> {
        text.trim().parse().map(Port).map_err(|_| "a port from 0 to 65535".into())
    }
}

/// A number of bytes whose K, M and G are powers of 1024, unlike those of all other sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BinarySize(pub u64);

impl OptionValue for BinarySize {
    const SHAPE: &'static str = "size: bytes, or with K, M, G (powers of 1024)";
    fn parse(text: &str) -> Result<Self, String> {
        const RULE: &str = "a number of bytes, or one with K, M or G behind it (powers of 1024)";
        let text = text.trim();
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let shift = match text[digits..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            _ => return Err(RULE.into()),
        };
        let number: u64 = text[..digits].parse().map_err(|_| RULE.to_owned())?;
        number.checked_mul(1 << shift).map(BinarySize).ok_or_else(|| RULE.into())
    }
}

/// How often a delivery that can be retried is retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryLimit {
    /// Until it is accepted.
    Unlimited,
    /// Not at all.
    Never,
    /// This often.
    Times(u32),
}

impl OptionValue for RetryLimit {
    const SHAPE: &'static str = "number, no_limits or no_retries";
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text.to_ascii_lowercase().as_str() {
            "no_limits" | "unlimited" | "false" | "off" => return Ok(RetryLimit::Unlimited),
            "no_retries" => return Ok(RetryLimit::Never),
            _ => {}
        }
        // What is not above 0 counts as 1, as in Fluent Bit.
        let number: i64 = text
            .parse()
            .map_err(|_| "a whole number, no_limits (also unlimited, false, off) or no_retries".to_owned())?;
        Ok(RetryLimit::Times(u32::try_from(number.max(1)).unwrap_or(u32::MAX)))
    }
}

/// A number of bytes, or none: `off`, `false`, `no` and 0 mean that there is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub Option<u64>);

impl OptionValue for Limit {
    const SHAPE: &'static str = "size, or off";
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "off" | "false" | "no" => Ok(Limit(None)),
            text => {
                let size =
                    codecs::conf::values::Size::parse(text).map_err(|rule| format!("{rule}, or off"))?;
                Ok(Limit(Some(size.0).filter(|bytes| *bytes > 0)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_limits_are_spelled_in_many_ways() {
        for (text, want) in [
            ("no_limits", RetryLimit::Unlimited),
            ("False", RetryLimit::Unlimited),
            ("off", RetryLimit::Unlimited),
            ("unlimited", RetryLimit::Unlimited),
            ("no_retries", RetryLimit::Never),
            ("5", RetryLimit::Times(5)),
            ("0", RetryLimit::Times(1)),
            ("-1", RetryLimit::Times(1)),
        ] {
            assert_eq!(RetryLimit::parse(text), Ok(want), "{text}");
        }
        assert!(RetryLimit::parse("often").is_err());
    }

    #[test]
    fn intervals_and_limits() {
        assert_eq!(Interval::parse("0.2"), Ok(Interval(0.2)));
        for text in ["0", "-1", "abc", "inf", "NaN", ""] {
            assert!(Interval::parse(text).is_err(), "{text}");
        }
        assert_eq!(BinarySize::parse("2MB"), Ok(BinarySize(2 << 20)));
        assert_eq!(Limit::parse("off"), Ok(Limit(None)));
        assert_eq!(Limit::parse("0"), Ok(Limit(None)));
        assert_eq!(Limit::parse("5M"), Ok(Limit(Some(5_000_000))));
    }
}
