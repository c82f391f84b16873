//! How long a halted processor takes to go on after an interrupt.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use vm_memory::{Bytes, GuestAddress};

use super::ProfileError;
use super::bare::{Bare, Event};
use super::guest::{self, AWAKE_PORT, IDT, PORT, WAKE_VECTOR};
use crate::boot::{BootError, Ring, layout};
use crate::kvm::{System, Vm};
use crate::monitor::kick;

/// How long the guest is left halted. KVM polls for up to 200 µs
/// (`KVM_HALT_POLL_NS_DEFAULT`, asm/kvm_host.h) before it lets the thread sleep:
/// what is to be measured is a processor that sleeps.
const SLEEP: Duration = Duration::from_millis(1);
/// A guest that is not awake by then was not woken.
const LOST: Duration = Duration::from_secs(2);
/// How often a thread that is to come out of the kernel is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// Halts and wakes a guest `count` times.
pub fn measure(system: &System, count: usize) -> Result<Vec<Duration>, ProfileError> {
    let (code, handler) = guest::halts();
    let mut bare = Bare::new(system, &code, Ring::Kernel)?;
    let slot = GuestAddress(IDT.0 + 16 * u64::from(WAKE_VECTOR));
    let gate = guest::gate(layout::HIGH_MEMORY.0 + handler as u64, layout::BOOT_CS);
    bare.ram
        .write_slice(&gate, slot)
        .map_err(|source| BootError::Write { what: "interrupt descriptors", source })?;
    bare.vcpu.accept_interrupts(IDT, 16 * (u16::from(WAKE_VECTOR) + 1) - 1)?;
    kick::ignore().map_err(ProfileError::Thread)?;

    let vm = bare.vm.clone();
    let lost = AtomicBool::new(false);
    let (halted, halts) = mpsc::channel();
    let (woken, wakings) = mpsc::channel();
    let (awake, acknowledged) = mpsc::channel();
    let sleeper = kick::this_thread();
    let waker = Waker { vm: &vm, halts, woken, acknowledged, lost: &lost, sleeper };
    let result = thread::scope(|scope| {
        thread::Builder::new()
            .name("waker".into())
            .spawn_scoped(scope, || waker.run())
            .map_err(ProfileError::Thread)?;
        // Moved in, so that the waker ends when this does.
        let (halted, awake) = (halted, awake);
        (0..count).map(|_| once(&mut bare, &halted, &wakings, &awake)).collect()
    });
    if lost.load(Ordering::Acquire) { Err(ProfileError::NeverWoke(LOST)) } else { result }
}

fn once(
    bare: &mut Bare,
    halted: &Sender<()>,
    wakings: &Receiver<Result<Instant, ProfileError>>,
    awake: &Sender<()>,
) -> Result<Duration, ProfileError> {
    bare.expect(&Event::Port(PORT), 0)?;
    // The waker ends only with its channels.
    let _ = halted.send(());
    let arrived = bare.expect(&Event::Port(AWAKE_PORT), 0);
    let now = Instant::now();
    let _ = awake.send(());
    let sent = wakings.recv().unwrap_or(Err(ProfileError::NeverWoke(LOST)))?;
    arrived?;
    Ok(now.saturating_duration_since(sent))
}

/// The thread that sends the interrupts.
struct Waker<'a> {
    vm: &'a Vm,
    halts: Receiver<()>,
    woken: Sender<Result<Instant, ProfileError>>,
    acknowledged: Receiver<()>,
    lost: &'a AtomicBool,
    sleeper: kick::Thread,
}

impl Waker<'_> {
    fn run(self) {
        for () in &self.halts {
            thread::sleep(SLEEP);
            let now = Instant::now();
            let sent = self.vm.signal_msi(u64::from(layout::LOCAL_APIC), WAKE_VECTOR.into());
            let failed = sent.is_err();
            let _ = self.woken.send(sent.map(|()| now).map_err(Into::into));
            let patience = if failed { Duration::ZERO } else { LOST };
            if self.acknowledged.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                self.lost.store(!failed, Ordering::Release);
                // A signal that arrives right before KVM_RUN is lost: once more, then.
                while self.acknowledged.recv_timeout(ASK_AGAIN)
                    == Err(RecvTimeoutError::Timeout)
                {
                    self.sleeper.kick();
                }
            }
        }
    }
}
