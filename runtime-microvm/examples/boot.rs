//! Boots a kernel with an EROFS disk by hand and prints what happened: kernel
//! messages, milestones, how it ended, what KVM and the devices counted.
//!
//! ```sh
//! cargo run -p bulkhead-microvm --example boot -- vmlinux disk.erofs [--console] [--entropy] [--balloon] [--pmem] [--memory MIB] \
//!     [--timeout SECONDS] [-- KERNEL PARAMETERS]
//! ```

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bulkhead_microvm::RootDisk;
use bulkhead_microvm::devices::virtio::vsock::Vsock;
use bulkhead_microvm::guest_log;
use bulkhead_microvm::kvm::StatsReader;
use bulkhead_microvm::machine::{Guest, Linux, Machine, MachineConfig};
use bulkhead_microvm::timeline::SharedTimeline;
use bulkhead_microvm::vcpu_loop;
use bulkhead_runtime::{Clock, KvmStats};
use nix::sys::epoll::{Epoll, EpollCreateFlags};

struct Options {
    kernel: PathBuf,
    disk: PathBuf,
    console: bool,
    entropy_device: bool,
    balloon: bool,
    root_disk: RootDisk,
    memory_mib: u32,
    timeout: Duration,
    parameters: String,
}

fn options() -> Option<Options> {
    let mut args = std::env::args().skip(1);
    let mut options = Options {
        kernel: args.next()?.into(),
        disk: args.next()?.into(),
        console: false,
        entropy_device: false,
        balloon: false,
        root_disk: RootDisk::Blk,
        memory_mib: 64,
        timeout: Duration::from_secs(120),
        parameters: String::new(),
    };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--console" => options.console = true,
            "--entropy" => options.entropy_device = true,
            "--balloon" => options.balloon = true,
            "--pmem" => options.root_disk = RootDisk::Pmem,
            "--memory" => options.memory_mib = args.next()?.parse().ok()?,
            "--timeout" => options.timeout = Duration::from_secs(args.next()?.parse().ok()?),
            "--" => options.parameters = args.by_ref().collect::<Vec<_>>().join(" "),
            _ => return None,
        }
    }
    Some(options)
}

fn main() -> Result<(), Box<dyn Error>> {
    let Some(options) = options() else {
        return Err("usage: boot KERNEL DISK [--console] [--entropy] [--balloon] [--pmem] [--memory MIB] [--timeout SECONDS] \
                    [-- KERNEL PARAMETERS]"
            .into());
    };
    let scratch = tempfile::tempdir()?;
    let timeline = Arc::new(SharedTimeline::anonymous()?);
    let log = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(scratch.path().join("console.log"))?;
    let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);

    let begun = Instant::now();
    let mut machine = Machine::build(MachineConfig {
        memory_mib: options.memory_mib,
        guest: Guest::Linux(Box::new(Linux {
            kernel: options.kernel,
            extra_command_line: options.parameters,
            disk: options.disk,
            root_disk: options.root_disk,
            vsock: Vsock::new(scratch.path().join("vsock"), epoll)?,
            entropy_device: options.entropy_device,
            balloon: options.balloon,
            net: None,
            files: None,
            console: options.console.then(|| log.try_clone()).transpose()?,
        })),
        timeline: timeline.clone(),
        intel: false,
    })?;
    println!("built in {:?}; command line: {}", begun.elapsed(), machine.rest.command_line);

    let stop = Arc::new(AtomicBool::new(false));
    watch(options.timeout, stop.clone())?;
    timeline.mark(Clock::FirstGuestInstruction);
    let ending = vcpu_loop::run(&mut machine.vcpu, &mut machine.io, &machine.rest.ram, &stop);
    println!("ended after {:?}: {ending:?}", begun.elapsed());

    print_log(log)?;
    if !options.console {
        for line in guest_log::last_lines(&machine.rest.ram, 1000) {
            println!("| {line}");
        }
    }
    for (name, instant) in [
        ("kernel_done", timeline.get(Clock::KernelDone)),
        ("agent_ready", timeline.agent_ready_at()),
        ("workload_exec", timeline.get(Clock::WorkloadExec)),
    ] {
        if let (Some(seen), Some(first)) = (instant, timeline.get(Clock::FirstGuestInstruction))
        {
            println!("{name}: {:?} after the first instruction", seen.since(first));
        }
    }
    if let Some(devices) = &machine.rest.devices {
        println!("{:?}", devices.metrics());
    }
    let mut stats = KvmStats::default();
    for fd in machine.rest.stats {
        StatsReader::new(fd.into())?.add_to(&mut stats)?;
    }
    for (name, value) in stats.0.iter().filter(|(_, value)| **value > 0) {
        println!("{name:32} {value}");
    }
    Ok(())
}

fn print_log(mut log: File) -> io::Result<()> {
    let mut text = String::new();
    log.rewind()?;
    log.read_to_string(&mut text)?;
    print!("{text}");
    Ok(())
}

/// Interrupts the processor, which runs on this thread, when the time is over.
fn watch(timeout: Duration, stop: Arc<AtomicBool>) -> io::Result<()> {
    extern "C" fn wake(_: libc::c_int) {}
    // SAFETY: the handler does nothing; it only makes KVM_RUN return EINTR.
    let old = unsafe { libc::signal(libc::SIGUSR1, wake as *const () as libc::sighandler_t) };
    if old == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: gettid and getpid always succeed.
    let (process, thread) = unsafe { (libc::getpid(), libc::gettid()) };
    std::thread::spawn(move || {
        std::thread::sleep(timeout);
        stop.store(true, Ordering::Release);
        // SAFETY: signals a thread of our own process.
        unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR1) };
    });
    Ok(())
}
