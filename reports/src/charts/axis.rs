//! Axes: from values to places, with marks at round numbers.

use super::canvas::{Anchor, Canvas, Drawn, Ink, Type};
use crate::units::Unit;

/// Ranges wider than this factor are shown on a logarithmic axis.
const LOGARITHMIC_FROM: f64 = 12.0;

/// Beyond this, positions in f64 lose their meaning.
const LARGEST: f64 = 1e30;

/// How values are spread over the length of the axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Equal steps are equal differences.
    Linear,
    /// Equal steps are equal factors.
    Logarithmic,
}

/// An axis from `start` to `end` (pixels).
#[derive(Debug, Clone)]
pub struct Axis {
    /// How values are spread.
    pub scale: Scale,
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Axis {
    /// An axis for all of `values`: logarithmic when they differ by orders of
    /// magnitude, otherwise linear and only as wide as they are.
    pub fn fitting(values: &[f64], start: f64, end: f64) -> Self {
        let (low, high) = bounds(values.iter().copied().filter(|v| *v > 0.0));
        if high / low > LOGARITHMIC_FROM {
            Self::logarithmic(values, start, end)
        } else {
            let margin = (high - low).max(high * 0.02) * 0.08;
            Self { scale: Scale::Linear, low: low - margin, high: high + margin, start, end }
        }
    }

    /// A logarithmic axis for the positive ones of `values`.
    pub fn logarithmic(values: &[f64], start: f64, end: f64) -> Self {
        let (low, high) = bounds(values.iter().copied().filter(|v| *v > 0.0));
        let (low, high) = (low.log10(), high.log10());
        let margin = ((high - low) * 0.05).max(0.05);
        Self { scale: Scale::Logarithmic, low: low - margin, high: high + margin, start, end }
    }

    /// A linear axis for all of `values` and zero.
    pub fn from_zero(values: &[f64], start: f64, end: f64) -> Self {
        let (low, high) = bounds(values.iter().copied().chain([0.0]));
        let margin = (high - low) * 0.06;
        let low = if low < 0.0 { low - margin } else { 0.0 };
        Self { scale: Scale::Linear, low, high: high + margin, start, end }
    }

    /// Place of `value`, inside the axis.
    pub fn at(&self, value: f64) -> f64 {
        let value = match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic if value > 0.0 => value.log10(),
            Scale::Logarithmic => self.low,
        };
        let part = (value - self.low) / (self.high - self.low);
        let part = if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 };
        self.start + part * (self.end - self.start)
    }

    /// Round values on the axis, at most about `most` of them.
    pub fn ticks(&self, unit: Unit, most: usize) -> Vec<f64> {
        let most = crate::units::count(most.max(2));
        match self.scale {
            Scale::Linear => self.linear_ticks(unit, most),
            Scale::Logarithmic => self.logarithmic_ticks(unit, most),
        }
    }

    fn linear_ticks(&self, unit: Unit, most: f64) -> Vec<f64> {
        // Round in the unit that is shown: 2 MiB, not 2,000,000 B.
        let (factor, _) = unit.step(self.low.abs().max(self.high.abs()));
        let (low, high) = (self.low / factor, self.high / factor);
        let step = round_step((high - low) / most);
        let first = (low / step).ceil();
        (0..64_u32)
            .map(|i| (first + f64::from(i)) * step)
            .take_while(|tick| *tick <= high * (1.0 + 1e-9))
            .map(|tick| tick * factor)
            .collect()
    }

    fn logarithmic_ticks(&self, unit: Unit, most: f64) -> Vec<f64> {
        let decades = self.high - self.low;
        if decades < 0.5 {
            // So short a stretch is nearly linear: 0.95, 1, 1.05.
            let (low, high) = (10_f64.powf(self.low), 10_f64.powf(self.high));
            let linear = Self { scale: Scale::Linear, low, high, ..self.clone() };
            return linear.linear_ticks(unit, most);
        }
        let multiples: &[f64] = if decades * 6.0 <= most {
            &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0]
        } else if decades * 3.0 <= most {
            &[1.0, 2.0, 5.0]
        } else if decades * 2.0 <= most {
            &[1.0, 3.0]
        } else {
            &[1.0]
        };
        let every = (decades / most).ceil().max(1.0);
        // Decades of bytes would be at 1,000 B; count in KiB or MiB instead.
        let (factor, _) = unit.step(10_f64.powf(self.high));
        let factor = if unit == Unit::Bytes { factor } else { 1.0 };
        let first = ((self.low - factor.log10()) / every).floor() * every;
        (0..64_u32)
            .map(|i| first + f64::from(i) * every)
            .take_while(|decade| decade + factor.log10() <= self.high)
            .flat_map(|decade| multiples.iter().map(move |m| m * 10_f64.powf(decade) * factor))
            .filter(|tick| (self.low..=self.high).contains(&tick.log10()))
            .collect()
    }
}

/// Smallest and largest of the finite `values`, never equal.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|v| v.is_finite())
        .map(|v| v.clamp(-LARGEST, LARGEST))
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        (1.0, 2.0)
    } else if high > low {
        (low, high)
    } else if low == 0.0 {
        (0.0, 1.0)
    } else {
        (low - low.abs() * 0.1, low + low.abs() * 0.1)
    }
}

/// The next of 1, 2, 5 × 10ⁿ at or above `step`.
fn round_step(step: f64) -> f64 {
    let decade = 10_f64.powf(step.abs().max(f64::MIN_POSITIVE).log10().floor());
    let multiple = [1.0, 2.0, 5.0].into_iter().find(|m| m * decade >= step * (1.0 - 1e-9));
    multiple.unwrap_or(10.0) * decade
}

/// Two axes that meet at the lower left: `across` with a mark at each of `counts` and
/// its name below, `up` with a line at each round value.
pub struct Grid<'a> {
    pub across: &'a Axis,
    pub counts: &'a [f64],
    pub name: &'a str,
    pub up: &'a Axis,
    pub unit: Unit,
    /// Most lines.
    pub lines: usize,
}

impl Grid<'_> {
    /// Height of what is below the axis that goes across: its marks and its name.
    pub const FOOT: f64 = 44.0;

    /// Draws both from where `across` begins to where it ends, above `bottom`.
    pub fn draw(&self, canvas: &Canvas<'_>, bottom: f64) -> Drawn {
        let (left, right) = (self.across.start, self.across.end);
        let muted = Type::label(Ink::Muted);
        for tick in self.up.ticks(self.unit, self.lines) {
            let y = self.up.at(tick);
            canvas.line((left, y), (right, y), Ink::Grid, 1.0)?;
            let label = tick_label(self.unit, tick);
            canvas.text(&label, (left - 7.0, y), Anchor::End, muted)?;
        }
        for count in self.counts {
            let x = self.across.at(*count);
            canvas.line((x, bottom), (x, bottom + 4.0), Ink::Muted, 1.0)?;
            let label = tick_label(Unit::Count, *count);
            canvas.text(&label, (x, bottom + 15.0), Anchor::Middle, muted)?;
        }
        let middle = f64::midpoint(left, right);
        canvas.text(self.name, (middle, bottom + 34.0), Anchor::Middle, muted)
    }
}

/// A tick's label: as short as its value allows.
pub fn tick_label(unit: Unit, value: f64) -> String {
    let (factor, symbol) = unit.step(value);
    let shown = value / factor;
    let text = if shown.abs() >= 1e15 {
        format!("{shown:.0e}")
    } else {
        let text = format!("{shown:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let text = if text == "-0" { "0" } else { &text };
    if symbol.is_empty() || text == "0" { text.to_owned() } else { format!("{text} {symbol}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_ranges_are_logarithmic() {
        let axis = Axis::fitting(&[3e6, 5e9], 0.0, 100.0);
        assert_eq!(axis.scale, Scale::Logarithmic);
        assert_eq!(axis.ticks(Unit::Nanoseconds, 6), [1e7, 1e8, 1e9]);
        assert_eq!(Axis::fitting(&[3e6, 5e6], 0.0, 100.0).scale, Scale::Linear);
    }

    #[test]
    fn a_short_stretch_of_a_logarithmic_axis_still_has_marks() {
        let ticks = Axis::logarithmic(&[0.95, 1.0, 1.06], 0.0, 1.0).ticks(Unit::Count, 10);
        assert!(ticks.len() >= 5, "{ticks:?}");
        assert!(ticks.iter().any(|tick| (tick - 1.0).abs() < 1e-9), "{ticks:?}");
    }

    #[test]
    fn sizes_have_binary_ticks() {
        let mib = 1_048_576.0;
        let axis = Axis::from_zero(&[95.0 * mib], 0.0, 1.0);
        assert_eq!(axis.ticks(Unit::Bytes, 5), [0.0, 50.0 * mib, 100.0 * mib]);
        assert_eq!(tick_label(Unit::Bytes, 50.0 * mib), "50 MiB");
        assert_eq!(tick_label(Unit::Bytes, mib * (1.0 - 1e-15)), "1 MiB");
        assert_eq!(tick_label(Unit::Count, 0.25), "0.25");
    }

    #[test]
    fn places_stay_on_the_axis() {
        let axis = Axis::logarithmic(&[1.0, 100.0], 10.0, 20.0);
        assert!((axis.at(10.0) - 15.0).abs() < 1e-9);
        for value in [0.0, -1.0, 1e300, f64::NAN, f64::INFINITY] {
            assert!((10.0..=20.0).contains(&axis.at(value)), "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_values_give_an_axis(values: Vec<f64>, most in 0_usize..12) {
            for axis in [
                Axis::fitting(&values, 0.0, 500.0),
                Axis::logarithmic(&values, 0.0, 500.0),
                Axis::from_zero(&values, 500.0, 0.0),
            ] {
                for unit in [Unit::Nanoseconds, Unit::Bytes, Unit::Count] {
                    for tick in axis.ticks(unit, most) {
                        proptest::prop_assert!((0.0..=500.0).contains(&axis.at(tick)));
                        proptest::prop_assert!(!tick_label(unit, tick).is_empty());
                    }
                }
                for value in &values {
                    proptest::prop_assert!((0.0..=500.0).contains(&axis.at(*value)));
                }
            }
        }
    }
}
