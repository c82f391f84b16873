use super::*;
use crate::sample;

#[test]
fn four_questions_with_an_answer_for_each_runtime() {
    let results = sample::results();
    let view = View::new(&results);
    let questions = questions(&view);
    assert_eq!(questions.len(), 4);
    assert!(questions.iter().all(|question| question.answers.len() == 3));
    let start = &questions[0].answers;
    assert!(start[0].bar < start[1].bar && start[1].bar < start[2].bar);
    assert!((start[2].bar - 100.0).abs() < 1e-9, "{}", start[2].bar);
    assert!(start[2].comparison.contains("× native"), "{}", start[2].comparison);
    let control = &questions[3].answers;
    assert!((control[0].bar - control[2].bar).abs() < 1e-9);
}

#[test]
fn what_a_wall_buys_is_asked_where_it_was_measured() {
    let results = sample::rich();
    let view = View::new(&results);
    let buys: Vec<Question> = questions(&view).into_iter().filter(|q| q.buys).collect();
    assert_eq!(buys.len(), 2);
    let through = &buys[0].answers;
    assert_eq!(
        (through[0].figure.value.as_str(), through[0].comparison.as_str()),
        ("13 of 16", "")
    );
    assert_eq!(through[1].comparison, "nested user namespace");
    assert!(through[2].bar.abs() < 1e-9);
    let surface = &buys[1].answers;
    assert_eq!((surface[0].figure.value.as_str(), surface[0].bar), ("62", 100.0));
    assert_eq!(surface[0].comparison, "no seccomp filter");
}

#[test]
fn a_slope_within_noise_is_said_to_be_and_not_quoted() {
    let mut results = sample::results();
    for fit in results.fits.iter_mut().filter(|fit| fit.metric == "used_bytes") {
        (fit.slope, fit.slope_low, fit.slope_high) = (-70_000.0, -150_000.0, 16_000.0);
    }
    let view = View::new(&results);
    let keep = &questions(&view)[1];
    let pss = slope(view.fit("container", "pss_bytes").unwrap());
    assert!(keep.about.starts_with("process memory (PSS)"), "{}", keep.about);
    assert_eq!(keep.answers[1].figure, pss);
    assert!(keep.answers[1].comparison.ends_with(NOT_FROM_ZERO));
    assert!(sentences(&view)[1].contains(&format!("takes {} of memory", pss.value)));
}

#[test]
fn a_bare_process_too_small_to_be_seen_does_not_hide_what_walls_keep() {
    let mut results = sample::results();
    let unseen = |fit: &&mut Fit| fit.metric == "used_bytes" && fit.runtime == "native";
    for fit in results.fits.iter_mut().filter(unseen) {
        (fit.slope_low, fit.slope_high) = (-3e5, 4e5);
    }
    let keep = &questions(&View::new(&results))[1];
    assert!(keep.about.starts_with("host memory"), "{}", keep.about);
    assert_eq!(keep.answers[0].brief, NOT_FROM_ZERO);
    assert_eq!(keep.answers[1].brief, "");
    assert_eq!(keep.answers[2].brief, "28.0× container");
}

#[test]
fn other_ways_of_starting_stand_below_the_cold_one_and_beside_it() {
    let results = sample::warm();
    let questions = questions(&View::new(&results));
    let brief = |question: usize| {
        let answers = questions[question].answers.iter();
        answers.map(|answer| (answer.label.replace('\u{a0}', " "), answer.brief.clone()))
    };
    let names: Vec<String> = brief(0).map(|(label, _)| label).collect();
    assert_eq!(names[1..4], ["container", "container-warm", "microvm †"]);
    let briefs: Vec<String> = brief(0).map(|(_, brief)| brief.replace('\u{a0}', " ")).collect();
    assert_eq!(briefs[4], "0.0600× microvm †");
    let kept: Vec<String> = brief(1).map(|(_, brief)| brief.replace('\u{a0}', " ")).collect();
    assert_eq!(kept[2], "not distinguishable from container");
    assert_eq!(kept[5], "0.196× microvm †");
}

#[test]
fn a_runtime_without_a_slope_shows_what_one_holds() {
    let mut results = sample::results();
    for fit in results.fits.iter_mut().filter(|fit| fit.metric == "used_bytes") {
        (fit.slope, fit.slope_low, fit.slope_high) = (1.0, -1.0, 3.0);
    }
    results.fits.retain(|fit| fit.runtime != "microvm");
    results.density.retain(|sample| sample.runtime != "microvm" || sample.count == 1);
    let keep = &questions(&View::new(&results))[1].answers;
    assert_eq!(keep[2].brief, ALONE);
    assert_eq!(keep[2].figure.value.replace('\u{a0}', " "), "12.7 MiB");
    assert!(keep[2].figure.interval.is_none() && keep[2].bar > keep[1].bar);
}

#[test]
fn too_few_samples_are_not_called_the_same() {
    let mut results = sample::results();
    for ratio in &mut results.ratios {
        (ratio.low, ratio.high, ratio.distinguishable) = (f64::NAN, f64::NAN, false);
    }
    let start = &questions(&View::new(&results))[0].answers;
    assert_eq!(start[1].brief, crate::view::TOO_FEW);
}

#[test]
fn nothing_measured_asks_nothing() {
    let mut results = sample::results();
    results.cells.clear();
    results.fits.clear();
    assert!(questions(&View::new(&results)).is_empty());
    assert!(sentences(&View::new(&results)).is_empty());
}

#[test]
fn a_sentence_names_its_figures() {
    let results = sample::results();
    let said = sentences(&View::new(&results));
    assert_eq!(said.len(), 3);
    assert!(said[1].starts_with("container starts in 3.10\u{a0}ms, takes"), "{}", said[1]);
}
