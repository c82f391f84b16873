//! What KVM keeps of a paused processor and of its VM's clock, taken out of one
//! process and put back in another.

use kvm_bindings::{
    CpuId, Msrs, kvm_clock_data, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_msr_entry,
    kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use serde::{Deserialize, Serialize};

use super::{KvmError, Vcpu, Vm, failed};

/// `MSR_IA32_TSC` and `MSR_IA32_TSC_DEADLINE` (asm/msr-index.h).
const MSR_TSC: u32 = 0x10;
const MSR_TSC_DEADLINE: u32 = 0x6e0;
/// `KVM_MP_STATE_HALTED` (linux/kvm.h).
const HALTED: u32 = kvm_bindings::KVM_MP_STATE_HALTED;
/// Most MSRs one ioctl takes (`MAX_IO_MSRS`, arch/x86/kvm/x86.c).
const MSRS_AT_ONCE: usize = 256;

/// The state of a processor between two instructions.
#[derive(Debug, Serialize, Deserialize)]
pub struct VcpuState {
    regs: kvm_regs,
    sregs: kvm_sregs,
    xsave: Box<kvm_xsave>,
    xcrs: kvm_xcrs,
    debug: kvm_debugregs,
    events: kvm_vcpu_events,
    lapic: kvm_lapic_state,
    mp_state: kvm_mp_state,
    /// Index and value of each MSR KVM would tell.
    msrs: Vec<(u32, u64)>,
    /// Frequency of its time-stamp counter.
    tsc_khz: u32,
}

impl VcpuState {
    /// Whether it waits for an interrupt.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.mp_state.mp_state == HALTED
    }
}

impl Vcpu {
    /// Takes the state out. The processor must not be in the middle of an access
    /// to a device: `KVM_RUN` has to have come back for a signal.
    ///
    /// # Errors
    ///
    /// [`KvmError::Ioctl`].
    pub fn save(&self, msr_indices: &[u32]) -> Result<VcpuState, KvmError> {
        let fd = &self.fd;
        Ok(VcpuState {
            // First: it lets KVM settle a pending INIT or start-up, which changes the rest.
            mp_state: fd.get_mp_state().map_err(failed("read whether the processor runs"))?,
            regs: fd.get_regs().map_err(failed("read registers"))?,
            sregs: fd.get_sregs().map_err(failed("read segment registers"))?,
            xsave: Box::new(fd.get_xsave().map_err(failed("read vector registers"))?),
            xcrs: fd.get_xcrs().map_err(failed("read extended control registers"))?,
            debug: fd.get_debug_regs().map_err(failed("read debug registers"))?,
            events: fd.get_vcpu_events().map_err(failed("read pending events"))?,
            lapic: fd.get_lapic().map_err(failed("read the local APIC"))?,
            msrs: self.msrs(msr_indices)?,
            tsc_khz: fd.get_tsc_khz().map_err(failed("read the frequency of the TSC"))?,
        })
    }

    /// The values of those MSRs that KVM tells: its list has some that this guest
    /// does not have.
    fn msrs(&self, indices: &[u32]) -> Result<Vec<(u32, u64)>, KvmError> {
        let mut values = Vec::with_capacity(indices.len());
        let mut rest = indices;
        while !rest.is_empty() {
            let batch = &rest[..rest.len().min(MSRS_AT_ONCE)];
            let mut msrs = list(batch.iter().map(|index| (*index, 0)))?;
            // It stops before the first it cannot read.
            let read = self.fd.get_msrs(&mut msrs).map_err(failed("read MSRs"))?;
            values.extend(msrs.as_slice()[..read].iter().map(|msr| (msr.index, msr.data)));
            rest = &rest[(read + usize::from(read < batch.len()))..];
        }
        Ok(values)
    }

    /// Puts the state into a processor that has not run yet.
    ///
    /// # Errors
    ///
    /// [`KvmError::Ioctl`].
    pub fn restore(&self, cpuid: &CpuId, state: &VcpuState) -> Result<(), KvmError> {
        let fd = &self.fd;
        fd.set_cpuid2(cpuid).map_err(failed("set CPUID"))?;
        fd.set_mp_state(state.mp_state).map_err(failed("set whether the processor runs"))?;
        fd.set_regs(&state.regs).map_err(failed("set registers"))?;
        // The APIC's base comes with them and decides how its registers are read.
        fd.set_sregs(&state.sregs).map_err(failed("set segment registers"))?;
        // SAFETY: KVM reads more than the structure has only after the process has asked
        // for dynamic features (arch_prctl), which this one never does.
        unsafe { fd.set_xsave(&state.xsave) }.map_err(failed("set vector registers"))?;
        fd.set_xcrs(&state.xcrs).map_err(failed("set extended control registers"))?;
        fd.set_debug_regs(&state.debug).map_err(failed("set debug registers"))?;
        fd.set_lapic(&state.lapic).map_err(failed("set the local APIC"))?;
        self.restore_tsc_frequency(state.tsc_khz)?;
        self.restore_msrs(&state.msrs)?;
        fd.set_vcpu_events(&state.events).map_err(failed("set pending events"))?;
        self.check_tsc(state)
    }

    /// Where the host's counter is not the one the guest knows, KVM is to scale it. That
    /// of one host is measured anew at each of its boots, and differs by a little.
    fn restore_tsc_frequency(&self, was_khz: u32) -> Result<(), KvmError> {
        /// What KVM itself lets pass (`tsc_tolerance_ppm`, arch/x86/kvm/x86.c).
        const TOLERANCE_PPM: u64 = 250;
        let is_khz = self.fd.get_tsc_khz().map_err(failed("read the frequency of the TSC"))?;
        let off = u64::from(is_khz.abs_diff(was_khz)) * 1_000_000;
        if off <= TOLERANCE_PPM * u64::from(was_khz) {
            return Ok(());
        }
        self.fd.set_tsc_khz(was_khz).map_err(failed("set the frequency of the TSC"))
    }

    /// A KVM without hardware virtualisation shows guests the host's counter as it is.
    /// Guests can live with one that went on; one that begins again, as after a
    /// restart of the host, would stop their clock until it has caught up.
    fn check_tsc(&self, state: &VcpuState) -> Result<(), KvmError> {
        let tsc = |msrs: &[(u32, u64)]| {
            msrs.iter().find(|(index, _)| *index == MSR_TSC).map(|(_, value)| *value)
        };
        let (was, is) = (tsc(&state.msrs), tsc(&self.msrs(&[MSR_TSC])?));
        if is < was { Err(KvmError::TscWentBack) } else { Ok(()) }
    }

    /// The deadline comes last: it counts on the clock, and on the mode of the APIC's
    /// timer.
    fn restore_msrs(&self, msrs: &[(u32, u64)]) -> Result<(), KvmError> {
        let (deadline, others): (Vec<_>, Vec<_>) =
            msrs.iter().copied().partition(|(index, _)| *index == MSR_TSC_DEADLINE);
        for batch in others.chunks(MSRS_AT_ONCE).chain([&deadline[..]]) {
            let mut rest = batch;
            while !rest.is_empty() {
                let msrs = list(rest.iter().copied())?;
                let set = self.fd.set_msrs(&msrs).map_err(failed("set MSRs"))?;
                // It stops before the first it does not take: one that only tells something.
                rest = &rest[(set + usize::from(set < rest.len()))..];
            }
        }
        Ok(())
    }
}

fn list(msrs: impl Iterator<Item = (u32, u64)>) -> Result<Msrs, KvmError> {
    let entries: Vec<_> =
        msrs.map(|(index, data)| kvm_msr_entry { index, data, ..Default::default() }).collect();
    Msrs::from_entries(&entries).map_err(|_| KvmError::Ioctl {
        action: "hold a list of MSRs",
        source: std::io::ErrorKind::OutOfMemory.into(),
    })
}

/// A VM's paravirtual clock.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct VmClock(kvm_clock_data);

impl Vm {
    /// The clock now.
    ///
    /// # Errors
    ///
    /// [`KvmError::Ioctl`].
    pub fn clock(&self) -> Result<VmClock, KvmError> {
        self.fd.get_clock().map(VmClock).map_err(failed("read the clock"))
    }

    /// Lets the clock go on from `clock`, as if no time had passed since.
    ///
    /// # Errors
    ///
    /// [`KvmError::Ioctl`].
    pub fn set_clock(&self, clock: &VmClock) -> Result<(), KvmError> {
        // The flags tell what was read; set back, they would add the time that passed.
        let plain = kvm_clock_data { clock: clock.0.clock, ..Default::default() };
        self.fd.set_clock(&plain).map_err(failed("set the clock"))
    }
}
