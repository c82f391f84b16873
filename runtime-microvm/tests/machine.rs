//! Machine code on a virtual processor, without an operating system.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bulkhead_guest::timer::{MILESTONE, Milestone};
use bulkhead_kernels::KvmFlavour;
use bulkhead_microvm::devices::boot_timer::BootTimer;
use bulkhead_microvm::devices::bus::MmioDevice;
use bulkhead_microvm::kvm::StatsReader;
use bulkhead_microvm::machine::{Guest, Machine, MachineConfig, MachineError};
use bulkhead_microvm::timeline::SharedTimeline;
use bulkhead_microvm::vcpu_loop::{self, Ending};
use bulkhead_runtime::{Clock, KvmStats};

fn machine(guest: Guest, memory_mib: u32) -> Result<Machine, MachineError> {
    Machine::build(MachineConfig {
        memory_mib,
        guest,
        timeline: Arc::new(SharedTimeline::anonymous().unwrap()),
        intel: KvmFlavour::detect() == KvmFlavour::Intel,
    })
}

fn run(guest: Guest) -> Ending {
    let mut machine = machine(guest, 16).unwrap();
    vcpu_loop::run(
        &mut machine.vcpu,
        &mut machine.io,
        &machine.rest.ram,
        &AtomicBool::new(false),
    )
}

/// `mov al, 0xfe; out 0x64, al`: the keyboard controller's reset.
const RESET: [u8; 4] = [0xb0, 0xfe, 0xe6, 0x64];

#[test]
#[cfg_attr(not(has_kvm), ignore = "needs /dev/kvm")]
fn both_modes_reach_their_first_instruction() {
    assert_eq!(run(Guest::Raw(RESET.to_vec())), Ending::Reset);
    assert_eq!(run(Guest::RawLong(RESET.to_vec())), Ending::Reset);
}

#[test]
#[cfg_attr(not(has_kvm), ignore = "needs /dev/kvm")]
fn an_exception_without_handlers_is_a_triple_fault() {
    // ud2
    match run(Guest::RawLong(vec![0x0f, 0x0b])) {
        Ending::TripleFault(_) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
#[cfg_attr(not(has_kvm), ignore = "needs /dev/kvm")]
fn an_instruction_kvm_cannot_emulate_is_named() {
    // int3: kvm_pvm has no emulation for it; on hardware it is an exception.
    match run(Guest::RawLong(vec![0xcc, 0xf4])) {
        Ending::InternalError(fault) => {
            assert_eq!((fault.suberror, fault.rip), (Some(1), 0x10_0000));
            assert_eq!(fault.instruction.first(), Some(&0xcc), "{fault:?}");
        }
        Ending::TripleFault(_) => {
            assert_ne!(KvmFlavour::detect(), KvmFlavour::Pvm);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
#[cfg_attr(not(has_kvm), ignore = "needs /dev/kvm")]
fn the_keyboard_controller_is_never_busy_and_other_ports_float() {
    // in al, 0x64; test al, 2; jnz fail; in al, 0x80; cmp al, 0xff; jne fail; reset;
    // fail: ud2
    let mut code = vec![0xe4, 0x64, 0xa8, 0x02, 0x75, 10, 0xe4, 0x80, 0x3c, 0xff, 0x75, 4];
    code.extend(RESET);
    code.extend([0x0f, 0x0b]);
    assert_eq!(run(Guest::RawLong(code)), Ending::Reset);
}

#[test]
#[cfg_attr(not(has_kvm), ignore = "needs /dev/kvm")]
fn a_stuck_processor_can_be_stopped_and_says_where_it_was() {
    let mut machine = machine(Guest::RawLong(vec![0xeb, 0xfe]), 16).unwrap(); // jmp $
    extern "C" fn wake(_: libc::c_int) {}
    // SAFETY: the handler does nothing; the signal only interrupts KVM_RUN.
    unsafe { libc::signal(libc::SIGUSR1, wake as *const () as libc::sighandler_t) };
    let stop = Arc::new(AtomicBool::new(false));
    let ending = std::thread::scope(|scope| {
        let stopper = stop.clone();
        // SAFETY: gettid always succeeds.
        let thread = unsafe { libc::gettid() };
        let done = Arc::new(AtomicBool::new(false));
        let all_done = done.clone();
        scope.spawn(move || {
            stopper.store(true, Ordering::Release);
            while !all_done.load(Ordering::Acquire) {
                // SAFETY: a signal to a thread of this process, which handles it.
                unsafe {
                    libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, libc::SIGUSR1)
                };
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        // Entered once for certain: the flag is looked at before each entry.
        let ending =
            vcpu_loop::run(&mut machine.vcpu, &mut machine.io, &machine.rest.ram, &stop);
        done.store(true, Ordering::Release);
        ending
    });
    let Ending::Stopped(fault) = ending else { panic!("{ending:?}") };
    assert_eq!(fault.rip, 0x10_0000);
    assert_eq!(fault.instruction[..2], [0xeb, 0xfe]);
}

#[test]
#[cfg_attr(not(has_kvm), ignore = "needs /dev/kvm")]
fn kvm_counts_what_happened() {
    let mut machine = machine(Guest::Raw(RESET.to_vec()), 16).unwrap();
    let _ = vcpu_loop::run(
        &mut machine.vcpu,
        &mut machine.io,
        &machine.rest.ram,
        &AtomicBool::new(false),
    );
    let mut stats = KvmStats::default();
    for fd in machine.rest.stats {
        StatsReader::new(fd.into()).unwrap().add_to(&mut stats).unwrap();
    }
    assert!(stats.get("exits").is_some_and(|exits| exits > 0), "{stats:?}");
}

#[test]
#[cfg_attr(not(has_kvm), ignore = "needs /dev/kvm")]
fn counters_are_kept_with_a_milestone() {
    let mut machine = machine(Guest::Raw(RESET.to_vec()), 16).unwrap();
    let stop = AtomicBool::new(false);
    let _ = vcpu_loop::run(&mut machine.vcpu, &mut machine.io, &machine.rest.ram, &stop);
    let mut expected = Vec::new();
    for fd in &machine.rest.stats {
        let reader = StatsReader::new(fd.try_clone().unwrap().into()).unwrap();
        expected.extend(reader.values().unwrap());
    }
    let timeline = Arc::new(SharedTimeline::anonymous().unwrap());
    let mut timer = BootTimer::new(timeline.clone(), machine.rest.stats);
    let kernel_done = Milestone::KernelDone as u32;
    assert_eq!(timer.write(MILESTONE as u64, &kernel_done.to_le_bytes()), None);
    let kept: Vec<_> = timeline.counters().collect();
    assert_eq!(kept, [(Clock::KernelDone, expected)]);
}

#[test]
fn memory_no_guest_can_have_is_refused() {
    for mib in [0, 1, u32::MAX] {
        let refused = machine(Guest::Raw(RESET.to_vec()), mib);
        assert!(matches!(refused, Err(MachineError::Memory(_) | MachineError::Kvm(_))));
    }
}
