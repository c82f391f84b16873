//! Values as people write them: sizes, times, shares.

use std::time::Duration;

pub fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(rate),
        _ => Err("expected a number of system calls a second".to_owned()),
    }
}

/// `5%` or `5` as 0.05.
pub fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if percent.is_finite() && percent >= 0.0 => Ok(percent / 100.0),
        _ => Err("expected a percentage such as 5%".to_owned()),
    }
}

pub fn cpus(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(cpus) if cpus.is_finite() && cpus >= 0.01 => Ok(cpus),
        _ => Err("expected a number of processors of at least 0.01".to_owned()),
    }
}

/// Bytes, with docker's suffixes `b`, `k`, `m`, `g` (powers of 1024).
pub fn memory(text: &str) -> Result<u64, String> {
    let wrong = || "expected a size such as 67108864, 64m or 1g".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).filter(|&bytes| bytes > 0).ok_or_else(wrong)
}

pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time such as 30, 1.5s, 200ms or 2m".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        assert_eq!(memory("64m"), Ok(64 << 20));
        assert_eq!(memory("1G"), Ok(1 << 30));
        assert_eq!(memory("4096"), Ok(4096));
        for wrong in ["", "m", "0", "-1", "64x", "1.5g", "99999999999g"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn percentages_may_have_their_sign() {
        assert_eq!((percent("5%"), percent("5")), (Ok(0.05), Ok(0.05)));
        for wrong in ["", "%", "-1%", "five", "nan"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "s", "-1s", "1d", "nan"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
