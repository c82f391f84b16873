use super::*;
use crate::sample;

#[test]
fn the_page_holds_every_part() {
    let page = render(&sample::results()).replace('\u{a0}', " ");
    for expected in [
        "What each wall costs here",
        "badge emulated",
        "do not represent microVMs on hardware",
        "id=\"start\"",
        "id=\"phases\"",
        "id=\"price\"",
        "id=\"memory\"",
        "id=\"kernel\"",
        "3.10 ms",
        "[3.01, 3.22]",
        "not distinguishable",
        "Outliers",
    ] {
        assert!(page.contains(expected), "{expected:?} is missing");
    }
    assert!(!page.contains("id=\"omitted\""));
    assert!(!page.contains("Partial run"));
    assert!(!page.contains("This chart is missing"));
}

/// For a person: `cargo test -p bulkhead-reports -- --ignored a_page_to_look_at`,
/// with the path of other results in `RESULTS` if the made-up ones are not enough.
#[test]
#[ignore = "writes pages to the temporary directory, to be looked at"]
fn a_page_to_look_at() {
    let pages = match std::env::var_os("RESULTS") {
        Some(path) => vec![("given", crate::load(path.as_ref()).unwrap())],
        None => vec![("rich", sample::rich()), ("warm", sample::warm())],
    };
    for (name, results) in pages {
        let directory = std::env::temp_dir().join("bulkhead-report-to-look-at").join(name);
        crate::write_all(&directory, &results).unwrap();
        assert!(directory.join("index.html").is_file());
    }
}

#[test]
fn every_part_of_a_full_run_has_its_place() {
    let page = render(&sample::rich()).replace('\u{a0}', " ");
    for expected in [
        "id=\"isolation\"",
        "class=\"outcome reached\"",
        "62 distinct",
        "id=\"workloads\"",
        "Start storm",
        "id=\"noise\"",
        "id=\"folklore\"",
        "verdict undecided",
        "href=\"#memory\"",
        "slower than code in ring 3",
        "What gets through",
    ] {
        assert!(page.contains(expected), "{expected:?} is missing");
    }
    let plain = render(&sample::results());
    for absent in ["id=\"isolation\"", "id=\"workloads\"", "id=\"noise\""] {
        assert!(!plain.contains(absent), "{absent} has nothing to show");
    }
    for link in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(page.contains(&format!("id=\"{link}\"")), "#{link} leads nowhere");
    }
}

#[test]
fn starts_that_do_not_boot_have_their_place_where_there_are_any() {
    let page = render(&sample::warm()).replace('\u{a0}', " ");
    for expected in [
        "id=\"warm\"",
        "href=\"#warm\"",
        "microvm, pool",
        "guest wakes",
        "has to boot before it can begin",
        "Without starting from nothing",
    ] {
        assert!(page.contains(expected), "{expected:?} is missing");
    }
    let cold = render(&sample::rich());
    for absent in ["id=\"warm\"", "has to boot", "guest wakes"] {
        assert!(!cold.contains(absent), "{absent} has nothing to show");
    }
}

#[test]
fn how_the_measuring_was_spent_is_told() {
    let mut results = sample::rich();
    results.effort.workloads.push(crate::schema::WorkloadEffort {
        workload: "boot".to_owned(),
        blocks_begun: 25,
        blocks_finished: 25,
        seconds: 60.0,
        complete: true,
    });
    let page = render(&results).replace('\u{a0}', " ");
    for expected in ["id=\"effort\"", "of its profile", "compared with itself: in 9 of 9"] {
        assert!(page.contains(expected), "{expected:?} is missing");
    }
    assert!(page.contains("THE RUNTIMES DIFFER"), "a user's own command did");
    assert!(!render(&sample::results()).contains("id=\"effort\""));
}

#[test]
fn the_page_needs_nothing_else() {
    let page = render(&sample::rich());
    let without_namespace = page.replace("http://www.w3.org/2000/svg", "");
    for outside in ["http://", "https://", "<script", "<link", "<img", "@import", "url("] {
        assert!(!without_namespace.contains(outside), "{outside}");
    }
}

#[test]
fn the_raw_data_is_in_the_page() {
    let results = sample::results();
    let page = render(&results);
    let (_, rest) = page.split_once("data:application/json;base64,").unwrap();
    let (encoded, _) = rest.split_once('"').unwrap();
    let decoded = STANDARD.decode(encoded).unwrap();
    assert!(serde_json::from_slice::<Results>(&decoded).unwrap() == results);
}

#[test]
fn no_text_of_the_results_becomes_markup() {
    let evil = "</svg><script>alert(\"x\")</script><b a='";
    let mut results = sample::results();
    for runtime in results.runtimes.iter_mut().filter(|r| r.name == "container") {
        evil.clone_into(&mut runtime.name);
        evil.clone_into(&mut runtime.version);
        runtime.unavailable = vec![evil.to_owned()];
    }
    for sample in results.boot.iter_mut().filter(|s| s.runtime == "container") {
        evil.clone_into(&mut sample.runtime);
        sample.clocks_ns.insert(evil.to_owned(), 5);
    }
    for cell in &mut results.cells {
        if cell.runtime == "container" {
            evil.clone_into(&mut cell.runtime);
        }
        if cell.metric == "getppid" {
            evil.clone_into(&mut cell.metric);
        }
    }
    for ratio in &mut results.ratios {
        evil.clone_into(&mut ratio.metric);
    }
    for fit in results.fits.iter_mut().filter(|f| f.runtime == "container") {
        evil.clone_into(&mut fit.runtime);
    }
    evil.clone_into(&mut results.host.cpu_model);
    evil.clone_into(&mut results.run.command[0]);
    if let Some(kvm) = &mut results.host.kvm {
        evil.clone_into(&mut kvm.flavour);
    }
    let page = render(&results);
    assert!(!page.contains("<script") && !page.contains("<b a="));
    assert!(page.contains("alert("), "the text itself is shown");
}

#[test]
fn a_partial_run_says_so() {
    let mut results = sample::results();
    results.run.partial = true;
    assert!(render(&results).contains("Partial run."));
}
