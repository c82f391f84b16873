//! Each rule, the weighing, and that every case gets an answer.

use proptest::prelude::*;

use super::*;
use crate::sample;
use crate::schema::{Host, Results, Surface, VirtualisationKind, VirtualisationProfile};

const WALLS: [Wall; 2] = [Wall::Container, Wall::MicroVm];

/// Made-up results of a host with hardware KVM: a microVM starts in 120 ms, takes
/// 14 MiB, and its system calls cost as much as a container's.
fn hardware() -> Results {
    let mut results = sample::results();
    if let Some(kvm) = &mut results.host.kvm {
        kvm.flavour = "kvm_intel".to_owned();
        kvm.emulates_guest_kernel = false;
    }
    for cell in results.cells.iter_mut().filter(|cell| cell.runtime == "microvm") {
        let value = if cell.workload == "boot" { 120e6 } else { 95.0 };
        (cell.median, cell.low, cell.high, cell.max) = (value, value, value, value);
        cell.p90 = None;
    }
    results
}

fn judge(rule: &str, needs: &Needs, results: Option<&Results>) -> Option<Finding> {
    let host = sample::results().host;
    let host = results.map_or(&host, |results| &results.host);
    let evidence = Evidence { results, host, no_microvm: None };
    let rule = RULES.iter().find(|row| row.name == rule).expect("a rule of this name");
    (rule.judge)(needs, &evidence)
}

fn verdict(finding: Option<Finding>) -> Option<(Option<Wall>, Weight, Basis)> {
    finding.map(|it| (it.favours, it.weight, it.basis))
}

fn trusted(trust: Trust) -> Needs {
    Needs { trust: Some(trust), ..Needs::default() }
}

#[test]
fn trust_speaks_for_one_wall_each() {
    let results = hardware();
    for (rule, trust, wall, weight) in [
        ("hostile-code", Trust::Hostile, Wall::MicroVm, Weight::Must),
        ("third-party-code", Trust::ThirdParty, Wall::MicroVm, Weight::Strong),
        ("own-code", Trust::Own, Wall::Container, Weight::Strong),
    ] {
        let found = judge(rule, &trusted(trust), Some(&results)).unwrap();
        assert_eq!((found.favours, found.weight), (Some(wall), weight));
        for other in [Trust::Own, Trust::ThirdParty, Trust::Hostile] {
            let speaks = judge(rule, &trusted(other), Some(&results)).is_some();
            assert_eq!(speaks, other == trust);
        }
        assert_eq!(judge(rule, &Needs::default(), Some(&results)), None);
    }
    let unknown = judge("unknown-code", &Needs::default(), None).unwrap();
    assert_eq!((unknown.favours, unknown.weight), (Some(Wall::MicroVm), Weight::Slight));
    assert_eq!(judge("unknown-code", &trusted(Trust::Own), None), None);
}

#[test]
fn the_measured_surface_is_named() {
    let mut results = hardware();
    for (runtime, calls) in [("container", 3), ("microvm", 2)] {
        let names = (0..calls).map(|n| (format!("call{n}"), 1)).collect();
        results.surfaces.push(Surface {
            runtime: runtime.to_owned(),
            workload: "probe".to_owned(),
            system_calls: names,
            processes: vec![],
        });
    }
    let found = judge("hostile-code", &trusted(Trust::Hostile), Some(&results)).unwrap();
    assert_eq!(found.basis, Basis::Measured);
    assert!(found.because.contains("3 distinct"), "{}", found.because);
}

#[test]
fn features_of_the_host_are_a_containers() {
    let needs = Needs { host_features: vec!["/dev/fuse".to_owned()], ..Needs::default() };
    let found = judge("host-features", &needs, None).unwrap();
    assert_eq!((found.favours, found.weight), (Some(Wall::Container), Weight::Must));
    assert!(found.because.contains("/dev/fuse"));
    assert_eq!(judge("host-features", &Needs::default(), None), None);
}

#[test]
fn a_deadline_excludes_who_is_late() {
    let results = hardware();
    let within = |ms| Needs { start_within_ms: Some(ms), ..Needs::default() };
    let rule = |ms| judge("start-deadline", &within(ms), Some(&results));
    let container = (Some(Wall::Container), Weight::Must, Basis::Measured);
    assert_eq!(verdict(rule(50.0)), Some(container));
    assert_eq!(verdict(rule(500.0)), Some((None, Weight::None, Basis::Measured)));
    assert!(rule(0.1).unwrap().unmet);
    assert!(rule(50.0).unwrap().because.replace('\u{a0}', " ").contains("120 ms"));
    let guess = judge("start-deadline", &within(50.0), None);
    assert_eq!(verdict(guess), Some((Some(Wall::Container), Weight::Slight, Basis::Missing)));
    assert_eq!(judge("start-deadline", &Needs::default(), Some(&results)), None);
}

#[test]
fn memory_excludes_what_does_not_fit() {
    // 8 GiB, 0.5 MiB for a container and 14 MiB for a microVM.
    let results = hardware();
    let many = |count| Needs { count: Some(count), ..Needs::default() };
    let rule = |count| judge("memory", &many(count), Some(&results));
    assert_eq!(verdict(rule(10)), Some((None, Weight::None, Basis::Measured)));
    let container = (Some(Wall::Container), Weight::Must, Basis::Measured);
    assert_eq!(verdict(rule(2_000)), Some(container));
    assert!(rule(1_000_000).unwrap().unmet);
    assert_eq!(judge("memory", &many(10), None), None);
    let guess = (Some(Wall::Container), Weight::Slight, Basis::Missing);
    assert_eq!(verdict(judge("memory", &many(100), None)), Some(guess));
}

#[test]
fn system_calls_weigh_by_the_processor_they_take() {
    // 270 µs more for each system call in an emulated microVM.
    let emulated = sample::results();
    let calls = |rate| Needs { system_calls_per_second: Some(rate), ..Needs::default() };
    let rule = |rate| verdict(judge("system-calls", &calls(rate), Some(&emulated)));
    assert_eq!(rule(10.0), Some((None, Weight::None, Basis::Measured)));
    assert_eq!(rule(1_000.0), Some((Some(Wall::Container), Weight::Strong, Basis::Measured)));
    assert_eq!(rule(1e5), Some((Some(Wall::Container), Weight::Must, Basis::Measured)));
    assert!(judge("system-calls", &calls(1e9), Some(&emulated)).unwrap().unmet);
    // On hardware they cost what they cost in a container.
    let found = judge("system-calls", &calls(1e5), Some(&hardware()));
    assert_eq!(verdict(found), Some((None, Weight::None, Basis::Measured)));
    let unknown = judge("system-calls", &calls(1e5), None);
    assert_eq!(verdict(unknown), Some((None, Weight::None, Basis::Missing)));
}

#[test]
fn an_emulator_speaks_for_the_container() {
    let mut results = sample::results();
    let guessed = judge("emulated-kvm", &Needs::default(), Some(&results)).unwrap();
    assert_eq!((guessed.favours, guessed.basis), (Some(Wall::Container), Basis::Missing));
    let mut profile = VirtualisationProfile {
        kind: VirtualisationKind::Emulated,
        reasons: vec!["ring 0 is slow".to_owned()],
        figures: vec![],
    };
    results.virtualisation = Some(profile.clone());
    let measured = judge("emulated-kvm", &Needs::default(), Some(&results)).unwrap();
    assert_eq!(measured.basis, Basis::Measured);
    assert!(measured.because.contains("ring 0 is slow"));
    // A measurement is believed before a name.
    profile.kind = VirtualisationKind::Hardware;
    results.virtualisation = Some(profile);
    assert_eq!(judge("emulated-kvm", &Needs::default(), Some(&results)), None);
}

fn advice(needs: &Needs, results: &Results, no_microvm: Option<&str>) -> Advice {
    let host = &results.host;
    advise(needs, &Evidence { results: Some(results), host, no_microvm })
}

#[test]
fn the_whole_advice() {
    let (fast, slow) = (hardware(), sample::results());
    for (trust, on_hardware, on_emulator) in [
        (Trust::Own, Wall::Container, Wall::Container),
        (Trust::ThirdParty, Wall::MicroVm, Wall::Container),
        (Trust::Hostile, Wall::MicroVm, Wall::MicroVm),
    ] {
        assert_eq!(advice(&trusted(trust), &fast, None).wall, on_hardware, "{trust:?}");
        assert_eq!(advice(&trusted(trust), &slow, None).wall, on_emulator, "{trust:?}");
    }
    assert!(!advice(&trusted(Trust::Hostile), &fast, None).weak);
    // The walls are level there: said to be weak.
    assert!(advice(&trusted(Trust::ThirdParty), &slow, None).weak);
}

#[test]
fn safety_decides_and_what_it_costs_is_said() {
    let needs =
        Needs { host_features: vec!["/dev/fuse".to_owned()], ..trusted(Trust::Hostile) };
    let advice = advice(&needs, &hardware(), Some("there is no /dev/kvm"));
    assert_eq!((advice.wall, advice.weak), (Wall::MicroVm, true));
    assert_eq!(advice.unmet.len(), 2);
    let text = advice.text();
    for part in ["Take a microVM", "Not met", "/dev/fuse", "no /dev/kvm"] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

#[test]
fn results_of_another_host_are_not_used() {
    let results = hardware();
    let host = Host { kernel: "5.10.0".to_owned(), ..results.host.clone() };
    let needs = Needs { start_within_ms: Some(50.0), ..trusted(Trust::Own) };
    let evidence = Evidence { results: Some(&results), host: &host, no_microvm: None };
    let advice = advise(&needs, &evidence);
    assert!(advice.reasons.iter().all(|reason| reason.finding.basis != Basis::Measured));
    assert!(advice.caveats[0].contains("another host"), "{:?}", advice.caveats);
    let none = advise(&needs, &Evidence { results: None, ..evidence });
    assert!(none.caveats[0].contains("no results"), "{:?}", none.caveats);
}

fn needs() -> impl Strategy<Value = Needs> {
    let trust = prop::option::of(prop_oneof![
        Just(Trust::Own),
        Just(Trust::ThirdParty),
        Just(Trust::Hostile)
    ]);
    let figure = || prop::option::of(any::<f64>());
    let features = prop::collection::vec("[a-z]{1,5}", 0..3);
    (trust, figure(), figure(), figure(), prop::option::of(any::<u32>()), features).prop_map(
        |(trust, start, memory, calls, count, host_features)| Needs {
            trust,
            start_within_ms: start,
            memory_mib: memory,
            system_calls_per_second: calls,
            count,
            host_features,
        },
    )
}

proptest! {
    #[test]
    fn every_case_gets_an_answer_with_a_reason(
        needs in needs(),
        kind in 0..3_usize,
        missing: bool,
    ) {
        let all = [sample::results(), hardware()];
        let host = &all[kind.min(1)].host;
        let results = all.get(kind);
        let no_microvm = missing.then_some("there is no /dev/kvm");
        let advice = advise(&needs, &Evidence { results, host, no_microvm });
        prop_assert!(WALLS.contains(&advice.wall));
        prop_assert!(!advice.reasons.is_empty());
        prop_assert!(advice.text().contains(advice.wall.as_str()));
        prop_assert!(!advice.one_line().contains('\n'));
        // Hostile code is never sent to a container.
        prop_assert!(needs.trust != Some(Trust::Hostile) || advice.wall == Wall::MicroVm);
        prop_assert!(serde_json::to_string(&advice).is_ok());
    }
}
