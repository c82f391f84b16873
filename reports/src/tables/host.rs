//! Tables about the run itself: the machine, the runtimes, what was left out.

use super::{Table, figures, plain, with, words};
use crate::badge;
use crate::gaps::Gap;
use crate::units::{Unit, elapsed, float, many, whole};
use crate::view::{View, printable};

/// The machine the figures belong to.
pub fn host(view: &View<'_>) -> Table {
    let host = &view.results.host;
    let mut table = Table::new([words("Host"), words("")]);
    let kvm = badge::text(view.results);
    let kvm = host.kvm.as_ref().map_or_else(
        || kvm.clone(),
        |found| format!("{kvm}, API version {}", found.api_version),
    );
    let virtualised = if host.virtualised { "yes" } else { "no" };
    for (name, value) in [
        ("Processor", printable(&host.cpu_model)),
        ("Logical processors", whole(u64::from(host.cpus))),
        ("Memory", Unit::Bytes.show(float(host.memory_bytes))),
        ("Kernel", printable(&host.kernel)),
        ("System", printable(&host.os)),
        ("cgroups", printable(&host.cgroups)),
        ("Itself a virtual machine", virtualised.to_owned()),
        ("KVM", kvm),
    ] {
        table.rows.push(vec![plain(name), plain(value)]);
    }
    table
}

/// How the run was made.
pub fn method(view: &View<'_>) -> Table {
    let run = &view.results.run;
    let mut table = Table::new([words("Run"), words("")]);
    let command: Vec<String> = run.command.iter().map(|word| printable(word)).collect();
    let mut rows = vec![
        ("Command", command.join(" ")),
        ("Tool", format!("bulkhead {}", printable(&run.tool_version))),
        ("Profile", printable(&run.profile)),
        ("Started", printable(&run.started)),
        ("Took", elapsed(run.duration_seconds)),
        ("Seed", run.seed.to_string()),
        ("Image", format!("{} ({})", printable(&run.image), printable(&run.image_digest))),
    ];
    if let Some(kernel) = &run.guest_kernel {
        rows.push(("Guest kernel", printable(kernel)));
    }
    for (name, value) in rows {
        table.rows.push(vec![plain(name), plain(value)]);
    }
    table
}

/// The runtimes and their versions.
pub fn runtimes(view: &View<'_>) -> Table {
    let mut table = Table::new([
        words("Runtime"),
        words("Wall"),
        words("Version"),
        figures("Starts counted"),
        figures("Warm-ups"),
    ]);
    for wall in &view.walls {
        let (isolation, version) = wall.info.map_or_else(
            || (String::new(), String::new()),
            |info| (printable(&info.isolation), printable(&info.version)),
        );
        let mine = || view.results.boot.iter().filter(|sample| sample.runtime == wall.name);
        let warm_ups = mine().filter(|sample| sample.warm_up).count();
        let took_part = wall.info.is_none_or(|info| info.unavailable.is_empty());
        let name = if took_part {
            plain(&wall.label)
        } else {
            with(&wall.label, "could not take part")
        };
        table.rows.push(vec![
            name,
            plain(isolation),
            plain(version),
            plain(many(mine().count() - warm_ups)),
            plain(many(warm_ups)),
        ]);
    }
    table
}

/// What was asked for and not measured.
pub fn omissions(gaps: &[Gap]) -> Table {
    let mut table = Table::new([words("Runtime"), words("Left out"), words("Why")]);
    for gap in gaps {
        table.rows.push(vec![plain(&gap.runtime), plain(gap.what()), plain(gap.why())]);
    }
    table
}
