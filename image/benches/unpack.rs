//! How fast a layer is unpacked: many small files, a few large ones, each
//! compression.

#![allow(clippy::expect_used, reason = "a step that fails ends the benchmark")]
#![allow(missing_docs, reason = "criterion's macros make public functions without")]

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use bulkhead_image::{NoProgress, Unpack, UnpackLimits};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// A layer in the proportions of a distribution's: most files are of a few
/// KiB, most bytes are in large files, and the content compresses about 3:1.
fn layer() -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut text = Vec::new();
    let mut state = 1u32;
    while text.len() < 4 << 20 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let word = (state >> 20) & 0x3ff;
        write!(text, "{word:x} ")?;
    }
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    for directory in 0..100 {
        for file in 0..20 {
            let len = 500 + (directory * 20 + file) * 7;
            header.set_size(len as u64);
            header.set_cksum();
            let path = format!("usr/share/d{directory}/f{file}");
            archive.append_data(&mut header, path, &text[..len])?;
        }
    }
    for file in 0..8 {
        header.set_size(text.len() as u64);
        header.set_cksum();
        archive.append_data(&mut header, format!("usr/lib/lib{file}.so"), &text[..])?;
    }
    archive.into_inner()
}

/// Unpacks beside the blob; removing the files is not part of what is measured.
fn unpack(place: &Path) -> u64 {
    let target = place.join("layer");
    std::fs::create_dir(&target).expect("a directory for the layer");
    let unpack =
        Unpack { target: &target, below: &[], diff_id: None, limits: UnpackLimits::default() };
    let blob = File::open(place.join("blob")).expect("the blob was written");
    unpack.run(blob, &NoProgress).expect("the layer is proper").entries
}

fn benchmark(criterion: &mut Criterion) {
    let plain = layer().expect("writing to memory");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&plain).expect("writing to memory");
    let gzip = gzip.finish().expect("writing to memory");
    let zstd = zstd::encode_all(&plain[..], 3).expect("writing to memory");
    let mut group = criterion.benchmark_group("unpack");
    group.throughput(Throughput::Bytes(plain.len() as u64)).sample_size(20);
    for (name, blob) in [("plain", &plain), ("gzip", &gzip), ("zstd", &zstd)] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || place(blob).expect("room for the blob"),
                |place| unpack(place.path()),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// A fresh directory with the blob in it: on tmpfs where there is one, because
/// ext4 does not give out inodes again that were freed in the last seconds, and
/// after some rounds of making and removing thousands of files its search for
/// others is most of the time.
fn place(blob: &[u8]) -> io::Result<tempfile::TempDir> {
    let shm = Path::new("/dev/shm");
    let dir = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }?;
    std::fs::write(dir.path().join("blob"), blob)?;
    Ok(dir)
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
