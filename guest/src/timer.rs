//! Register layout of the boot-timer device, shared by the guest's PID 1 and
//! the monitor.
//!
//! The device is one page of MMIO. The guest maps it through `/dev/mem` and
//! reports milestones with single 32-bit stores, so that a milestone costs one
//! exit and no system call, and power-off needs no kernel shutdown.

/// Kernel command-line parameter that carries the physical address of the
/// page, as `bulkhead_timer=0xd0000000`.
///
/// The kernel hands parameters it does not know to init's environment, except
/// those with a dot, which it takes for module parameters (`unknown_bootoption`,
/// init/main.c): hence the underscore.
pub const CMDLINE_KEY: &str = "bulkhead_timer";

/// Size of the register page in bytes.
pub const PAGE_SIZE: usize = 4096;

/// Offset of the milestone register: a 32-bit store of a [`Milestone`].
pub const MILESTONE: usize = 0;

/// Offset of the power-off register: a 32-bit store of an encoded [`PowerOff`]
/// ends the machine.
pub const POWER_OFF: usize = 4;

/// What the guest has reached. The monitor stamps the host's clock on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Milestone {
    /// The kernel has started PID 1.
    KernelDone = 1,
    /// PID 1 has prepared what does not depend on the workload.
    AgentReady = 2,
    /// The workload has been exec'ed.
    WorkloadExec = 3,
    /// PID 1 has seen the workload's exit.
    WorkloadExit = 4,
    /// PID 1 of a machine that was saved has made itself its own.
    Refreshed = 5,
}

impl Milestone {
    /// The milestone with this register value.
    #[must_use]
    pub fn from_register(value: u32) -> Option<Self> {
        [
            Self::KernelDone,
            Self::AgentReady,
            Self::WorkloadExec,
            Self::WorkloadExit,
            Self::Refreshed,
        ]
        .into_iter()
        .find(|milestone| *milestone as u32 == value)
    }
}

/// Why the guest ends the machine: a reason in the low byte, a detail above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerOff {
    /// The session is over.
    Done,
    /// PID 1 panicked on this line of its source.
    Panicked {
        /// Line number, modulo 2^24.
        line: u32,
    },
    /// PID 1 could not prepare the machine.
    Failed {
        /// Which step, as [`BootStep`].
        step: BootStep,
        /// What the kernel said.
        errno: i32,
    },
    /// A value this version does not know.
    Unknown(u32),
}

/// The steps PID 1 takes before it can report to the host over its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum BootStep {
    /// Mounting the tmpfs that holds the writable layer.
    Scratch = 1,
    /// Making the socket for the session.
    Socket = 2,
    /// Connecting to the host.
    Connect = 3,
    /// Mounting the overlay over the image.
    Overlay = 4,
    /// Making the overlay the root directory.
    PivotRoot = 5,
    /// Making a pid namespace for the workload.
    PidNamespace = 6,
    /// Waiting for events.
    Poll = 7,
    /// The host speaks another version of the protocol.
    Version = 8,
    /// The host sent something that is not the protocol.
    Protocol = 9,
    /// Bringing up the loopback interface.
    Loopback = 10,
    /// Becoming a machine of its own, when it goes on from a snapshot.
    Refresh = 11,
}

impl BootStep {
    const ALL: [Self; 11] = [
        Self::Scratch,
        Self::Socket,
        Self::Connect,
        Self::Overlay,
        Self::PivotRoot,
        Self::PidNamespace,
        Self::Poll,
        Self::Version,
        Self::Protocol,
        Self::Loopback,
        Self::Refresh,
    ];

    /// What was being done, as a phrase for an error message.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scratch => "mounting a tmpfs for the writable layer",
            Self::Socket => "making a vsock socket",
            Self::Connect => "connecting to the host over vsock",
            Self::Overlay => "mounting the overlay over the image",
            Self::PivotRoot => "entering the root filesystem",
            Self::PidNamespace => "making a pid namespace",
            Self::Poll => "waiting for events",
            Self::Version => "agreeing with the host on a protocol version",
            Self::Protocol => "understanding the host",
            Self::Refresh => "taking up fresh randomness and the host's time",
            Self::Loopback => "bringing up the loopback interface",
        }
    }
}

impl PowerOff {
    const DONE: u32 = 0;
    const PANICKED: u32 = 1;
    const FAILED: u32 = 2;

    /// The value for the power-off register.
    #[must_use]
    pub fn to_register(self) -> u32 {
        match self {
            Self::Done => Self::DONE,
            Self::Panicked { line } => Self::PANICKED | line << 8,
            Self::Failed { step, errno } => {
                let errno = u32::from(u16::try_from(errno).unwrap_or(0));
                Self::FAILED | (step as u32) << 8 | errno << 16
            }
            Self::Unknown(value) => value,
        }
    }

    /// Understands a store to the power-off register; the guest may have
    /// written anything.
    #[must_use]
    pub fn from_register(value: u32) -> Self {
        match value & 0xff {
            Self::DONE if value == 0 => Self::Done,
            Self::PANICKED => Self::Panicked { line: value >> 8 },
            Self::FAILED => {
                let wanted = value >> 8 & 0xff;
                let errno = i32::from(u16::try_from(value >> 16).unwrap_or(0));
                BootStep::ALL
                    .into_iter()
                    .find(|step| *step as u32 == wanted)
                    .map_or(Self::Unknown(value), |step| Self::Failed { step, errno })
            }
            _ => Self::Unknown(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_off_survives_the_register() {
        for reason in [
            PowerOff::Done,
            PowerOff::Panicked { line: 4711 },
            PowerOff::Failed { step: BootStep::Connect, errno: libc::ECONNRESET },
            PowerOff::Unknown(0xffff_ffff),
        ] {
            assert_eq!(PowerOff::from_register(reason.to_register()), reason);
        }
        for step in BootStep::ALL {
            let reason = PowerOff::Failed { step, errno: 1 };
            assert_eq!(PowerOff::from_register(reason.to_register()), reason);
        }
    }

    #[test]
    fn nonsense_in_the_registers_is_unknown() {
        assert_eq!(Milestone::from_register(0), None);
        assert_eq!(Milestone::from_register(3), Some(Milestone::WorkloadExec));
        assert_eq!(PowerOff::from_register(0xff02), PowerOff::Unknown(0xff02));
        assert_eq!(PowerOff::from_register(0x100), PowerOff::Unknown(0x100));
    }
}
