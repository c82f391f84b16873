use super::*;
use crate::sample;
use crate::schema::Results;

fn verdict(results: &Results, saying: &str) -> (Verdict, String) {
    let rows = rows(&View::new(results));
    let row = rows.into_iter().find(|row| row.saying.contains(saying)).expect("a saying");
    (row.verdict, row.figure.replace('\u{a0}', " "))
}

fn on_hardware() -> Results {
    let mut results = sample::rich();
    results.virtualisation = None;
    if let Some(kvm) = &mut results.host.kvm {
        "kvm_intel".clone_into(&mut kvm.flavour);
        kvm.emulates_guest_kernel = false;
    }
    results
}

#[test]
fn slowness_under_emulation_decides_nothing() {
    for saying in ["start faster", "only virtual access"] {
        let (decided, _) = verdict(&on_hardware(), saying);
        assert_eq!(decided, Verdict::Confirmed);
        let (undecided, figure) = verdict(&sample::rich(), saying);
        assert_eq!(undecided, Verdict::Undecided);
        assert!(figure.contains("emulates"), "{figure}");
    }
}

#[test]
fn a_microvm_that_starts_faster_refutes_even_there() {
    let mut results = sample::rich();
    for cell in results.cells.iter_mut().filter(|c| c.workload == BOOT) {
        if cell.runtime == "microvm" {
            cell.median = 1e6;
        }
    }
    assert_eq!(verdict(&results, "start faster").0, Verdict::Refuted);
}

#[test]
fn memory_is_judged_by_the_intervals() {
    let mut results = sample::rich();
    let saying = "no more memory";
    let (refuted, figure) = verdict(&results, saying);
    assert_eq!(refuted, Verdict::Refuted);
    assert!(
        figure.contains("512 KiB [492, 538] each") && figure.contains("host memory"),
        "{figure}"
    );
    assert!(!figure.contains("kernel memory"), "host memory has it already: {figure}");
    let native: Vec<Fit> =
        results.fits.iter().filter(|fit| fit.runtime == "native").cloned().collect();
    for fit in results.fits.iter_mut().filter(|fit| fit.runtime == "container") {
        let same = native.iter().find(|n| n.metric == fit.metric).expect("a fit");
        *fit = Fit { runtime: "container".to_owned(), ..same.clone() };
    }
    assert_eq!(verdict(&results, saying).0, Verdict::Confirmed);
    // Processes alone leave out what the kernel keeps for a sandbox.
    let mut unseen = results.clone();
    for fit in unseen.fits.iter_mut().filter(|fit| fit.metric == "used_bytes") {
        (fit.slope_low, fit.slope_high) = (-1.0, fit.slope_high);
    }
    let (undecided, figure) = verdict(&unseen, saying);
    assert_eq!(undecided, Verdict::Undecided);
    assert!(figure.contains("128 KiB of kernel memory"), "{figure}");
    for fit in &mut results.fits {
        (fit.slope_low, fit.slope_high) = (fit.slope / 1e3, fit.slope * 1e3);
    }
    assert_eq!(verdict(&results, saying).0, Verdict::Undecided);
    assert_eq!(verdict(&results, "higher density").0, Verdict::Undecided);
}

#[test]
fn density_is_said_in_sandboxes() {
    let (confirmed, figure) = verdict(&sample::rich(), "higher density");
    assert_eq!(confirmed, Verdict::Confirmed);
    assert!(figure.contains("2,048 idle containers or 73 idle microVMs"), "{figure}");
}

#[test]
fn one_way_out_refutes_isolation_by_default() {
    let mut results = sample::rich();
    let saying = "isolated from the host by default";
    let (refuted, figure) = verdict(&results, saying);
    assert_eq!(refuted, Verdict::Refuted);
    assert!(figure.contains("1 of 17") && figure.contains("nested user namespace"), "{figure}");
    results.attempts.retain(|attempt| attempt.attempt != "nested_user_namespace");
    assert_eq!(verdict(&results, saying).0, Verdict::Confirmed);
    results.attempts.clear();
    assert_eq!(verdict(&results, saying).0, Verdict::Undecided);
}

#[test]
fn a_microvm_lets_its_own_kernel_be_touched() {
    let saying = "on the level of processes";
    assert_eq!(verdict(&sample::rich(), saying).0, Verdict::Confirmed);
    let mut results = sample::rich();
    for attempt in results.attempts.iter_mut().filter(|a| a.runtime == "microvm") {
        attempt.outcome = AttemptOutcome::Reached;
    }
    assert_eq!(verdict(&results, saying).0, Verdict::Refuted);
}

#[test]
fn another_exit_code_refutes_the_same_everywhere() {
    let mut results = sample::rich();
    let saying = "runs the same everywhere";
    let (refuted, figure) = verdict(&results, saying);
    assert_eq!(refuted, Verdict::Refuted);
    assert!(figure.contains("native, microvm"), "{figure}");
    results.outcomes.clear();
    assert_eq!(verdict(&results, saying).0, Verdict::Confirmed);
    results.boot[9].exit_code = 7;
    let (refuted, figure) = verdict(&results, saying);
    assert_eq!(refuted, Verdict::Refuted);
    assert!(figure.contains("exit code 7"), "{figure}");
}

#[test]
fn what_was_not_measured_is_not_decided() {
    let mut results = sample::results();
    results.boot.clear();
    results.density.clear();
    results.cells.clear();
    results.ratios.clear();
    results.fits.clear();
    let rows = rows(&View::new(&results));
    assert_eq!(rows.len(), SAYINGS.len());
    assert!(rows.iter().all(|row| row.verdict == Verdict::Undecided && row.anchor.is_none()));
}

#[test]
fn a_restored_microvm_answers_how_fast_one_starts_without_a_boot() {
    let mut results = sample::warm();
    let (refuted, figure) = verdict(&results, "has to boot");
    assert_eq!(refuted, Verdict::Refuted);
    let expected = "microvm-pool † starts in 46.8 ms [45.4, 48.7], 1/111× microvm †";
    assert!(figure.starts_with(expected), "{figure}");
    for ratio in results.ratios.iter_mut().filter(|r| r.baseline == "microvm") {
        ratio.distinguishable = false;
    }
    assert_eq!(verdict(&results, "has to boot").0, Verdict::Undecided);
    let cold = sample::rich();
    assert!(rows(&View::new(&cold)).iter().all(|row| !row.saying.contains("has to boot")));
}
