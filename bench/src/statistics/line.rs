//! A straight line through points, by least squares.

use super::{CONFIDENCE, Interval, real, t_quantile};

/// A fitted line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Change of y for each unit of x.
    pub slope: f64,
    /// 95 % interval of the slope; `None` for two points, which any line fits.
    pub slope_interval: Option<Interval>,
    /// y at x = 0.
    pub intercept: f64,
}

/// The line with the least sum of squared distances in y. `None` unless two
/// points differ in x.
///
/// The interval assumes errors that are independent and of equal variance.
#[must_use]
pub fn fit_line(points: &[(f64, f64)]) -> Option<Line> {
    let n = real(points.len());
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / n;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / n;
    let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if spread.is_nan() || spread <= 0.0 {
        return None;
    }
    let common: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let slope = common / spread;
    let intercept = mean_y - slope * mean_x;
    let squares: f64 = points.iter().map(|(x, y)| (y - intercept - slope * x).powi(2)).sum();
    let freedom = u32::try_from(points.len()).ok()?.checked_sub(2)?;
    let slope_interval = t_quantile(CONFIDENCE, freedom).map(|t| {
        let standard_error = (squares / f64::from(freedom) / spread).sqrt();
        Interval { low: slope - t * standard_error, high: slope + t * standard_error }
    });
    Some(Line { slope, slope_interval, intercept })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// NIST Statistical Reference Datasets, linear regression, "Norris":
    /// calibration of ozone monitors, as (x, y).
    const NORRIS: [(f64, f64); 36] = [
        (0.2, 0.1),
        (337.4, 338.8),
        (118.2, 118.1),
        (884.6, 888.0),
        (10.1, 9.2),
        (226.5, 228.1),
        (666.3, 668.5),
        (996.3, 998.5),
        (448.6, 449.1),
        (777.0, 778.9),
        (558.2, 559.2),
        (0.4, 0.3),
        (0.6, 0.1),
        (775.5, 778.1),
        (666.9, 668.8),
        (338.0, 339.3),
        (447.5, 448.9),
        (11.6, 10.8),
        (556.0, 557.7),
        (228.1, 228.3),
        (995.8, 998.0),
        (887.6, 888.8),
        (120.2, 119.6),
        (0.3, 0.3),
        (0.3, 0.6),
        (556.8, 557.6),
        (339.1, 339.3),
        (887.2, 888.0),
        (999.0, 998.5),
        (779.0, 778.9),
        (11.1, 10.2),
        (118.3, 117.6),
        (229.2, 228.9),
        (669.1, 668.4),
        (448.9, 449.2),
        (0.5, 0.2),
    ];

    #[test]
    fn agrees_with_the_certified_values_of_nist() {
        let line = fit_line(&NORRIS).unwrap();
        assert!((line.slope - 1.002_116_818_020_45).abs() < 1e-12, "{line:?}");
        assert!((line.intercept + 0.262_323_073_774_029).abs() < 1e-9, "{line:?}");
        // Certified standard deviation of the slope; t for 34 degrees of freedom.
        let half_width = 0.429_796_848_199_937e-3 * t_quantile(0.95, 34).unwrap();
        let interval = line.slope_interval.unwrap();
        assert!((interval.high - line.slope - half_width).abs() < 1e-12, "{line:?}");
        assert!((line.slope - interval.low - half_width).abs() < 1e-12, "{line:?}");
    }

    #[test]
    fn needs_points_that_differ() {
        assert_eq!(fit_line(&[]), None);
        assert_eq!(fit_line(&[(1.0, 2.0)]), None);
        assert_eq!(fit_line(&[(1.0, 2.0), (1.0, 3.0), (1.0, 4.0)]), None);
        let through_two = fit_line(&[(1.0, 2.0), (3.0, 6.0)]).unwrap();
        assert_eq!((through_two.slope, through_two.slope_interval), (2.0, None));
    }

    proptest! {
        #[test]
        fn finds_a_line_it_is_given(slope in -1e3_f64..1e3, intercept in -1e3_f64..1e3) {
            let points: Vec<_> =
                (0..9).map(|x| (f64::from(x), intercept + slope * f64::from(x))).collect();
            let line = fit_line(&points).unwrap();
            prop_assert!((line.slope - slope).abs() < 1e-6);
            prop_assert!((line.intercept - intercept).abs() < 1e-6);
        }
    }
}
