//! What the hypervisor costs on this host: a few bytes of code on a bare virtual
//! processor, without an operating system that would be measured with it.
//!
//! This room returns samples. What they say about the host is decided by whoever
//! holds the statistics.

mod bare;
mod guest;
mod wake;

use std::io;
use std::time::{Duration, Instant};

use crate::boot::{BootError, Ring};
use crate::kvm::{KvmError, MemoryError, System};
use bare::{Bare, Event};

/// VMs made, one after the other.
const MACHINES: usize = 15;
/// Samples of what is measured on one VM.
const SAMPLES: usize = 21;
/// Exits in one sample.
const EXITS: u32 = 64;
/// Length of one sample of a loop: thousands of times the exit that ends it, and
/// short enough for most samples to be free of interruptions.
const LOOP: Duration = Duration::from_millis(4);
/// Iterations a loop begins with; an emulator takes a millisecond for them.
const FEWEST: u32 = 500;
/// Most iterations: seconds on any processor.
const MOST: u32 = 1 << 30;

/// A host that cannot be measured, or a guest that did not do as it should.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// KVM refused something.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// Guest memory cannot be had.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The code does not fit into it.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The guest cannot be run.
    #[error("KVM cannot run the guest")]
    Run(#[source] io::Error),
    /// The guest came out with something else than it was written to.
    #[error("the guest came out with {0}")]
    Exit(String),
    /// An interrupt was sent and nothing happened.
    #[error("the halted guest was not awake {0:?} after its interrupt")]
    NeverWoke(Duration),
    /// The thread that wakes the guest could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// What was measured of one thing.
#[derive(Debug)]
pub struct Series {
    /// `vm_create`, `vcpu_create`, `first_entry`, `pio_exit`, `mmio_exit`,
    /// `cpuid_exit`, `halt_wake`, `ring0_rate` or `ring3_rate`.
    pub name: &'static str,
    /// `ns` or `instructions/s`.
    pub unit: &'static str,
    /// The samples, in the order they were taken.
    pub samples: Result<Vec<f64>, ProfileError>,
}

/// Nanoseconds and instructions a second, as results have them.
const NS: &str = "ns";
const RATE: &str = "instructions/s";

/// Measures everything, in about a second. A thing that cannot be measured does
/// not keep the others from it.
///
/// # Errors
///
/// When there is no KVM to measure.
pub fn measure() -> Result<Vec<Series>, ProfileError> {
    let system = System::open()?;
    let [vm_create, vcpu_create, first_entry] = machines(&system);
    let loops = |code: &[u8], ring| rate(&system, code, ring);
    Ok(vec![
        Series { name: "vm_create", unit: NS, samples: vm_create },
        Series { name: "vcpu_create", unit: NS, samples: vcpu_create },
        Series { name: "first_entry", unit: NS, samples: first_entry },
        Series {
            name: "pio_exit",
            unit: NS,
            samples: exits(&system, &guest::port_writes(), &Event::Port(guest::PORT)),
        },
        Series {
            name: "mmio_exit",
            unit: NS,
            samples: exits(&system, &guest::mailbox_writes(), &Event::Write),
        },
        Series { name: "cpuid_exit", unit: NS, samples: cpuid_exit(&system) },
        Series {
            name: "halt_wake",
            unit: NS,
            samples: wake::measure(&system, SAMPLES)
                .map(|all| all.into_iter().map(nanoseconds).collect()),
        },
        Series {
            name: "ring0_rate",
            unit: RATE,
            samples: loops(&guest::countdown(), Ring::Kernel),
        },
        Series {
            name: "ring3_rate",
            unit: RATE,
            samples: loops(&guest::countdown(), Ring::User),
        },
    ])
}

/// Cost of a VM, of its processor, and of its first entry up to the first exit.
fn machines(system: &System) -> [Result<Vec<f64>, ProfileError>; 3] {
    let code = guest::port_writes();
    let (mut vms, mut vcpus, mut entries) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..MACHINES {
        let mut bare = match Bare::new(system, &code, Ring::Kernel) {
            Ok(bare) => bare,
            // Each of the three is missing for this one reason.
            Err(error) => {
                let text = error.to_string();
                return [
                    Err(error),
                    Err(ProfileError::Exit(text.clone())),
                    Err(ProfileError::Exit(text)),
                ];
            }
        };
        vms.push(nanoseconds(bare.cost.vm));
        vcpus.push(nanoseconds(bare.cost.vcpu));
        let begin = Instant::now();
        let entered = bare.expect(&Event::Port(guest::PORT), 0);
        entries.push(entered.map(|()| nanoseconds(begin.elapsed())));
    }
    [Ok(vms), Ok(vcpus), entries.into_iter().collect()]
}

/// Cost of one exit to us and back, of a guest that does nothing else.
fn exits(system: &System, code: &[u8], event: &Event) -> Result<Vec<f64>, ProfileError> {
    let mut bare = Bare::new(system, code, Ring::Kernel)?;
    // The first entries build page tables.
    bare.events(event, EXITS)?;
    (0..SAMPLES)
        .map(|_| Ok(nanoseconds(bare.events(event, EXITS)?) / f64::from(EXITS)))
        .collect()
}

/// Cost of one CPUID, which the kernel answers by itself: a loop with it, less the
/// same loop without.
fn cpuid_exit(system: &System) -> Result<Vec<f64>, ProfileError> {
    let mut with = Bare::new(system, &guest::cpuid(), Ring::Kernel)?;
    let mut without = Bare::new(system, &guest::no_cpuid(), Ring::Kernel)?;
    let iterations = calibrate(&mut with)?;
    without.iterations(iterations)?;
    (0..SAMPLES)
        .map(|_| {
            let with = nanoseconds(with.iterations(iterations)?);
            let without = nanoseconds(without.iterations(iterations)?);
            Ok((with - without) / f64::from(iterations) / f64::from(guest::CPUIDS))
        })
        .collect()
}

/// Instructions a second of a loop.
fn rate(system: &System, code: &[u8], ring: Ring) -> Result<Vec<f64>, ProfileError> {
    let mut bare = Bare::new(system, code, ring)?;
    let iterations = calibrate(&mut bare)?;
    (0..SAMPLES)
        .map(|_| {
            let took = bare.iterations(iterations)?.as_secs_f64();
            Ok(f64::from(iterations) * guest::COUNTDOWN_INSTRUCTIONS / took)
        })
        .collect()
}

/// How many iterations of this loop take [`LOOP`].
fn calibrate(bare: &mut Bare) -> Result<u32, ProfileError> {
    let mut iterations = FEWEST;
    bare.iterations(iterations)?;
    while bare.iterations(iterations)? < LOOP && iterations < MOST {
        iterations *= 2;
    }
    Ok(iterations)
}

#[expect(clippy::cast_precision_loss, reason = "durations of seconds, below 2^53 ns")]
fn nanoseconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}
