//! Sandboxes that are started again, and those that are watched.

use std::thread;
use std::time::Duration;

use super::{begin, detached, done, known, status, until};
use crate::images::BUSYBOX;
use crate::lab::{Footprint, Lab, Wall};

pub fn policies_start_again(lab: &Lab, wall: Wall) {
    let before = begin(lab);
    let options = ["--name", "fails", "--restart", "on-failure:1", BUSYBOX];
    detached(lab, wall, &[&options[..], &["sh", "-c", "echo try; exit 6"]].concat());
    assert_eq!(done(lab, &["wait", "fails"]).text(), "6\n");
    let fails = known(lab, "fails");
    assert_eq!((&fails["restarts"], &fails["state"]["status"]), (&1.into(), &"exited".into()));
    assert_eq!(done(lab, &["logs", "fails"]).text(), "try\ntry\n");
    done(lab, &["rm", "fails"]);

    // What is stopped stays stopped, whatever the policy.
    let options = ["--name", "always", "--restart", "always", BUSYBOX];
    detached(lab, wall, &[&options[..], &["sh", "-c", "sleep 0.2"]].concat());
    until("a restart", || known(lab, "always")["restarts"].as_u64() >= Some(1));
    done(lab, &["stop", "-t", "0", "always"]);
    assert_eq!(status(lab, "always"), "exited");
    thread::sleep(Duration::from_millis(500));
    assert_eq!(status(lab, "always"), "exited");
    done(lab, &["rm", "always"]);
    Footprint::settles_to(lab, &before);
}

pub fn health_is_checked_inside(lab: &Lab, wall: Wall) {
    let before = begin(lab);
    let options = [
        "--name",
        "watched",
        "--health-cmd",
        "echo looking; test ! -e /tmp/ill",
        "--health-interval",
        "200ms",
        "--health-retries",
        "2",
        BUSYBOX,
        "sleep",
        "1000",
    ];
    detached(lab, wall, &options);
    let health = |of: &str| known(lab, "watched")["state"]["health"]["status"] == of;
    until("health", || health("healthy"));
    assert!(done(lab, &["ps"]).text().contains("(healthy)"));
    let log = known(lab, "watched")["state"]["health"]["log"].clone();
    assert_eq!((&log[0]["exit_code"], &log[0]["output"]), (&0.into(), &"looking\n".into()));
    done(lab, &["exec", "watched", "touch", "/tmp/ill"]);
    until("illness", || health("unhealthy"));
    done(lab, &["exec", "watched", "rm", "/tmp/ill"]);
    until("recovery", || health("healthy"));
    let events =
        ["events", "--since", "10m", "--until", "0s", "--filter", "event=health_status"];
    let said = done(lab, &events).text();
    for status in ["health=healthy", "health=unhealthy"] {
        assert!(said.contains(status), "{said}");
    }
    done(lab, &["rm", "-f", "watched"]);
    Footprint::settles_to(lab, &before);
}
