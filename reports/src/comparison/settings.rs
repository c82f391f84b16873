//! What is not the same about two runs, apart from their figures: first of all
//! the host.

use serde::Serialize;

use crate::schema::Results;
use crate::units::{Unit, float};
use crate::view::printable;

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// What differs.
    pub name: &'static str,
    /// In the first file.
    pub before: String,
    /// In the second file.
    pub after: String,
    /// It belongs to the machine, not to what was run on it.
    pub of_host: bool,
}

/// Everything about hosts and runs that differs between two results.
#[must_use]
pub fn settings(before: &Results, after: &Results) -> Vec<Setting> {
    let both = described(before).into_iter().zip(described(after));
    both.filter(|((.., before), (.., after))| before != after)
        .map(|((name, of_host, before), (.., after))| Setting { name, before, after, of_host })
        .collect()
}

/// Name, whether it is of the host, and value.
fn described(results: &Results) -> Vec<(&'static str, bool, String)> {
    let (host, run) = (&results.host, &results.run);
    let versions: Vec<String> = results
        .runtimes
        .iter()
        .map(|runtime| format!("{} {}", printable(&runtime.name), printable(&runtime.version)))
        .collect();
    let virtualised = if host.virtualised { "yes" } else { "no" };
    let guest_kernel = run.guest_kernel.as_deref().unwrap_or("none");
    vec![
        ("Processor", true, printable(&host.cpu_model)),
        ("Logical processors", true, host.cpus.to_string()),
        // Reserved memory differs from boot to boot by less than is shown.
        ("Memory", true, Unit::Bytes.show(float(host.memory_bytes))),
        ("Itself a virtual machine", true, virtualised.to_owned()),
        ("KVM", true, host.kvm.as_ref().map_or("none".to_owned(), |k| printable(&k.flavour))),
        ("Host kernel", false, printable(&host.kernel)),
        ("System", false, printable(&host.os)),
        ("cgroups", false, printable(&host.cgroups)),
        ("bulkhead", false, printable(&run.tool_version)),
        ("Profile", false, printable(&run.profile)),
        ("Image", false, format!("{} {}", printable(&run.image), printable(&run.image_digest))),
        ("Guest kernel", false, printable(guest_kernel)),
        ("Runtimes", false, versions.join(", ")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn another_processor_is_another_host_and_another_kernel_is_not() {
        let before = sample::results();
        assert!(settings(&before, &before).is_empty());
        let mut after = sample::results();
        after.host.cpus = 64;
        "6.19.0".clone_into(&mut after.host.kernel);
        let found = settings(&before, &after);
        let names: Vec<_> = found.iter().map(|s| (s.name, s.of_host)).collect();
        assert_eq!(names, [("Logical processors", true), ("Host kernel", false)]);
        assert_eq!((found[0].before.as_str(), found[0].after.as_str()), ("2", "64"));
    }
}
