//! The profile of the host, measured on it.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use bulkhead_microvm::profile;

#[test]
#[cfg_attr(not(has_kvm), ignore = "needs /dev/kvm")]
fn everything_is_measured_and_positive() {
    let measured = profile::measure().unwrap();
    let names: Vec<&str> = measured.iter().map(|series| series.name).collect();
    let expected = [
        "vm_create",
        "vcpu_create",
        "first_entry",
        "pio_exit",
        "mmio_exit",
        "cpuid_exit",
        "halt_wake",
        "ring0_rate",
        "ring3_rate",
    ];
    assert_eq!(names, expected);
    for series in measured {
        let samples = series.samples.unwrap_or_else(|e| panic!("{}: {e}", series.name));
        println!("{} {:?}", series.name, samples);
        assert!(samples.len() >= 15, "{}: {samples:?}", series.name);
        // One CPUID is the difference of two loops: noise may turn a sample round.
        let positive = samples.iter().filter(|&&sample| sample > 0.0).count();
        assert!(positive * 2 > samples.len(), "{}: {samples:?}", series.name);
    }
}
