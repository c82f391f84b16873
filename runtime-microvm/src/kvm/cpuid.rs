//! What the guest's CPUID says differently from the host's.

use kvm_bindings::CpuId;

/// CPUID.1:ECX, TSC-deadline mode of the local APIC timer (Intel SDM 2A, CPUID).
const ECX_TSC_DEADLINE: u32 = 1 << 24;
/// CPUID.1:ECX, running under a hypervisor.
const ECX_HYPERVISOR: u32 = 1 << 31;
/// CPUID.1:EDX, more than one logical processor in the package.
const EDX_HTT: u32 = 1 << 28;
/// CPUID.1:EBX, initial APIC id and logical processor count.
const EBX_APIC_ID_AND_COUNT: u32 = 0xffff_0000;

/// Makes the CPUID of the host that of a machine with one processor, whose
/// APIC id is 0, and announces the timer mode KVM adds by itself.
pub fn single_processor(cpuid: &mut CpuId, tsc_deadline: bool) {
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            0x1 => {
                entry.ebx = (entry.ebx & !EBX_APIC_ID_AND_COUNT) | (1 << 16);
                entry.ecx |= ECX_HYPERVISOR;
                if tsc_deadline {
                    entry.ecx |= ECX_TSC_DEADLINE;
                }
                entry.edx &= !EDX_HTT;
            }
            // Cores and threads that share a cache: only this one.
            0x4 => entry.eax &= 0x3fff,
            // Extended topology: the x2APIC id, and no level above the thread.
            0xb | 0x1f => {
                entry.eax = 0;
                entry.ebx = u32::from(entry.index == 0);
                entry.edx = 0;
            }
            // AMD: number of cores minus one, APIC id size.
            0x8000_0008 => entry.ecx &= !0xf0ff,
            // AMD: extended APIC id, compute unit, node.
            0x8000_001e => {
                entry.eax = 0;
                entry.ebx = 0;
                entry.ecx = 0;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvm_bindings::kvm_cpuid_entry2;

    fn entry(function: u32, ebx: u32, ecx: u32, edx: u32) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 { function, ebx, ecx, edx, ..Default::default() }
    }

    #[test]
    fn a_host_of_many_processors_becomes_one() {
        let mut cpuid = CpuId::from_entries(&[
            entry(0x1, 0x0720_0800, 0, EDX_HTT | 1),
            entry(0xb, 2, 0x100, 7),
            entry(0x8000_0008, 0, 0x703f, 0),
        ])
        .unwrap();
        single_processor(&mut cpuid, true);
        let [basic, topology, amd] = cpuid.as_slice() else { panic!("three entries") };
        assert_eq!(basic.ebx, 0x0001_0800);
        assert_eq!(basic.ecx, ECX_HYPERVISOR | ECX_TSC_DEADLINE);
        assert_eq!(basic.edx, 1);
        assert_eq!((topology.ebx, topology.edx), (1, 0));
        assert_eq!(amd.ecx & 0xff, 0);
    }
}
