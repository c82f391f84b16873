//! From nothing to a guest's first instruction and back: a machine is built,
//! executes two instructions, and is taken apart.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bulkhead_kernels::KvmFlavour;
use bulkhead_microvm::kvm::KVM_DEVICE;
use bulkhead_microvm::machine::{Guest, Machine, MachineConfig, MachineError};
use bulkhead_microvm::timeline::SharedTimeline;
use bulkhead_microvm::vcpu_loop::{self, Ending};
use criterion::{Criterion, criterion_group, criterion_main};

/// Guest memory, MiB.
const MEMORY_MIB: u32 = 128;
/// `mov al, 0xfe; out 0x64, al`: resets the machine.
const RESET: [u8; 4] = [0xb0, 0xfe, 0xe6, 0x64];

fn run_once(intel: bool, timeline: &Arc<SharedTimeline>) -> Result<Ending, MachineError> {
    let mut machine = Machine::build(MachineConfig {
        memory_mib: MEMORY_MIB,
        guest: Guest::Raw(RESET.to_vec()),
        timeline: timeline.clone(),
        intel,
    })?;
    let stop = AtomicBool::new(false);
    Ok(vcpu_loop::run(&mut machine.vcpu, &mut machine.io, &machine.rest.ram, &stop))
}

fn first_instruction(criterion: &mut Criterion) {
    let intel = KvmFlavour::detect() == KvmFlavour::Intel;
    let Ok(timeline) = SharedTimeline::anonymous().map(Arc::new) else {
        eprintln!("left out: no memory for a timeline");
        return;
    };
    match run_once(intel, &timeline) {
        Ok(Ending::Reset) => {}
        Ok(other) => return eprintln!("left out: the guest ended with {other:?}"),
        Err(error) => return eprintln!("left out, it needs {KVM_DEVICE}: {error}"),
    }
    criterion.bench_function("vm/create_to_first_instruction", |bencher| {
        bencher.iter(|| black_box(run_once(intel, &timeline)));
    });
}

criterion_group!(benches, first_instruction);
criterion_main!(benches);
