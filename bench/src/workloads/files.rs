//! Files: reading the image through the wall's read-only layer, writing through
//! its writable one.

use std::path::Path;

use bulkhead_runtime::{Isolation, Rootfs};

use super::sheet::Counts;
use super::{Bench, Taking, Workload, lines};
use crate::sampling::Stopped;
use crate::sandbox::{Contender, SampleError};

/// Runs `probe files`, once in each of a number of fresh sandboxes.
#[derive(Debug, Clone, Copy)]
pub struct Files;

const NAME: &str = "files";

/// The file beside the probe that is read.
const DATA: &str = "data";

/// Where a plain process writes. The walls' writable layers are memory (tmpfs),
/// and so is this; a disk would be compared with memory otherwise.
const NATIVE_SCRATCH: &str = "/dev/shm";

/// The probe's operations, what they are called in results and what they count.
///
/// *First* is the first read in a fresh sandbox. The host's cache holds the image
/// by then: a container shares it, a guest's own cache is empty. *Warm* has just
/// been read or written by the same program.
const METRICS: [(&str, &str, Counts); 10] = [
    ("image_read_first", "image: read, first", Counts::Bytes),
    ("image_read_warm", "image: read, warm", Counts::Bytes),
    ("image_random_read_first", "image: random 4 KiB read, first", Counts::Calls),
    ("image_random_read_warm", "image: random 4 KiB read, warm", Counts::Calls),
    ("layer_write", "writable layer: write", Counts::Bytes),
    ("layer_write_fsync", "writable layer: write and fsync", Counts::Bytes),
    ("layer_read_warm", "writable layer: read, warm", Counts::Bytes),
    ("layer_random_read_warm", "writable layer: random 4 KiB read, warm", Counts::Calls),
    ("layer_random_write", "writable layer: random 4 KiB write", Counts::Calls),
    ("layer_random_write_fsync", "writable layer: random 4 KiB write and fsync", Counts::Calls),
];

impl Workload for Files {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "files of the image and of the writable layer, in sequence and at random, with fsync"
    }

    fn measure(&self, bench: &mut Bench<'_>) -> Result<(), Stopped> {
        bench.interleave(NAME, bench.profile.further, sample)
    }
}

fn sample(mut taking: Taking<'_>) -> Result<(), SampleError> {
    let Taking { contender, program, profile, stop, .. } = taking;
    let (data, scratch) = places(contender, program);
    let budget = profile.operation_budget_ms.to_string();
    let bundle = contender.bundle_running(&[program, "files", &data, scratch, &budget]);
    let lines = lines::read(contender.runtime, &bundle, profile, stop)?;
    let mut sheet = taking.sheet(NAME);
    for line in &lines {
        let known = METRICS.iter().find(|(operation, ..)| *operation == line.operation);
        let Some(&(_, metric, counts)) = known else {
            return Err(SampleError::Output { output: line.to_string() });
        };
        sheet.line(metric, counts, line);
    }
    Ok(())
}

/// The file to read and the directory to write to, as the program sees them: a
/// plain process sees the host's tree and not the image's.
fn places(contender: Contender<'_>, program: &str) -> (String, &'static str) {
    let inside = Path::new(program).with_file_name(DATA);
    if contender.runtime.isolation() != Isolation::Native {
        return (inside.to_string_lossy().into_owned(), "/");
    }
    let relative = inside.strip_prefix("/").unwrap_or(&inside);
    let outside = match &contender.bundle.rootfs {
        Rootfs::Layers(layers) => {
            layers.iter().map(|layer| layer.join(relative)).find(|path| path.exists())
        }
        Rootfs::Disk(_) => None,
    };
    // Where it is not found, the program says that it is not there.
    (outside.unwrap_or(inside).to_string_lossy().into_owned(), NATIVE_SCRATCH)
}
