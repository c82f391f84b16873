//! The virtual CPU: its first state, running it, and what it was doing when it
//! failed.

use kvm_bindings::{
    CpuId, KVM_INTERNAL_ERROR_EMULATION, KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES,
    Msrs, kvm_msr_entry, kvm_regs, kvm_segment,
};
use kvm_ioctls::{VcpuExit, VcpuFd};
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress};

use super::{GuestRam, KvmError, StatsFd, failed};
use crate::boot::layout;

/// CR0: protected mode, extension type, numeric errors, paging (SDM 3A, 2.5).
const CR0_PE_ET_NE_PG: u64 = 1 | 1 << 4 | 1 << 5 | 1 << 31;
/// CR4: physical address extension.
const CR4_PAE: u64 = 1 << 5;
/// EFER: long mode enabled and active.
const EFER_LME_LMA: u64 = 1 << 8 | 1 << 10;
/// RFLAGS: bit 1 is always set.
const RFLAGS_RESERVED: u64 = 1 << 1;
/// `MSR_IA32_MISC_ENABLE` (asm/msr-index.h), and its fast-string bit.
const MSR_MISC_ENABLE: (u32, u64) = (0x1a0, 1);
/// `MSR_MTRRdefType`: enabled, write-back.
const MSR_MTRR_DEF_TYPE: (u32, u64) = (0x2ff, 1 << 11 | 6);
/// `IA32_APIC_BASE`: enabled, in x2APIC mode (SDM 3A, 11.12.1).
const APIC_BASE_X2APIC: u64 = 1 << 11 | 1 << 10;
/// Longest x86 instruction (SDM 2A, 2.3.11).
const MAX_INSTRUCTION: usize = 15;

/// How the processor enters the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// 64-bit mode with an identity mapping, as the 64-bit Linux boot protocol
    /// asks (Documentation/arch/x86/boot.rst): RSI points to the zero page.
    Long {
        /// First instruction.
        rip: GuestAddress,
    },
    /// 64-bit mode as well, with the privileges of a program.
    User {
        /// First instruction.
        rip: GuestAddress,
    },
    /// Real mode, segments at 0: a tiny guest without an operating system.
    Real {
        /// First instruction, below 64 KiB.
        rip: GuestAddress,
    },
}

/// What the processor was doing when the guest failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Address of the instruction, as the guest sees it.
    pub rip: u64,
    /// Address of the last page fault.
    pub cr2: u64,
    /// The bytes at that address, where they could be read.
    pub instruction: Vec<u8>,
    /// KVM's suberror of `KVM_EXIT_INTERNAL_ERROR` (linux/kvm.h).
    pub suberror: Option<u32>,
}

/// The virtual CPU of a VM.
#[derive(Debug)]
pub struct Vcpu {
    pub(super) fd: VcpuFd,
}

impl Vcpu {
    pub(super) fn new(fd: VcpuFd) -> Self {
        Self { fd }
    }

    /// Sets everything up to the first instruction.
    ///
    /// # Errors
    ///
    /// [`KvmError::Ioctl`].
    pub fn prepare(&self, cpuid: &CpuId, entry: Entry) -> Result<(), KvmError> {
        self.fd.set_cpuid2(cpuid).map_err(failed("set CPUID"))?;
        let mut sregs = self.fd.get_sregs().map_err(failed("read segment registers"))?;
        let mut regs = kvm_regs { rflags: RFLAGS_RESERVED, ..Default::default() };
        match entry {
            Entry::Long { rip } | Entry::User { rip } => {
                self.set_msrs()?;
                regs.rip = rip.0;
                regs.rsi = layout::ZERO_PAGE.0;
                regs.rsp = layout::BOOT_STACK.0;
                let ring = if matches!(entry, Entry::User { .. }) { 3 } else { 0 };
                let data = flat_segment(layout::BOOT_DS, 0x3, false, ring);
                sregs.cs = flat_segment(layout::BOOT_CS, 0xb, true, ring);
                (sregs.ds, sregs.es, sregs.ss) = (data, data, data);
                (sregs.fs, sregs.gs) = (data, data);
                sregs.gdt.base = layout::BOOT_GDT.0;
                sregs.gdt.limit = layout::BOOT_GDT_LIMIT;
                sregs.idt.limit = 0;
                sregs.cr0 = CR0_PE_ET_NE_PG;
                sregs.cr3 = layout::PML4.0;
                sregs.cr4 = CR4_PAE;
                sregs.efer = EFER_LME_LMA;
            }
            Entry::Real { rip } => {
                regs.rip = rip.0;
                (sregs.cs.base, sregs.cs.selector) = (0, 0);
            }
        }
        self.fd.set_sregs(&sregs).map_err(failed("set segment registers"))?;
        self.fd.set_regs(&regs).map_err(failed("set registers"))
    }

    /// Gives the guest interrupt descriptors, and its local APIC the mode in which
    /// its registers are MSRs.
    ///
    /// # Errors
    ///
    /// [`KvmError::Ioctl`].
    pub fn accept_interrupts(&self, idt: GuestAddress, limit: u16) -> Result<(), KvmError> {
        let mut sregs = self.fd.get_sregs().map_err(failed("read segment registers"))?;
        (sregs.idt.base, sregs.idt.limit) = (idt.0, limit);
        sregs.apic_base |= APIC_BASE_X2APIC;
        self.fd.set_sregs(&sregs).map_err(failed("set segment registers"))
    }

    fn set_msrs(&self) -> Result<(), KvmError> {
        let entries = [MSR_MISC_ENABLE, MSR_MTRR_DEF_TYPE].map(|(index, data)| kvm_msr_entry {
            index,
            data,
            ..Default::default()
        });
        let msrs = Msrs::from_entries(&entries).map_err(|_| KvmError::Ioctl {
            action: "hold a list of MSRs",
            source: std::io::ErrorKind::OutOfMemory.into(),
        })?;
        self.fd.set_msrs(&msrs).map(drop).map_err(failed("set MSRs"))
    }

    /// Runs the guest until something needs the monitor.
    ///
    /// # Errors
    ///
    /// What `KVM_RUN` returns; `EINTR` after a signal.
    pub fn run(&mut self) -> Result<VcpuExit<'_>, kvm_ioctls::Error> {
        self.fd.run()
    }

    /// The statistics of this processor.
    ///
    /// # Errors
    ///
    /// [`KvmError::Ioctl`].
    pub fn stats(&self) -> Result<StatsFd, KvmError> {
        StatsFd::of(&self.fd)
    }

    /// What the processor is doing now, for an error message. After an
    /// internal error `internal` takes KVM's own account of it as well.
    pub fn fault(&mut self, ram: &GuestRam, internal: bool) -> Fault {
        let mut fault = Fault {
            rip: self.fd.get_regs().map_or(0, |regs| regs.rip),
            cr2: self.fd.get_sregs().map_or(0, |sregs| sregs.cr2),
            instruction: Vec::new(),
            suberror: None,
        };
        if internal {
            self.read_internal_error(&mut fault);
        }
        if fault.instruction.is_empty() {
            fault.instruction = self.read_instruction(ram, fault.rip).unwrap_or_default();
        }
        fault
    }

    fn read_internal_error(&mut self, fault: &mut Fault) {
        let run = self.fd.get_kvm_run();
        // SAFETY: both members of the union are plain integers that KVM has filled
        // in for KVM_EXIT_INTERNAL_ERROR; `ndata` says how much of them is there.
        let error = unsafe { run.__bindgen_anon_1.emulation_failure };
        fault.suberror = Some(error.suberror);
        // `flags` is data word 0; size and bytes of the instruction are words 1 and 2.
        if error.suberror != KVM_INTERNAL_ERROR_EMULATION || error.ndata < 3 {
            return;
        }
        let with_bytes = u64::from(KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES);
        if error.flags & with_bytes != 0 {
            // SAFETY: the flag says that KVM filled in this arm of the union.
            let insn = unsafe { error.__bindgen_anon_1.__bindgen_anon_1 };
            let len = usize::from(insn.insn_size).min(insn.insn_bytes.len());
            fault.instruction = insn.insn_bytes[..len].to_vec();
        }
    }

    fn read_instruction(&self, ram: &GuestRam, rip: u64) -> Option<Vec<u8>> {
        let physical = self.fd.translate_gva(rip).ok().filter(|it| it.valid != 0)?;
        let mut bytes = vec![0; MAX_INSTRUCTION];
        let read = ram.read(&mut bytes, GuestAddress(physical.physical_address)).ok()?;
        bytes.truncate(read);
        Some(bytes)
    }
}

/// A flat 4 GiB segment: `selector`, type, whether it is 64-bit code, and its
/// privilege level, which is also the one its selector asks for.
fn flat_segment(selector: u16, type_: u8, code64: bool, ring: u8) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector: selector | u16::from(ring),
        type_,
        present: 1,
        dpl: ring,
        db: u8::from(!code64),
        s: 1,
        l: u8::from(code64),
        g: 1,
        ..Default::default()
    }
}
