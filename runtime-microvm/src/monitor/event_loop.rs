//! The monitor's own thread: waits for whatever comes first.

use std::io;
use std::os::fd::AsFd;
use std::process::exit;
use std::sync::PoisonError;
use std::time::Duration;

use bulkhead_runtime::Clock;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use seccompiler::BpfProgram;

use super::channel::Channel;
use super::config::{MonitorConfig, files};
use super::control::Control;
use super::processor::Processor;
use super::report::{Awaited, FailureKind, GuestFailure, Report};
use super::{MonitorError, process, request};
use crate::devices::virtio::vsock::FIRST_TOKEN;
use crate::guest_log;
use crate::machine::{Devices, NET_TOKEN, Rest};
use crate::timeline::SharedTimeline;
use crate::vcpu_loop::Ending;

/// Tokens of what is waited for, beside [`NET_TOKEN`]; those of vsock begin at
/// [`FIRST_TOKEN`].
const CHANNEL: u64 = 0;
const ENDED: u64 = 1;
const WATCHDOG: u64 = 2;
const SIGNALS: u64 = 3;
const CONTROL: u64 = 4;
const CALLER: u64 = 5;
/// Sent when the thread that started us dies; whether its process died too is
/// looked at then.
const PARENT_DEATH: Signal = Signal::SIGUSR2;
/// How often a processor that is to stop is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// Lines of the kernel's messages in an error.
const CONSOLE_LINES: usize = 25;
/// Events taken at a time.
const EVENTS: usize = 16;

/// What the loop looks after.
pub struct Watched<'a> {
    /// To the process that started us.
    pub channel: &'a Channel,
    /// The guest's processor.
    pub processor: &'a Processor,
    /// The clocks.
    pub timeline: &'a SharedTimeline,
    /// The end of the parent.
    pub signals: SignalFd,
    /// What we were told.
    pub config: &'a MonitorConfig,
}

/// Makes this process a session of its own, which ends with `parent`.
///
/// The end of the parent is seen twice over: its end of the channel closes,
/// unless another process got hold of a copy; and the kernel sends a signal
/// when the *thread* that started us ends, upon which we look for the process.
/// Without `parent` there is only the channel to whoever it belongs to.
pub fn die_with(parent: Option<i32>) -> Result<SignalFd, MonitorError> {
    let failed = |action| move |errno: nix::errno::Errno| process(action)(errno.into());
    let mut mask = SigSet::empty();
    mask.add(PARENT_DEATH);
    mask.thread_set_mask().map_err(failed("block signals"))?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(failed("watch signals"))?;
    // Fails only when we lead a group already, which is as good.
    let _ = nix::unistd::setsid();
    let Some(parent) = parent else { return Ok(signals) };
    // SAFETY: plain integers.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, PARENT_DEATH as libc::c_int) } != 0 {
        return Err(process("ask for the parent's end")(io::Error::last_os_error()));
    }
    if has_lost(parent) {
        exit(0);
    }
    Ok(signals)
}

fn has_lost(parent: i32) -> bool {
    nix::unistd::getppid().as_raw() != parent
}

/// Runs until the machine or the parent ends.
pub fn run(
    watched: &Watched<'_>,
    mut control: Control,
    rest: &Rest,
    epoll: &Epoll,
    filter: Option<BpfProgram>,
) -> Result<(), MonitorError> {
    let timer = TimerFd::new(
        ClockId::CLOCK_MONOTONIC,
        TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
    )
    .map_err(|errno| process("make the watchdog")(errno.into()))?;
    arm(&timer, watched.config.boot_timeout).map_err(process("start the watchdog"))?;
    watch(epoll, watched, &timer).map_err(process("watch its descriptors"))?;
    control
        .watch(epoll, CONTROL)
        .map_err(|errno| process("watch its descriptors")(errno.into()))?;
    if let Some(filter) = filter {
        seccompiler::apply_filter(&filter).map_err(MonitorError::Seccomp)?;
    }

    let mut hung = None;
    let mut events = [EpollEvent::empty(); EVENTS];
    loop {
        let ready = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other.map_err(|errno| process("wait for events")(errno.into()))?,
        };
        for event in &events[..ready] {
            match event.data() {
                CHANNEL => {
                    // Its end is ours.
                    if request::serve(watched.channel, watched, rest) {
                        exit(0);
                    }
                }
                CONTROL => control.accept(epoll, CALLER),
                CALLER => {
                    let hung_up = |caller: &Channel| request::serve(caller, watched, rest);
                    if control.caller().is_none_or(hung_up) {
                        control.hang_up();
                    }
                }
                SIGNALS => {
                    let _ = watched.signals.read_signal();
                    if has_lost(watched.config.parent) {
                        exit(0);
                    }
                }
                WATCHDOG => {
                    let _ = timer.wait();
                    hung = hung.or_else(|| overdue(watched));
                    if hung.is_some() {
                        watched.processor.stop();
                    }
                }
                ENDED => report_end(watched, rest, hung),
                NET_TOKEN => wake_net(rest, event.events()),
                token => wake_vsock(rest, token, event.events()),
            }
        }
    }
}

fn watch(epoll: &Epoll, watched: &Watched<'_>, timer: &TimerFd) -> io::Result<()> {
    let on = |token| EpollEvent::new(EpollFlags::EPOLLIN, token);
    epoll.add(watched.channel.as_fd(), on(CHANNEL))?;
    epoll.add(watched.signals.as_fd(), on(SIGNALS))?;
    epoll.add(timer.as_fd(), on(WATCHDOG))?;
    epoll.add(watched.processor.ended(), on(ENDED))?;
    Ok(())
}

fn arm(timer: &TimerFd, timeout: Duration) -> io::Result<()> {
    let expiration = Expiration::IntervalDelayed(timeout.into(), ASK_AGAIN.into());
    timer.set(expiration, TimerSetTimeFlags::empty())?;
    Ok(())
}

/// What the guest should have reached by now and has not.
fn overdue(watched: &Watched<'_>) -> Option<Awaited> {
    if watched.config.restore.is_some() {
        // It was ready when it was saved; who sends it work looks after the answer.
        None
    } else if watched.timeline.get(Clock::KernelDone).is_none() {
        Some(Awaited::Kernel)
    } else if watched.timeline.agent_ready_at().is_none() {
        Some(Awaited::Agent)
    } else {
        None
    }
}

fn wake_vsock(rest: &Rest, token: u64, events: EpollFlags) {
    debug_assert!(token >= FIRST_TOKEN);
    let Some(devices) = &rest.devices else { return };
    let mut vsock = devices.vsock.lock().unwrap_or_else(PoisonError::into_inner);
    vsock.serve(|vsock, queues, ram| vsock.wake(token, events, queues, ram));
}

fn wake_net(rest: &Rest, events: EpollFlags) {
    let net = rest.devices.as_ref().and_then(|devices| devices.net.as_ref());
    let Some(net) = net else { return };
    let mut net = net.lock().unwrap_or_else(PoisonError::into_inner);
    net.serve(|net, queues, ram| net.wake(events, queues, ram));
}

/// Reports how the machine ended, and ends: whoever waits for the report does
/// not wait for the kernel to take the machine apart.
fn report_end(watched: &Watched<'_>, rest: &Rest, hung: Option<Awaited>) -> ! {
    let ending = watched.processor.ending().unwrap_or(Ending::PowerOff);
    let metrics = rest.devices.as_ref().map(Devices::metrics).unwrap_or_default();
    let kind = match (ending, hung) {
        (Ending::PowerOff, _) => None,
        (Ending::Stopped(fault), Some(waiting_for)) => Some(FailureKind::Hung {
            waiting_for,
            seconds: watched.config.boot_timeout.as_secs(),
            fault,
        }),
        (ending, _) => Some(FailureKind::Ended(ending)),
    };
    let failure = kind.map(|kind| GuestFailure { kind, console: console(watched, rest) });
    // The parent may have gone at the same moment.
    drop(watched.channel.send(&Report::Ended { failure, metrics }, &[]));
    exit(0);
}

/// The last messages of the guest's kernel: what it printed, or else what it
/// kept in memory.
fn console(watched: &Watched<'_>, rest: &Rest) -> Vec<String> {
    if watched.config.console {
        let path = watched.config.state_dir.join(files::CONSOLE);
        let bytes = std::fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(CONSOLE_LINES)..];
        return tail.iter().map(|line| line.trim_end().to_owned()).collect();
    }
    guest_log::last_lines(&rest.ram, CONSOLE_LINES)
}
