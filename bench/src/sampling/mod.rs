//! Interleaved, randomised blocks.
//!
//! Runtimes are never measured one after the other in bulk: a host that slows
//! down halfway would then have slowed down only some of them. Every block
//! contains every runtime, in an order drawn anew.

mod order;
mod pace;
mod tally;

use std::time::{Duration, Instant};

use rand::SeedableRng;

use crate::profile::Blocks;
use crate::sandbox::SampleError;
use crate::statistics::Generator;
use crate::stop::Stop;
use order::{block_order, weights};
use pace::Pace;

pub use tally::Tally;

/// Where a sample stands in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Index of the runtime.
    pub runtime: usize,
    /// Number of the block.
    pub block: u32,
    /// Position within the block.
    pub position: u32,
    /// To be kept, but not counted.
    pub warm_up: bool,
}

/// The run was asked to stop; what was measured until then is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

/// How far a workload has got. Measuring goes on from here, be it for a further
/// helping of time or after an interruption.
#[derive(Debug, Clone, Default)]
pub struct Track {
    /// Blocks begun: the number of the next one.
    pub begun: u32,
    /// Blocks that got to their end, warm-up included.
    pub finished: u32,
    /// Time all of them took.
    pub elapsed: Duration,
    /// It has all the blocks it was meant to have.
    pub complete: bool,
    /// How it went with each runtime, by index, since this process started.
    pub tallies: Vec<Tally>,
}

impl Track {
    /// What a block takes on average.
    pub fn per_block(&self) -> Duration {
        self.elapsed / self.finished.max(1)
    }
}

/// What an interleaved run needs beside the measurement itself.
pub struct Interleaving<'a> {
    pub blocks: Blocks,
    pub runtimes: usize,
    /// A runtime that takes part twice, to be compared with itself.
    pub twice: Option<usize>,
    /// Seed of the order within every block.
    pub seed: u64,
    pub stop: Stop<'a>,
}

impl Interleaving<'_> {
    /// Whether another block is to be run: there is time for it, and a runtime to
    /// run.
    pub fn another(&self, track: &Track) -> bool {
        let lost = !track.tallies.is_empty() && track.tallies.iter().all(Tally::given_up);
        !lost && self.pace(track).another()
    }

    /// Blocks there will be in all if they go on taking as long.
    pub fn expected(&self, track: &Track) -> u32 {
        self.pace(track).expected()
    }

    fn pace(&self, track: &Track) -> Pace {
        Pace {
            blocks: self.blocks,
            done: track.finished,
            elapsed: track.elapsed,
            per_block: track.per_block(),
        }
    }

    /// Calls `sample` for every slot of the next block. A failed sample is tallied
    /// and costs no other sample; a block that is cut short keeps its number and
    /// does not count as one.
    pub fn block(
        &self,
        track: &mut Track,
        mut sample: impl FnMut(Slot) -> Result<(), SampleError>,
    ) -> Result<(), Stopped> {
        let start = Instant::now();
        track.tallies.resize_with(self.runtimes, Tally::default);
        let mut weights = weights(&track.tallies, self.blocks.max_weight);
        if let Some(weight) = self.twice.and_then(|index| weights.get_mut(index)) {
            *weight *= 2;
        }
        let block = track.begun;
        track.begun += 1;
        // A generator for each block: its order does not depend on whether the run
        // was interrupted before it.
        let seed = self.seed.wrapping_add(block.into());
        let order = block_order(&weights, &mut Generator::seed_from_u64(seed));
        let warm_up = track.finished < self.blocks.warm_up;
        for (position, runtime) in (0..).zip(order) {
            let tally = &mut track.tallies[runtime];
            if tally.given_up() {
                continue;
            }
            let begun = Instant::now();
            let stopped = self.stop.requested();
            let result = (!stopped).then(|| sample(Slot { runtime, block, position, warm_up }));
            match result {
                Some(Ok(())) => tally.record(Ok(()), begun.elapsed()),
                // Ctrl-C reaches the workload too: its end is no failure.
                Some(Err(error)) if !self.stop.requested() => {
                    tally.record(Err(error), begun.elapsed());
                }
                _ => {
                    track.elapsed += start.elapsed();
                    return Err(Stopped);
                }
            }
        }
        track.finished += 1;
        track.elapsed += start.elapsed();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    const BLOCKS: Blocks =
        Blocks { warm_up: 1, min: 3, max: 5, budget: Duration::from_secs(3600), max_weight: 1 };

    fn interleaving(blocks: Blocks, flag: &AtomicBool) -> Interleaving<'_> {
        Interleaving { blocks, runtimes: 3, twice: None, seed: 7, stop: Stop::on_flag(flag) }
    }

    fn run(
        blocks: Blocks,
        flag: &AtomicBool,
        mut sample: impl FnMut(Slot) -> Result<(), SampleError>,
    ) -> (Vec<Tally>, Result<(), Stopped>) {
        let (interleaving, mut track) = (interleaving(blocks, flag), Track::default());
        let mut result = Ok(());
        while result.is_ok() && interleaving.another(&track) {
            result = interleaving.block(&mut track, &mut sample);
        }
        (track.tallies, result)
    }

    #[test]
    fn every_block_has_every_runtime_and_the_seed_gives_the_order() {
        let record = || {
            let mut slots = Vec::new();
            let (tallies, result) = run(BLOCKS, &AtomicBool::new(false), |slot| {
                slots.push(slot);
                Ok(())
            });
            assert_eq!(result, Ok(()));
            assert!(tallies.iter().all(|tally| (tally.attempts, tally.failures) == (6, 0)));
            slots
        };
        let slots = record();
        for block in slots.chunk_by(|a, b| a.block == b.block) {
            let mut runtimes: Vec<usize> = block.iter().map(|slot| slot.runtime).collect();
            runtimes.sort_unstable();
            assert_eq!(runtimes, [0, 1, 2]);
            assert!(block.iter().all(|slot| slot.warm_up == (slot.block == 0)));
        }
        assert_eq!(slots, record());
    }

    #[test]
    fn a_failure_is_tallied_and_three_in_a_row_end_it() {
        let (tallies, result) = run(BLOCKS, &AtomicBool::new(false), |slot| {
            if slot.runtime == 1 || (slot.runtime == 2 && slot.block == 2) {
                Err(SampleError::Failed { code: 9, output: "boom".to_owned() })
            } else {
                Ok(())
            }
        });
        assert_eq!(result, Ok(()));
        assert_eq!((tallies[1].attempts, tallies[1].failures), (3, 3));
        assert!(tallies[1].given_up() && !tallies[2].given_up());
        assert_eq!((tallies[2].attempts, tallies[2].failures), (6, 1));
        assert!(tallies[2].first_failure.as_ref().unwrap().contains("boom"));
    }

    #[test]
    fn stops_between_samples_and_within_one() {
        let flag = AtomicBool::new(false);
        let mut samples = 0;
        let (_, result) = run(BLOCKS, &flag, |_| {
            samples += 1;
            flag.store(samples == 4, Ordering::Relaxed);
            Ok(())
        });
        assert_eq!((samples, result), (4, Err(Stopped)));
        flag.store(false, Ordering::Relaxed);
        let (tallies, result) = run(BLOCKS, &flag, |_| {
            flag.store(true, Ordering::Relaxed);
            Err(SampleError::Failed { code: 130, output: String::new() })
        });
        assert_eq!(result, Err(Stopped));
        assert!(
            tallies.iter().all(|tally| tally.failures == 0),
            "an interruption is no failure"
        );
    }

    #[test]
    fn an_interrupted_run_goes_on_with_the_orders_of_an_uninterrupted_one() {
        let blocks = Blocks { min: 5, ..BLOCKS };
        let mut whole = Vec::new();
        let flag = AtomicBool::new(false);
        run(blocks, &flag, |slot| {
            whole.push(slot);
            Ok(())
        })
        .1
        .unwrap();

        let (interleaving, mut track) = (interleaving(blocks, &flag), Track::default());
        let mut parts = Vec::new();
        interleaving.block(&mut track, |_| Ok(())).unwrap();
        let cut = interleaving.block(&mut track, |slot| {
            flag.store(slot.position == 1, Ordering::Relaxed);
            Ok(())
        });
        assert_eq!((cut, track.begun, track.finished), (Err(Stopped), 2, 1));
        flag.store(false, Ordering::Relaxed);
        // Tallies do not outlive a process.
        let mut track = Track { tallies: Vec::new(), ..track };
        while interleaving.another(&track) {
            interleaving
                .block(&mut track, |slot| {
                    parts.push(slot);
                    Ok(())
                })
                .unwrap();
        }
        let counted: Vec<u32> = parts.iter().map(|slot| slot.block).collect();
        assert_eq!(track.finished, 6, "the block that was cut short is made up for");
        assert_eq!((counted[0], counted[counted.len() - 1]), (2, 6));
        assert_eq!(parts[..12], whole[6..]);
    }

    #[test]
    fn one_runtime_can_take_part_twice() {
        let flag = AtomicBool::new(false);
        let twice = Interleaving { twice: Some(1), ..interleaving(BLOCKS, &flag) };
        let mut track = Track::default();
        let mut order = Vec::new();
        twice
            .block(&mut track, |slot| {
                order.push(slot.runtime);
                Ok(())
            })
            .unwrap();
        order.sort_unstable();
        assert_eq!(order, [0, 1, 1, 2]);
    }
}
