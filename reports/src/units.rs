//! Figures as people read them: three significant digits and a unit that keeps
//! them between 1 and 1000, the same unit for a median and its interval.

/// What a reader sees where there is no figure.
pub const NO_FIGURE: &str = "–";

/// Significant digits of a figure.
const DIGITS: i32 = 3;

/// Most decimal places ever printed.
const MAX_DECIMALS: usize = 6;

/// The unit a figure is stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds, shown as ns, µs, ms, s or min.
    Nanoseconds,
    /// Bytes, shown as B, KiB, MiB or GiB.
    Bytes,
    /// Bytes in a second, shown as B/s, KiB/s, MiB/s or GiB/s.
    BytesPerSecond,
    /// Anything else in a second, shown in steps of a thousand.
    PerSecond,
    /// A pure number.
    Count,
}

impl Unit {
    /// The unit called `name` in a results file; anything unknown is a count.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name {
            "ns" => Self::Nanoseconds,
            "bytes" => Self::Bytes,
            "bytes/s" => Self::BytesPerSecond,
            rate if rate.ends_with("/s") => Self::PerSecond,
            _ => Self::Count,
        }
    }

    /// A larger figure is the better one: it is a speed.
    #[must_use]
    pub fn more_is_better(self) -> bool {
        matches!(self, Self::BytesPerSecond | Self::PerSecond)
    }

    /// Factor and symbol of each step, smallest first, and the value at which
    /// the next step is taken.
    fn steps(self) -> (&'static [(f64, &'static str)], f64) {
        match self {
            Self::Nanoseconds => {
                (&[(1.0, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s"), (6e10, "min")], 1e3)
            }
            Self::Bytes => (
                &[
                    (1.0, "B"),
                    (1_024.0, "KiB"),
                    (1_048_576.0, "MiB"),
                    (1_073_741_824.0, "GiB"),
                    (1_099_511_627_776.0, "TiB"),
                ],
                1_024.0,
            ),
            Self::BytesPerSecond => (
                &[
                    (1.0, "B/s"),
                    (1_024.0, "KiB/s"),
                    (1_048_576.0, "MiB/s"),
                    (1_073_741_824.0, "GiB/s"),
                ],
                1_024.0,
            ),
            Self::PerSecond => (&[(1.0, "/s"), (1e3, "k/s"), (1e6, "M/s"), (1e9, "G/s")], 1e3),
            Self::Count => (&[(1.0, "")], f64::INFINITY),
        }
    }

    /// The step that suits `value`.
    #[must_use]
    pub fn step(self, value: f64) -> (f64, &'static str) {
        let (steps, next) = self.steps();
        let magnitude = value.abs();
        let suits = |factor: f64| {
            let shown = round_significant(magnitude / factor);
            // Two minutes are easier to read as 120 s than as 2 min.
            shown < if factor >= 1e9 && self == Self::Nanoseconds { 300.0 } else { next }
        };
        steps
            .iter()
            .find(|(factor, _)| suits(*factor))
            .or(steps.last())
            .copied()
            .unwrap_or((1.0, ""))
    }

    /// `value` with its unit.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        if !value.is_finite() {
            return NO_FIGURE.to_owned();
        }
        let (factor, symbol) = self.step(value);
        with_symbol(&number(value / factor), symbol)
    }

    /// A median with its interval, all three in the unit that suits the median.
    #[must_use]
    pub fn measured(self, median: f64, low: f64, high: f64) -> Measured {
        if !median.is_finite() {
            return Measured { value: NO_FIGURE.to_owned(), interval: None };
        }
        let (factor, symbol) = self.step(median);
        let decimals = decimals_for(median / factor);
        Measured {
            value: with_symbol(&fixed(median / factor, decimals), symbol),
            interval: interval(low / factor, high / factor, decimals),
        }
    }
}

/// A figure and, where there is one, its 95 % interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The figure with its unit.
    pub value: String,
    /// `[low, high]` in the same unit.
    pub interval: Option<String>,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.interval {
            Some(interval) => write!(f, "{} {interval}", self.value),
            None => f.write_str(&self.value),
        }
    }
}

/// A ratio with its interval: `4.20× [4.10, 4.31]`.
#[must_use]
pub fn ratio(ratio: f64, low: f64, high: f64) -> Measured {
    if !ratio.is_finite() {
        return Measured { value: NO_FIGURE.to_owned(), interval: None };
    }
    if is_tiny(ratio) {
        let (low, high) = (1.0 / low, 1.0 / high);
        let interval = (low.is_finite() && high.is_finite())
            .then(|| format!("[1/{},\u{a0}1/{}]", number(low), number(high)));
        return Measured { value: times(ratio), interval };
    }
    Measured { value: times(ratio), interval: interval(low, high, decimals_for(ratio)) }
}

/// Below this a factor is shown as a part: 1/4,240 says more than 0.000236.
const TINY: f64 = 0.01;

fn is_tiny(factor: f64) -> bool {
    factor > 0.0 && factor < TINY
}

/// A factor: `4.20×`.
#[must_use]
pub fn times(factor: f64) -> String {
    if !factor.is_finite() {
        NO_FIGURE.to_owned()
    } else if is_tiny(factor) {
        format!("1/{}×", number(1.0 / factor))
    } else {
        format!("{}×", number(factor))
    }
}

/// A probability as it is quoted: never more precise than the test that gave it.
#[must_use]
pub fn probability(p: f64) -> String {
    if !p.is_finite() {
        NO_FIGURE.to_owned()
    } else if p < 0.001 {
        "p\u{a0}<\u{a0}0.001".to_owned()
    } else {
        format!("p\u{a0}=\u{a0}{p:.3}")
    }
}

/// A length of time in whole seconds, for how long a run took.
#[must_use]
pub fn elapsed(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest} s"),
        (0, _) => format!("{minutes} min {rest} s"),
        _ => format!("{hours} h {minutes} min"),
    }
}

/// A number with three significant digits and grouped thousands.
#[must_use]
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return NO_FIGURE.to_owned();
    }
    fixed(value, decimals_for(value))
}

/// A whole number with grouped thousands.
#[must_use]
pub fn whole(value: u64) -> String {
    group_thousands(&value.to_string())
}

/// As [`whole`], for how many there are of something.
#[must_use]
pub fn many(number: usize) -> String {
    whole(number.try_into().unwrap_or(u64::MAX))
}

/// A number without decimal places, with grouped thousands.
#[must_use]
pub fn rounded(value: f64) -> String {
    if value.is_finite() { fixed(value, 0) } else { NO_FIGURE.to_owned() }
}

/// The nearest `f64`: beyond 2^53 the last digits go, which no reader sees.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "three significant digits are shown")]
pub fn float(value: u64) -> f64 {
    value as f64
}

/// As [`float`], for sizes that may have shrunk.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "three significant digits are shown")]
pub fn signed_float(value: i64) -> f64 {
    value as f64
}

/// As [`float`], for lengths and positions.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "no report has 2^53 rows")]
pub fn count(value: usize) -> f64 {
    value as f64
}

fn with_symbol(number: &str, symbol: &str) -> String {
    // The no-break space keeps "3.1 ms" on one line.
    if symbol.is_empty() { number.to_owned() } else { format!("{number}\u{a0}{symbol}") }
}

fn interval(low: f64, high: f64, decimals: usize) -> Option<String> {
    (low.is_finite() && high.is_finite())
        .then(|| format!("[{},\u{a0}{}]", fixed(low, decimals), fixed(high, decimals)))
}

fn exponent(value: f64) -> i32 {
    if value == 0.0 || !value.is_finite() {
        return 0;
    }
    #[expect(clippy::cast_possible_truncation, reason = "decimal exponents of f64 are small")]
    let exponent = value.abs().log10().floor() as i32;
    exponent
}

fn round_significant(value: f64) -> f64 {
    // Whole numbers are shown whole, however many digits they have.
    let scale = 10_f64.powi((DIGITS - 1 - exponent(value)).max(0));
    if scale.is_finite() && scale > 0.0 { (value * scale).round() / scale } else { value }
}

fn decimals_for(value: f64) -> usize {
    if value == 0.0 {
        return 0;
    }
    let wanted = DIGITS - 1 - exponent(round_significant(value));
    usize::try_from(wanted).unwrap_or(0).min(MAX_DECIMALS)
}

fn fixed(value: f64, decimals: usize) -> String {
    if value.abs() >= 1e15 {
        return format!("{value:.2e}");
    }
    let text = format!("{value:.decimals$}");
    // "-0.00" is a zero that was rounded, not a negative figure.
    if text.starts_with('-') && !text.contains(|c: char| ('1'..='9').contains(&c)) {
        return group_thousands(text.trim_start_matches('-'));
    }
    group_thousands(&text)
}

fn group_thousands(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, fraction) =
        digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
    let mut grouped = String::from(sign);
    for (position, digit) in whole.chars().enumerate() {
        if position > 0 && (whole.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if let Some(fraction) = fraction {
        grouped.push('.');
        grouped.push_str(fraction);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        text.replace('\u{a0}', " ")
    }

    #[test]
    fn durations_take_the_unit_that_suits() {
        let cases = [
            (0.0, "0 ns"),
            (12.34, "12.3 ns"),
            (999.4, "999 ns"),
            (999.6, "1.00 µs"),
            (3_120_000.0, "3.12 ms"),
            (999_960_000.0, "1.00 s"),
            (5_214_000_000.0, "5.21 s"),
            (299e9, "299 s"),
            (360e9, "6.00 min"),
            (-1_500.0, "-1.50 µs"),
        ];
        for (value, expected) in cases {
            assert_eq!(plain(&Unit::Nanoseconds.show(value)), expected, "{value}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(plain(&Unit::Bytes.show(512.0)), "512 B");
        assert_eq!(plain(&Unit::Bytes.show(1_023.0)), "1,023 B");
        assert_eq!(plain(&Unit::Bytes.show(1_536.0)), "1.50 KiB");
        assert_eq!(plain(&Unit::Bytes.show(1_048_575.9)), "1.00 MiB");
        assert_eq!(plain(&Unit::Bytes.show(64.0 * 1_048_576.0)), "64.0 MiB");
        assert_eq!(plain(&Unit::Bytes.show(-2.0 * 1_073_741_824.0)), "-2.00 GiB");
    }

    #[test]
    fn an_interval_shares_the_unit_and_the_precision_of_its_median() {
        let shown = Unit::Nanoseconds.measured(998_000.0, 991_400.0, 1_003_000.0);
        assert_eq!(plain(&shown.to_string()), "998 µs [991, 1,003]");
        let shown = Unit::Nanoseconds.measured(3_100_000.0, 3_050_000.0, f64::NAN);
        assert_eq!(plain(&shown.to_string()), "3.10 ms");
        assert_eq!(Unit::Bytes.measured(f64::NAN, 1.0, 2.0).to_string(), NO_FIGURE);
    }

    #[test]
    fn ratios_and_probabilities() {
        assert_eq!(plain(&ratio(4.2, 4.1, 4.31).to_string()), "4.20× [4.10, 4.31]");
        assert_eq!(plain(&ratio(1731.4, 1690.0, 1780.0).to_string()), "1,731× [1,690, 1,780]");
        assert_eq!(ratio(f64::INFINITY, 1.0, 2.0).to_string(), NO_FIGURE);
        assert_eq!(
            plain(&ratio(0.0002, 0.00016, 0.00025).to_string()),
            "1/5,000× [1/6,250, 1/4,000]"
        );
        assert_eq!(plain(&ratio(0.0002, 0.0, 0.00025).to_string()), "1/5,000×");
        assert_eq!(plain(&probability(0.0001)), "p < 0.001");
        assert_eq!(plain(&probability(0.0421)), "p = 0.042");
        assert_eq!(probability(f64::NAN), NO_FIGURE);
    }

    #[test]
    fn thousands_are_grouped_and_zero_has_no_sign() {
        assert_eq!(whole(1_234_567), "1,234,567");
        assert_eq!(number(-0.000_000_01), "0.000000");
        assert_eq!(number(-1_234.0), "-1,234");
        assert_eq!(elapsed(59), "59 s");
        assert_eq!(elapsed(671), "11 min 11 s");
        assert_eq!(elapsed(7_260), "2 h 1 min");
    }

    proptest::proptest! {
        #[test]
        fn any_number_can_be_shown(value: f64, low: f64, high: f64) {
            for unit in
                [Unit::Nanoseconds, Unit::Bytes, Unit::BytesPerSecond, Unit::PerSecond, Unit::Count]
            {
                proptest::prop_assert!(!unit.show(value).is_empty());
                let _ = unit.measured(value, low, high).to_string();
            }
            let _ = ratio(value, low, high).to_string();
            let _ = probability(value);
        }
    }
}
