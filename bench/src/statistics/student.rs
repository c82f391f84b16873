//! Student's t distribution.

use std::f64::consts::{FRAC_2_PI, FRAC_PI_2};

/// Probability that |t| stays below the value whose angle is `theta` =
/// atan(t / √ν), for `freedom` = ν degrees of freedom.
///
/// Abramowitz and Stegun, *Handbook of Mathematical Functions*, 26.7.3 and
/// 26.7.4: a finite sum for every whole number of degrees.
fn probability_within(theta: f64, freedom: u32) -> f64 {
    let (sine, cosine) = theta.sin_cos();
    let odd = freedom % 2 == 1;
    // Exponents of the cosine from 0 (even) or 1 (odd) up to ν - 2.
    let mut term = if odd { cosine } else { 1.0 };
    let mut exponent = if odd { 1 } else { 0 };
    let mut sum = 0.0;
    while exponent + 2 <= freedom {
        sum += term;
        exponent += 2;
        // (ν - 3) / (ν - 2) of the last factor, whichever parity.
        term *= f64::from(exponent - 1) / f64::from(exponent) * cosine * cosine;
    }
    if odd { FRAC_2_PI * (theta + sine * sum) } else { sine * sum }
}

/// The two-sided critical value: |t| stays below it with probability
/// `confidence`. `None` for no degree of freedom or a probability outside (0, 1).
#[must_use]
pub fn t_quantile(confidence: f64, freedom: u32) -> Option<f64> {
    if freedom == 0 || !(confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    // The probability grows with the angle. 64 halvings exhaust a double.
    let (mut low, mut high) = (0.0, FRAC_PI_2);
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if probability_within(middle, freedom) < confidence {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(f64::from(freedom).sqrt() * f64::midpoint(low, high).tan())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2, column 0.975,
    /// printed to three digits.
    #[test]
    fn agrees_with_the_table_of_nist() {
        let table = [
            (1, 12.706),
            (2, 4.303),
            (3, 3.182),
            (4, 2.776),
            (5, 2.571),
            (6, 2.447),
            (9, 2.262),
            (10, 2.228),
            (30, 2.042),
            (100, 1.984),
        ];
        for (freedom, expected) in table {
            let found = t_quantile(0.95, freedom).unwrap();
            assert!((found - expected).abs() < 0.0006, "ν = {freedom}: {found}");
        }
    }

    #[test]
    fn refuses_what_has_no_meaning() {
        assert_eq!(t_quantile(0.95, 0), None);
        assert_eq!(t_quantile(1.0, 5), None);
        assert_eq!(t_quantile(f64::NAN, 5), None);
    }

    proptest! {
        /// Closed forms exist for one and two degrees of freedom.
        #[test]
        fn agrees_with_the_closed_forms(confidence in 0.01..0.999) {
            let one = t_quantile(confidence, 1).unwrap();
            let exact = (FRAC_PI_2 * confidence).tan();
            prop_assert!((one - exact).abs() < 1e-9 * exact.max(1.0), "{} {}", one, exact);
            let two = t_quantile(confidence, 2).unwrap();
            let exact = confidence * (2.0 / (1.0 - confidence * confidence)).sqrt();
            prop_assert!((two - exact).abs() < 1e-9 * exact.max(1.0), "{} {}", two, exact);
        }

        #[test]
        fn more_degrees_of_freedom_narrow_it(confidence in 0.5..0.99, freedom in 1_u32..200) {
            prop_assert!(t_quantile(confidence, freedom) > t_quantile(confidence, freedom + 1));
        }
    }
}
