//! The tree seen from inside is the image, byte for byte.

use crate::images::{BUSYBOX, DEBIAN};
use crate::lab::{Finished, Lab, Wall};

/// The static measuring program, fed to the sandbox through its standard input:
/// no image has it. It shows up as `/tmp/probe`, the same behind both walls.
const PROBE: &[u8] = include_bytes!(env!("BULKHEAD_PROBE"));

fn manifest(lab: &Lab, wall: Wall, image: &str, roots: &str) -> Finished {
    let script = format!(
        "cat > /tmp/probe && chmod 755 /tmp/probe && \
         for root in {roots}; do /tmp/probe manifest $root || exit 1; done"
    );
    let run =
        lab.run_with_input(wall, &["--memory", "256m", image, "sh", "-c", &script], PROBE);
    run.expect_code(0);
    run
}

pub fn the_tree_inside_is_the_image(lab: &Lab, wall: Wall) {
    let seen = manifest(lab, wall, BUSYBOX, "/").text();
    let entry = |path: &str| {
        seen.lines()
            .find(|line| line.split_whitespace().any(|word| word == path))
            .unwrap_or_else(|| panic!("{path} is not in the manifest:\n{seen}"))
            .to_owned()
    };
    assert!(entry("/tmp").contains("1777"), "{}", entry("/tmp"));
    assert!(entry("/bin/sh").contains("busybox"), "{}", entry("/bin/sh"));
    entry("/etc/passwd");
}

pub fn both_walls_show_the_same_tree(lab: &Lab, _: Wall) {
    // Where guest kernel code is emulated, reading all of Debian takes minutes: three
    // of its trees stand for it. That disk and layers hold the same whole tree is
    // tested in `image/`.
    for (image, roots) in [(BUSYBOX, "/"), (DEBIAN, "/etc /usr/sbin /var")] {
        let container = manifest(lab, Wall::Container, image, roots).text();
        let microvm = manifest(lab, Wall::MicroVm, image, roots).text();
        let differing: Vec<_> = container
            .lines()
            .zip(microvm.lines())
            .filter(|(one, other)| one != other)
            .take(10)
            .collect();
        assert!(differing.is_empty(), "{image}: {differing:#?}");
        assert_eq!(container.lines().count(), microvm.lines().count(), "{image}");
        assert!(container.lines().count() > 10, "{image}: the manifest is empty");
    }
}
