//! What is under `examples/`, run as its reader would.

use std::path::Path;

use crate::images;
use crate::lab::{Footprint, Lab, Wall, finish};

pub fn a_service_and_its_store_change_walls(lab: &Lab, _: Wall) {
    let before = Footprint::now(lab);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/counter/run");
    let mut command = lab.program(script);
    command
        .arg(images::with_python_and_redis())
        .env("BULKHEAD", env!("CARGO_BIN_EXE_bulkhead"));
    finish(command, b"").expect_error(0, "the same answers both ways");
    Footprint::settles_to(lab, &before);
}
