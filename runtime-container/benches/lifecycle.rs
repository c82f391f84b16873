//! What a container costs from the library's point of view: create to exec,
//! and create to delete, of a program that only exits.
//!
//! Back to back, these hide what a lone container pays on an idle machine, so
//! each is measured with a pause before every run as well.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bulkhead_container::{ContainerRuntime, seccomp};
use bulkhead_runtime::{Bundle, Create, Error, Rootfs, Runtime, Sandbox, SandboxId, Stdio};
use criterion::{Criterion, criterion_group, criterion_main};
use oci_spec::runtime::{
    LinuxBuilder, LinuxCapabilitiesBuilder, LinuxNamespaceBuilder, LinuxNamespaceType,
    LinuxResources, ProcessBuilder, Spec, SpecBuilder, UserBuilder, get_default_maskedpaths,
    get_default_mounts, get_default_readonly_paths,
};

/// A static x86-64 program that exits with 0: ELF header, one program header,
/// `xor edi, edi; mov eax, 60; syscall`.
fn true_program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let code = [0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [2_u16, 62] {
        elf.extend(half.to_le_bytes()); // ET_EXEC, EM_X86_64
    }
    elf.extend(1_u32.to_le_bytes());
    for word in [BASE + HEADERS, 64, 0] {
        elf.extend(word.to_le_bytes()); // entry, program headers, sections
    }
    elf.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(1_u32.to_le_bytes()); // PT_LOAD
    elf.extend(5_u32.to_le_bytes()); // readable, executable
    let size = HEADERS + code.len() as u64;
    for word in [0, BASE, BASE, size, size, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}

fn spec() -> Result<Spec, oci_spec::OciSpecError> {
    let all = seccomp::default_capabilities();
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(all.clone())
        .effective(all.clone())
        .permitted(all)
        .inheritable(std::collections::HashSet::new())
        .ambient(std::collections::HashSet::new())
        .build()?;
    let process = ProcessBuilder::default()
        .args(vec!["/true".to_owned()])
        .env(vec!["PATH=/bin".to_owned()])
        .cwd("/")
        .user(UserBuilder::default().uid(0_u32).gid(0_u32).build()?)
        .capabilities(capabilities)
        .no_new_privileges(true)
        .build()?;
    let kinds = [
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Network,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Cgroup,
    ];
    let namespaces = kinds
        .into_iter()
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
        .collect::<Result<Vec<_>, _>>()?;
    let linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .resources(LinuxResources::default())
        .masked_paths(get_default_maskedpaths())
        .readonly_paths(get_default_readonly_paths())
        .seccomp(seccomp::default_profile())
        .build()?;
    let mut mounts = get_default_mounts();
    mounts.retain(|mount| mount.typ().as_deref() != Some("cgroup"));
    SpecBuilder::default()
        .hostname("bench")
        .process(process)
        .mounts(mounts)
        .linux(linux)
        .build()
}

fn bundle(layer: &Path) -> Result<Bundle, Box<dyn std::error::Error>> {
    let program = layer.join("true");
    fs::write(&program, true_program())?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    for dir in ["dev", "proc", "sys", "etc"] {
        fs::create_dir_all(layer.join(dir))?;
    }
    Ok(Bundle { spec: spec()?, rootfs: Rootfs::Layers(vec![layer.to_owned()]) })
}

fn start(runtime: &ContainerRuntime, bundle: &Bundle) -> Result<Box<dyn Sandbox>, Error> {
    let id = SandboxId::random().unwrap_or_else(|error| panic!("{error}"));
    let stdio = Stdio::null().unwrap_or_else(|error| panic!("{error}"));
    let mut sandbox = runtime.create(Create::attached(&id, bundle, stdio))?;
    sandbox.start(None)?;
    Ok(sandbox)
}

/// Time to exec and to the end of everything.
fn life(runtime: &ContainerRuntime, bundle: &Bundle) -> Result<(Duration, Duration), Error> {
    let begin = Instant::now();
    let mut sandbox = start(runtime, bundle)?;
    let executed = begin.elapsed();
    sandbox.wait(None)?;
    sandbox.delete()?;
    Ok((executed, begin.elapsed()))
}

fn benches(criterion: &mut Criterion) {
    let prepare = || -> Result<_, Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let layer = dir.path().join("layer");
        fs::create_dir(&layer)?;
        let bundle = bundle(&layer)?;
        let runtime = ContainerRuntime::new(dir.path().join("run"));
        life(&runtime, &bundle)?;
        Ok((dir, runtime, bundle))
    };
    let (_dir, runtime, bundle) = match prepare() {
        Ok(ready) => ready,
        Err(error) => {
            eprintln!("no containers here, nothing is measured: {error}");
            return;
        }
    };
    let mut group = criterion.benchmark_group("container");
    for (pause, label) in [(0, "back to back"), (60, "60 ms idle before")] {
        let pause = Duration::from_millis(pause);
        for (name, whole) in [("create to exec", false), ("create to delete", true)] {
            group.bench_function(format!("{name}, {label}"), |bencher| {
                bencher.iter_custom(|rounds| {
                    let mut sum = Duration::ZERO;
                    for _ in 0..rounds {
                        std::thread::sleep(pause);
                        match life(&runtime, &bundle) {
                            Ok((executed, all)) => sum += if whole { all } else { executed },
                            Err(error) => panic!("a container failed: {error}"),
                        }
                    }
                    sum
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = lifecycle;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(4));
    targets = benches
}
criterion_main!(lifecycle);
