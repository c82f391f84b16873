//! Whose memory it is: what a sandbox has for itself and its share of what several
//! map, with the most sandboxes alive that were measured.

use crate::schema::DensitySample;
use crate::units::{count, float};
use crate::view::{View, Wall};

/// Memory of one of several idle sandboxes.
#[derive(Debug, Clone)]
pub struct Split<'v, 'a> {
    /// The runtime.
    pub wall: &'v Wall<'a>,
    /// How many were alive.
    pub alive: u32,
    /// Bytes of one that nobody else maps, mean of the repetitions.
    pub private: f64,
    /// Bytes of its share of the rest.
    pub shared: f64,
}

/// One for each runtime whose private memory was told from shared.
pub fn splits<'v, 'a>(view: &'v View<'a>) -> Vec<Split<'v, 'a>> {
    view.walls.iter().filter_map(|wall| split(view, wall)).collect()
}

fn split<'v, 'a>(view: &View<'a>, wall: &'v Wall<'a>) -> Option<Split<'v, 'a>> {
    let told = |s: &&DensitySample| {
        s.runtime == wall.name && s.count > 0 && !s.private_bytes.is_empty()
    };
    let samples = || view.results.density.iter().filter(told);
    let alive = samples().map(|sample| sample.count).max()?;
    let most: Vec<&DensitySample> = samples().filter(|s| s.count == alive).collect();
    let sum = |bytes: &dyn Fn(&DensitySample) -> Vec<u64>| {
        let all = most.iter().flat_map(|sample| bytes(sample)).map(float).sum::<f64>();
        all / count(most.len()) / f64::from(alive)
    };
    let private = sum(&|sample| sample.private_bytes.values().copied().collect());
    let whole = sum(&|sample| sample.pss_bytes.values().copied().collect());
    Some(Split { wall, alive, private, shared: (whole - private).max(0.0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_parts_are_of_one_sandbox_at_the_largest_number() {
        let results = sample::warm();
        let view = View::new(&results);
        let splits = splits(&view);
        let clone = splits.iter().find(|s| s.wall.name == "microvm-warm").unwrap();
        assert_eq!(clone.alive, 8);
        let mebibytes = |bytes: f64| (bytes / 1_048_576.0 * 100.0).round() / 100.0;
        assert_eq!((mebibytes(clone.private), mebibytes(clone.shared)), (1.5, 0.75));
    }

    #[test]
    fn where_it_was_not_told_there_is_no_split() {
        assert!(splits(&View::new(&sample::rich())).is_empty());
    }
}
