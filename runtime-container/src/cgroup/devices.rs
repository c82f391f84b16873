//! Which device nodes a container may create and open: nothing but the
//! harmless ones, unless the spec says more.
//!
//! Version 1 has files for it. On version 2 the rules are a small BPF program
//! attached to the cgroup, which the kernel runs at each `mknod` and `open`.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, LinuxResources};

use super::CgroupError;
use crate::sys;

/// `BPF_DEVCG_ACC_*` (linux/bpf.h).
const MKNOD: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;
const ALL: u8 = MKNOD | READ | WRITE;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Block,
    Char,
}

/// One rule; later ones win. `None` is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub allow: bool,
    pub kind: Option<Kind>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: u8,
}

/// What every container may use, as runc and docker have it: make any node,
/// use only these (Documentation/admin-guide/devices.txt).
const ALWAYS: [(u32, Option<u32>); 8] = [
    (1, Some(3)), // null
    (1, Some(5)), // zero
    (1, Some(7)), // full
    (1, Some(8)), // random
    (1, Some(9)), // urandom
    (5, Some(0)), // tty
    (5, Some(2)), // ptmx
    (136, None),  // pseudo terminals
];

const DENY_ALL: Rule = Rule { allow: false, kind: None, major: None, minor: None, access: ALL };

/// The rules for a container: everything denied, what the spec says, and what
/// every container may use.
pub(super) fn rules(limits: &LinuxResources) -> Result<Vec<Rule>, CgroupError> {
    let mut rules = vec![DENY_ALL];
    for given in limits.devices().iter().flatten() {
        rules.extend(from_spec(given)?);
    }
    for kind in [Kind::Char, Kind::Block] {
        let any =
            Rule { allow: true, kind: Some(kind), major: None, minor: None, access: MKNOD };
        rules.push(any);
    }
    rules.extend(ALWAYS.iter().map(|(major, minor)| Rule {
        allow: true,
        kind: Some(Kind::Char),
        major: Some(*major),
        minor: *minor,
        access: ALL,
    }));
    // What comes before a rule that decides everything decides nothing.
    let last = rules.iter().rposition(Rule::is_total).unwrap_or(0);
    Ok(rules.split_off(last))
}

fn from_spec(given: &LinuxDeviceCgroup) -> Result<Vec<Rule>, CgroupError> {
    let number = |number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number)
            .map(Some)
            .map_err(|_| CgroupError::DeviceRule(format!("device number {number}"))),
    };
    let mut access = 0;
    for letter in given.access().as_deref().unwrap_or("rwm").chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            _ => return Err(CgroupError::DeviceRule(format!("access `{letter}`"))),
        };
    }
    let (major, minor) = (number(given.major())?, number(given.minor())?);
    let rule = |kind| Rule { allow: given.allow(), kind, major, minor, access };
    Ok(match given.typ().unwrap_or_default() {
        LinuxDeviceType::B => vec![rule(Some(Kind::Block))],
        LinuxDeviceType::C | LinuxDeviceType::U => vec![rule(Some(Kind::Char))],
        LinuxDeviceType::A if rule(None).is_total() => vec![rule(None)],
        // Version 1 takes `a` as everything, whatever follows it.
        LinuxDeviceType::A => vec![rule(Some(Kind::Block)), rule(Some(Kind::Char))],
        LinuxDeviceType::P => {
            return Err(CgroupError::DeviceRule("a FIFO is not a device".into()));
        }
    })
}

impl Rule {
    fn is_total(&self) -> bool {
        self.kind.is_none()
            && self.major.is_none()
            && self.minor.is_none()
            && self.access == ALL
    }
}

/// As `devices.allow` and `devices.deny` take it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            None => return f.write_str("a"),
            Some(Kind::Block) => 'b',
            Some(Kind::Char) => 'c',
        };
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |n| n.to_string());
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        for (bit, letter) in [(READ, "r"), (WRITE, "w"), (MKNOD, "m")] {
            if self.access & bit != 0 {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// `struct bpf_insn` (linux/bpf.h).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Insn {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

// Instruction codes: class, operation and source of linux/bpf_common.h and
// linux/bpf.h put together.
const LOAD_WORD: u8 = 0x61; // LDX | MEM | W
const AND32: u8 = 0x54; // ALU | AND | K
const SHIFT_RIGHT32: u8 = 0x74; // ALU | RSH | K
const COPY32: u8 = 0xbc; // ALU | MOV | X
const SET64: u8 = 0xb7; // ALU64 | MOV | K
const SKIP_IF_EQUAL: u8 = 0x16; // JMP32 | JEQ | K
const SKIP_UNLESS_EQUAL: u8 = 0x56; // JMP32 | JNE | K
const EXIT: u8 = 0x95; // JMP | EXIT

// Registers; r1 is the context, then scratch.
const RESULT: u8 = 0;
const SCRATCH: u8 = 1;
const ACCESS: u8 = 2;
const KIND: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

fn insn(code: u8, destination: u8, offset: i16, immediate: u32) -> Insn {
    Insn { code, registers: destination, offset, immediate: immediate.cast_signed() }
}

fn from_register(mut insn: Insn, source: u8) -> Insn {
    insn.registers |= source << 4;
    insn
}

/// The rules as a program: the last that matches decides.
fn program(rules: &[Rule]) -> Vec<Insn> {
    // `struct bpf_cgroup_dev_ctx`: access << 16 | kind, major, minor.
    let mut program = vec![
        from_register(insn(LOAD_WORD, ACCESS, 0, 0), SCRATCH),
        from_register(insn(LOAD_WORD, MAJOR, 4, 0), SCRATCH),
        from_register(insn(LOAD_WORD, MINOR, 8, 0), SCRATCH),
        from_register(insn(COPY32, KIND, 0, 0), ACCESS),
        insn(AND32, KIND, 0, 0xffff),
        insn(SHIFT_RIGHT32, ACCESS, 0, 16),
    ];
    for rule in rules.iter().rev() {
        let conditions = conditions(rule);
        let length = conditions.len();
        for (index, mut condition) in conditions.into_iter().enumerate() {
            if matches!(condition.code, SKIP_IF_EQUAL | SKIP_UNLESS_EQUAL) {
                // Past the remaining conditions and the two that return.
                condition.offset = i16::try_from(length - index - 1 + 2).unwrap_or(i16::MAX);
            }
            program.push(condition);
        }
        program.push(insn(SET64, RESULT, 0, u32::from(rule.allow)));
        program.push(insn(EXIT, 0, 0, 0));
        if length == 0 {
            // The kernel refuses a program with instructions nothing leads to.
            return program;
        }
    }
    program.push(insn(SET64, RESULT, 0, 0));
    program.push(insn(EXIT, 0, 0, 0));
    program
}

fn conditions(rule: &Rule) -> Vec<Insn> {
    let mut conditions = Vec::new();
    if let Some(kind) = rule.kind {
        // BPF_DEVCG_DEV_BLOCK and BPF_DEVCG_DEV_CHAR.
        let number = if kind == Kind::Block { 1 } else { 2 };
        conditions.push(insn(SKIP_UNLESS_EQUAL, KIND, 0, number));
    }
    for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        if let Some(number) = number {
            conditions.push(insn(SKIP_UNLESS_EQUAL, register, 0, number));
        }
    }
    if rule.access != ALL {
        conditions.push(from_register(insn(COPY32, SCRATCH, 0, 0), ACCESS));
        if rule.allow {
            // Allowed only if nothing beyond it is asked for.
            conditions.push(insn(AND32, SCRATCH, 0, u32::from(!rule.access & ALL)));
            conditions.push(insn(SKIP_UNLESS_EQUAL, SCRATCH, 0, 0));
        } else {
            conditions.push(insn(AND32, SCRATCH, 0, u32::from(rule.access)));
            conditions.push(insn(SKIP_IF_EQUAL, SCRATCH, 0, 0));
        }
    }
    conditions
}

// linux/bpf.h
const BPF_PROG_LOAD: usize = 5;
const BPF_PROG_ATTACH: usize = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`; the rest counts as zero.
#[repr(C)]
struct LoadAttr {
    program_type: u32,
    length: u32,
    program: u64,
    license: u64,
}

/// `union bpf_attr` for `BPF_PROG_ATTACH`.
#[repr(C)]
struct AttachAttr {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Attaches the rules to the version 2 cgroup that is open as `cgroup`. They
/// go with it.
pub(super) fn guard(cgroup: &File, rules: &[Rule]) -> Result<(), CgroupError> {
    match load(&program(rules)).and_then(|program| attach(cgroup, &program)) {
        // Loading takes privilege over the host. Without it the container is in
        // a user namespace, where no device node can be made or opened.
        Err(error)
            if error.kind() == io::ErrorKind::PermissionDenied
                && !rustix::process::geteuid().is_root() =>
        {
            Ok(())
        }
        other => other.map_err(CgroupError::DeviceProgram),
    }
}

fn load(program: &[Insn]) -> io::Result<OwnedFd> {
    let attr = LoadAttr {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        length: u32::try_from(program.len()).unwrap_or(u32::MAX),
        program: program.as_ptr().addr() as u64,
        license: c"".as_ptr().addr() as u64,
    };
    let address = std::ptr::from_ref(&attr).addr();
    let args = [BPF_PROG_LOAD, address, size_of::<LoadAttr>(), 0, 0, 0];
    // SAFETY: the attributes have the kernel's layout and point to a program of
    // the given length and a terminated string, which it only reads.
    let fd = unsafe { sys::syscall(libc::SYS_bpf, args) }?;
    let fd = i32::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn attach(cgroup: &File, program: &OwnedFd) -> io::Result<()> {
    let attr = AttachAttr {
        target: cgroup.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    let address = std::ptr::from_ref(&attr).addr();
    let args = [BPF_PROG_ATTACH, address, size_of::<AttachAttr>(), 0, 0, 0];
    // SAFETY: the attributes have the kernel's layout.
    unsafe { sys::syscall(libc::SYS_bpf, args) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{LinuxDeviceCgroupBuilder, LinuxResourcesBuilder};

    /// What the program decides, by a reading of the instructions it uses.
    fn decides(program: &[Insn], kind: Kind, major: u32, minor: u32, access: u8) -> bool {
        let kind = if kind == Kind::Block { 1 } else { 2 };
        let context = [u32::from(access) << 16 | kind, major, minor];
        let mut registers = [0_u32; 6];
        let mut at = 0;
        loop {
            let Insn { code, registers: both, offset, immediate } = program[at];
            let (to, from) = (usize::from(both & 0xf), usize::from(both >> 4));
            let constant = immediate.cast_unsigned();
            at += 1;
            let skip = usize::try_from(offset).unwrap();
            match code {
                LOAD_WORD => registers[to] = context[skip / 4],
                COPY32 => registers[to] = registers[from],
                AND32 => registers[to] &= constant,
                SHIFT_RIGHT32 => registers[to] >>= constant,
                SET64 => registers[to] = constant,
                SKIP_IF_EQUAL if registers[to] == constant => at += skip,
                SKIP_UNLESS_EQUAL if registers[to] != constant => at += skip,
                EXIT => return registers[0] == 1,
                _ => {}
            }
        }
    }

    fn limits(rules: Vec<LinuxDeviceCgroup>) -> LinuxResources {
        LinuxResourcesBuilder::default().devices(rules).build().unwrap()
    }

    #[test]
    fn by_default_only_harmless_devices_open() {
        let program = program(&rules(&LinuxResources::default()).unwrap());
        assert!(decides(&program, Kind::Char, 1, 3, READ | WRITE));
        assert!(decides(&program, Kind::Char, 136, 9, READ | WRITE));
        assert!(decides(&program, Kind::Block, 8, 0, MKNOD));
        assert!(!decides(&program, Kind::Block, 8, 0, READ));
        assert!(!decides(&program, Kind::Char, 1, 1, READ));
        assert!(!decides(&program, Kind::Block, 1, 3, READ));
    }

    #[test]
    fn the_spec_can_add_a_device() {
        let deny = LinuxDeviceCgroupBuilder::default().allow(false).build().unwrap();
        let fuse = LinuxDeviceCgroupBuilder::default()
            .allow(true)
            .typ(LinuxDeviceType::C)
            .major(10)
            .minor(229)
            .access("rw")
            .build()
            .unwrap();
        let rules = rules(&limits(vec![deny, fuse])).unwrap();
        assert_eq!(rules.iter().filter(|rule| rule.is_total()).count(), 1);
        assert_eq!(rules[1].to_string(), "c 10:229 rw");
        let program = program(&rules);
        assert!(decides(&program, Kind::Char, 10, 229, READ));
        assert!(!decides(&program, Kind::Char, 10, 200, READ));
    }

    #[test]
    fn a_rule_for_everything_ends_the_program() {
        let all = LinuxDeviceCgroupBuilder::default().allow(true).build().unwrap();
        let rules = rules(&limits(vec![all])).unwrap();
        assert!(rules[0].is_total() && rules[0].allow);
        assert!(decides(&program(&rules), Kind::Block, 8, 0, ALL));
        assert_eq!(program(&[DENY_ALL]).len(), 8);
    }

    #[test]
    #[cfg_attr(not(can_sandbox), ignore = "needs root")]
    fn the_kernel_takes_the_program() {
        load(&program(&rules(&LinuxResources::default()).unwrap())).unwrap();
    }
}
