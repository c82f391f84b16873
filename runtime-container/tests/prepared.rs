//! Containers prepared ahead: the same as those made at once, used once, and
//! nothing is left of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bulkhead_runtime::{
    Bundle, Clock, Create, Error, ExitStatus, HostProcess, Lifetime, Pool, Prepare, Role,
    Rootfs, Runtime, Sandbox, SandboxId, Signal, Stdio, state,
};
use common::{Host, bind, capture, read};

/// Some of these tests fork, and a fork has a copy of whatever lock another test
/// holds at that moment.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bundle without mounts of the host, which may have changed by the time of the
/// request: its only layer is the host's `/usr`.
fn bundle(host: &Host, script: &str) -> Bundle {
    let mut bundle = host.script(script);
    let mounts = bundle.spec.mounts_mut().as_mut().unwrap();
    mounts.retain(|mount| mount.typ().as_deref() != Some("bind"));
    bundle.rootfs = Rootfs::Layers(vec![PathBuf::from("/usr")]);
    let process = bundle.spec.process_mut().as_mut().unwrap();
    process.set_env(Some(vec!["PATH=/bin".to_owned()]));
    bundle
}

fn prepare(host: &Host, bundle: &Bundle) -> Result<SandboxId, Error> {
    let id = SandboxId::random().unwrap();
    host.runtime.prepare(Prepare { id: &id, bundle, image: "test", held: &[] })?;
    Ok(id)
}

fn complete(host: &Host, bundle: &Bundle, stdio: Stdio) -> Box<dyn Sandbox> {
    let claim = host.runtime.claim(bundle).unwrap().unwrap();
    let id = claim.id().clone();
    host.runtime.complete(claim, Create::attached(&id, bundle, stdio)).unwrap()
}

/// What a container of `bundle` prints, from a prepared one or made at once.
fn says(host: &Host, bundle: &Bundle, prepared: bool) -> String {
    let (output, stdio) = capture();
    let mut sandbox = if prepared {
        complete(host, bundle, stdio)
    } else {
        host.create(bundle, stdio).unwrap()
    };
    sandbox.start(None).unwrap();
    let text = read(output);
    assert_eq!(sandbox.wait(None).unwrap().unwrap().code(), 7, "{text}");
    let clocks = sandbox.timeline();
    let order =
        [Clock::Request, Clock::RootfsReady, Clock::SandboxCreated, Clock::WorkloadExec];
    assert!(order.is_sorted_by_key(|clock| clocks.get(*clock).unwrap()));
    sandbox.delete().unwrap();
    text
}

/// The first process of a prepared container.
fn first(host: &Host, id: &SandboxId) -> i32 {
    let dir = state::StateDir::open(&host.state(), id).unwrap();
    dir.read().unwrap().pid.unwrap()
}

/// Its parent, which keeps the container.
fn keeper(host: &Host, id: &SandboxId) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", first(host, id))).unwrap();
    // Behind the name in brackets: state, parent (proc_pid_stat(5)).
    stat.rsplit(')').next().unwrap().split(' ').nth(2).unwrap().parse().unwrap()
}

fn kill(pid: i32) {
    // SAFETY: a process that the test itself had made, which still lives.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Waits for something that a process which is not ours does in a moment.
fn until(mut done: impl FnMut() -> bool) -> bool {
    (0..500).any(|_| {
        let now = done();
        if !now {
            std::thread::sleep(Duration::from_millis(10));
        }
        now
    })
}

/// Whether nobody owns the sandbox any more.
fn is_lost(host: &Host, id: &SandboxId) -> bool {
    !state::StateDir::open(&host.state(), id).unwrap().is_owned()
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_prepared_container_is_what_one_made_at_once_is() {
    let (_alone, host) = (alone(), Host::new());
    // The overlay names the container's own directory; of the order of mounts only
    // that of those below each other matters, and those below /proc come last.
    let mut bundle = bundle(
        &host,
        "echo $$ $(uname -n) $(pwd); id
         grep -v ' / overlay ' /proc/mounts | sort
         stat -c '%n %A %u %g %t %T' /dev/* /proc/1/fd/* $(pwd) /dev/shm /proc/kcore
         tail -n +3 /proc/net/dev; cat /proc/self/cgroup
         grep -E 'Cap|Seccomp:|NoNewPrivs|Groups|Sig' /proc/self/status
         for space in cgroup ipc mnt net pid user uts; do
             test -e /proc/1/ns/$space && echo $space
         done
         echo x > /new && cat /new; set -- /proc/[0-9]*; echo $#
         cat /proc/sys/kernel/hostname /proc/self/oom_score_adj
         exit 7",
    );
    let process = bundle.spec.process_mut().as_mut().unwrap();
    process.set_cwd("/work/here".into());
    process.set_oom_score_adj(Some(300));
    let at_once = says(&host, &bundle, false);
    let id = prepare(&host, &bundle).unwrap();
    let keeper = PathBuf::from(format!("/proc/{}", keeper(&host, &id)));
    assert!(keeper.exists());
    let prepared = says(&host, &bundle, true);
    assert!(until(|| !keeper.exists()), "it ends with the container");
    assert!(at_once.starts_with("1 inside /work/here\n"), "{at_once}");
    assert_eq!(prepared, at_once);
    assert!(state::list(&host.state()).unwrap().is_empty());
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_prepared_container_is_used_once_by_what_fits() {
    let (_alone, host) = (alone(), Host::new());
    let echo = bundle(&host, "echo used; exit 7");
    assert!(host.runtime.claim(&echo).unwrap().is_none());
    let id = prepare(&host, &echo).unwrap();
    let mut other = echo.clone();
    other.spec.root_mut().as_mut().unwrap().set_readonly(Some(true));
    assert!(host.runtime.claim(&other).unwrap().is_none(), "another root");
    // Another process in the same container fits.
    let claim = host.runtime.claim(&bundle(&host, "exit 3")).unwrap().unwrap();
    assert_eq!(*claim.id(), id);
    assert!(host.runtime.claim(&echo).unwrap().is_none(), "it is taken");
    let request_id = id.clone();
    let there = bundle(&host, "exit 3");
    let request = Create::attached(&request_id, &there, Stdio::null().unwrap());
    let mut sandbox = host.runtime.complete(claim, request).unwrap();
    sandbox.start(None).unwrap();
    assert_eq!(sandbox.wait(None).unwrap().unwrap().code(), 3);
    sandbox.delete().unwrap();
    assert!(!host.state().join(&id).exists());
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_limit_of_one_process_leaves_room_for_it() {
    let (_alone, host) = (alone(), Host::new());
    let mut bundle = bundle(&host, "exit 7");
    let pids = oci_spec::runtime::LinuxPidsBuilder::default().limit(1).build().unwrap();
    let resources = bundle.spec.linux_mut().as_mut().unwrap().resources_mut().as_mut().unwrap();
    resources.set_pids(Some(pids));
    prepare(&host, &bundle).unwrap();
    assert_eq!(says(&host, &bundle, true), "");
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn what_may_change_before_the_request_is_not_prepared() {
    let (_alone, host) = (alone(), Host::new());
    let mut bundle = bundle(&host, "exit 7");
    bundle.spec.mounts_mut().as_mut().unwrap().push(bind("/tmp", "/mnt", &["bind"]));
    let error = prepare(&host, &bundle).unwrap_err();
    assert!(matches!(error, Error::Wall { .. }), "{error:?}");
    assert!(state::list(&host.state()).unwrap_or_default().is_empty());
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn what_is_held_for_it_is_held_until_it_is_taken() {
    let (_alone, host) = (alone(), Host::new());
    let bundle = bundle(&host, "exit 7");
    let (mut reader, writer) = std::io::pipe().unwrap();
    let id = SandboxId::random().unwrap();
    let held = [writer.as_fd()];
    host.runtime
        .prepare(Prepare { id: &id, bundle: &bundle, image: "test", held: &held })
        .unwrap();
    drop(writer);
    let mut watched = [rustix::event::PollFd::new(&reader, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut watched, Some(&now)).unwrap(), 0, "still open");
    says(&host, &bundle, true);
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut rest).unwrap();
    assert!(rest.is_empty());
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn one_that_was_killed_or_lost_its_keeper_is_collected() {
    let (_alone, host) = (alone(), Host::new());
    let bundle = bundle(&host, "exit 7");
    for victim in [first, keeper] {
        let id = prepare(&host, &bundle).unwrap();
        kill(victim(&host, &id));
        assert!(until(|| is_lost(&host, &id)));
        assert!(host.runtime.claim(&bundle).unwrap().is_none());
        collect(&host, &[&id]);
    }
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn how_it_ended_is_told_as_of_any_other() {
    let (_alone, host) = (alone(), Host::new());
    let sleep = bundle(&host, "echo there; sleep 60");
    let started = || {
        let id = prepare(&host, &sleep).unwrap();
        let keeper = keeper(&host, &id);
        let (output, stdio) = capture();
        let mut sandbox = complete(&host, &sleep, stdio);
        sandbox.start(None).unwrap();
        std::io::Read::read_exact(&mut fs::File::from(output), &mut [0; 6]).unwrap();
        (sandbox, keeper)
    };
    let (mut sandbox, keeper) = started();
    let helper = HostProcess { pid: keeper, role: Role::Helper };
    assert!(sandbox.processes().unwrap().contains(&helper));
    assert!(sandbox.wait(Some(Duration::ZERO)).unwrap().is_none());
    sandbox.signal(Signal::KILL).unwrap();
    let exit = sandbox.wait(None).unwrap().unwrap();
    assert_eq!(exit.status, ExitStatus::Signaled(Signal::KILL));
    assert!(!sandbox.processes().unwrap().contains(&helper));
    sandbox.delete().unwrap();
    // A workload does not outlive the only one who learns of its end.
    let (mut sandbox, keeper) = started();
    kill(keeper);
    let exit = sandbox.wait(None);
    assert!(exit.is_ok_and(|exit| exit.unwrap().code() == 137));
    sandbox.delete().unwrap();
    // Nor whoever took it.
    let (sandbox, keeper) = started();
    drop(sandbox);
    assert!(until(|| !PathBuf::from(format!("/proc/{keeper}")).exists()));
    assert_eq!(fs::read_dir(host.state()).unwrap().count(), 0);
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_detached_one_outlives_whoever_took_it() {
    let (_alone, host) = (alone(), Host::new());
    let bundle = bundle(&host, "sleep 60");
    let id = prepare(&host, &bundle).unwrap();
    let claim = host.runtime.claim(&bundle).unwrap().unwrap();
    let request = Create::attached(&id, &bundle, Stdio::null().unwrap());
    let request = Create { lifetime: Lifetime::Detached, ..request };
    let mut sandbox = host.runtime.complete(claim, request).unwrap();
    sandbox.start(None).unwrap();
    drop(sandbox);
    let mut found = host.runtime.load(&id).unwrap();
    assert!(!until_short(|| found.processes().unwrap().is_empty()));
    found.signal(Signal::KILL).unwrap();
    assert!(found.wait(None).is_ok_and(|exit| exit.unwrap().code() == 137));
    found.delete().unwrap();
    assert!(!host.state().join(&id).exists());
}

/// Whether something happens that should not, for a tenth of a second.
fn until_short(mut happens: impl FnMut() -> bool) -> bool {
    (0..10).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        happens()
    })
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn it_has_the_limits_and_the_rank_of_whoever_takes_it() {
    let (_alone, host) = (alone(), Host::new());
    let bundle = bundle(
        &host,
        "ulimit -S -f; ulimit -S -c; grep Cpus_allowed: /proc/self/status; nice; exit 7",
    );
    prepare(&host, &bundle).unwrap();
    let (_, hard) = rlimit(libc::RLIMIT_FSIZE, None);
    let before = rlimit(libc::RLIMIT_FSIZE, Some((1 << 20, hard)));
    let prepared = says(&host, &bundle, true);
    let at_once = says(&host, &bundle, false);
    rlimit(libc::RLIMIT_FSIZE, Some(before));
    assert_eq!(prepared, at_once);
    // In blocks of 512 bytes.
    assert!(prepared.starts_with("2048\n"), "{prepared}");
}

/// A limit of this process before it is set to `to`.
fn rlimit(resource: u32, to: Option<(u64, u64)>) -> (u64, u64) {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let new = to.map(|(rlim_cur, rlim_max)| libc::rlimit { rlim_cur, rlim_max });
    let new = new.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: one is read if it is not null, the other is written.
    assert_eq!(unsafe { libc::prlimit(0, resource, new, &raw mut old) }, 0);
    (old.rlim_cur, old.rlim_max)
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn whoever_prepares_or_takes_may_die_at_any_moment() {
    let (_alone, host) = (alone(), Host::new());
    let bundle = bundle(&host, "sleep 60");
    for round in 0..40_u64 {
        // SAFETY: the child uses the allocator, which glibc's fork leaves usable, and
        // never returns into the test harness.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let _ = prepare(&host, &bundle);
            let claim = host.runtime.claim(&bundle);
            let sandbox = claim.map(|claim| {
                claim.map(|claim| {
                    let id = claim.id().clone();
                    let request = Create::attached(&id, &bundle, Stdio::null().unwrap());
                    host.runtime.complete(claim, request)
                })
            });
            let _kept = std::mem::ManuallyDrop::new(sandbox);
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        std::thread::sleep(Duration::from_micros(round * 300));
        // SAFETY: a child of ours that has not been reaped.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
            libc::waitpid(pid, std::ptr::null_mut(), 0);
        }
    }
    let left: Vec<SandboxId> = state::list(&host.state()).unwrap();
    collect(&host, &left.iter().collect::<Vec<_>>());
}

/// Collects what was abandoned, and takes the rest out of the pool: then nothing is
/// left of `ids`.
fn collect(host: &Host, ids: &[&SandboxId]) {
    let pool = Pool::at(&host.state());
    for offer in pool.list().unwrap() {
        let claim = pool.claim_this(&offer.id).unwrap().unwrap();
        host.runtime.purge(claim.id()).unwrap();
    }
    // What was killed may still be on its way out, and with it its lock.
    for _ in 0..100 {
        for (id, _) in state::abandoned(&host.state()).unwrap() {
            host.runtime.purge(&id).unwrap();
        }
        pool.sweep().unwrap();
        if fs::read_dir(host.state()).unwrap().next().is_none() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(fs::read_dir(host.state()).unwrap().count(), 0);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for line in mounts.lines().filter(|line| line.contains(" - cgroup")) {
        let parent = PathBuf::from(line.split(' ').nth(4).unwrap()).join("bulkhead");
        for id in ids {
            assert!(!parent.join(id).exists(), "{} in {}", id, parent.display());
        }
    }
}
