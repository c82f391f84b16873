//! The badge: which kind of KVM the figures are about. What was measured on a
//! bare virtual processor outranks what the kernel modules are called.

use crate::schema::{Kvm, Results, VirtualisationKind};
use crate::view::printable;

/// Guest kernels are emulated on this host: microVM figures need their mark.
pub fn emulates(results: &Results) -> bool {
    match measured(results) {
        Some(kind) => kind == VirtualisationKind::Emulated,
        None => results.host.kvm.as_ref().is_some_and(|kvm| kvm.emulates_guest_kernel),
    }
}

/// The host's kind of KVM in a few words.
pub fn text(results: &Results) -> String {
    let Some(kvm) = &results.host.kvm else {
        return "no KVM on this host".to_owned();
    };
    let name = printable(&kvm.flavour);
    match measured(results) {
        Some(VirtualisationKind::Hardware) => format!("hardware KVM ({name}), as measured"),
        Some(VirtualisationKind::Nested) => format!("nested KVM ({name}), as measured"),
        Some(VirtualisationKind::Emulated) => format!("software KVM ({name}), as measured"),
        Some(VirtualisationKind::Unknown) | None => by_name(kvm, results.host.virtualised),
    }
}

/// Chooses the badge's colour.
pub fn state(results: &Results) -> &'static str {
    if results.host.kvm.is_none() {
        "none"
    } else if emulates(results) {
        "emulated"
    } else {
        "hardware"
    }
}

fn measured(results: &Results) -> Option<VirtualisationKind> {
    let kind = results.virtualisation.as_ref()?.kind;
    (kind != VirtualisationKind::Unknown).then_some(kind)
}

fn by_name(kvm: &Kvm, virtualised: bool) -> String {
    let nested = if virtualised { ", nested" } else { "" };
    match kvm.flavour.as_str() {
        "kvm_intel" => format!("hardware KVM (Intel VT-x{nested})"),
        "kvm_amd" => format!("hardware KVM (AMD-V{nested})"),
        "kvm_pvm" => "software KVM (kvm_pvm)".to_owned(),
        other => format!("KVM of unknown kind ({})", printable(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::schema::VirtualisationProfile;

    fn on(flavour: &str, virtualised: bool, kind: Option<VirtualisationKind>) -> Results {
        let mut results = sample::results();
        results.host.virtualised = virtualised;
        if let Some(kvm) = &mut results.host.kvm {
            flavour.clone_into(&mut kvm.flavour);
            kvm.emulates_guest_kernel = flavour == "kvm_pvm";
        }
        results.virtualisation =
            kind.map(|kind| VirtualisationProfile { kind, reasons: vec![], figures: vec![] });
        results
    }

    #[test]
    fn badges_name_the_kind_of_kvm() {
        let mut none = sample::results();
        none.host.kvm = None;
        assert_eq!((text(&none).as_str(), state(&none)), ("no KVM on this host", "none"));
        assert_eq!(text(&on("kvm_intel", true, None)), "hardware KVM (Intel VT-x, nested)");
        assert_eq!(text(&on("kvm_pvm", true, None)), "software KVM (kvm_pvm)");
        assert!(text(&on("odd\n", false, None)).contains("odd "));
    }

    #[test]
    fn what_was_measured_outranks_the_name() {
        let disguised = on("kvm_amd", false, Some(VirtualisationKind::Emulated));
        assert_eq!(text(&disguised), "software KVM (kvm_amd), as measured");
        assert!(emulates(&disguised) && state(&disguised) == "emulated");
        let undecided = on("kvm_pvm", false, Some(VirtualisationKind::Unknown));
        assert_eq!(text(&undecided), "software KVM (kvm_pvm)");
        assert!(emulates(&undecided));
    }
}
