use super::*;
use oci_spec::runtime::{LinuxSeccompArgBuilder, LinuxSeccompOperator as Operator};
use proptest::prelude::*;

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const X86_64: u32 = 0xc000_003e;

/// Runs a classic BPF program on `struct seccomp_data`.
fn answer(program: &[sock_filter], arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut words = vec![number, arch, 0, 0];
    for arg in args {
        words.push(u32::try_from(arg & 0xffff_ffff).unwrap());
        words.push(u32::try_from(arg >> 32).unwrap());
    }
    let (mut at, mut accumulator) = (0_usize, 0_u32);
    loop {
        let i = program[at];
        at += 1;
        let branch = |holds| usize::from(if holds { i.jt } else { i.jf });
        match i.code {
            0x20 => accumulator = words[usize::try_from(i.k).unwrap() / 4],
            0x54 => accumulator &= i.k,
            0x05 => at += usize::try_from(i.k).unwrap(),
            0x15 => at += branch(accumulator == i.k),
            0x25 => at += branch(accumulator > i.k),
            0x35 => at += branch(accumulator >= i.k),
            0x06 => return i.k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// What the kernel does with a stack of filters: the strictest answer, and of
/// equally strict ones that of the filter installed last.
fn strictest(compiled: &Compiled, number: u32, args: [u64; 6]) -> u32 {
    let answers = compiled.programs.iter().rev().map(|p| answer(p, X86_64, number, args));
    answers
        .reduce(|kept, next| {
            let rank = |answer: u32| (answer & 0xffff_0000).cast_signed();
            if rank(next) < rank(kept) { next } else { kept }
        })
        .unwrap()
}

fn decide(name: &str, args: [u64; 6]) -> u32 {
    strictest(&compile(&default_profile()).unwrap(), syscalls::number(name).unwrap(), args)
}

#[test]
fn ordinary_calls_are_allowed_and_others_fail() {
    for name in ["read", "execve", "exit_group", "openat", "futex", "mknod", "chroot"] {
        assert_eq!(decide(name, [0; 6]), ALLOW, "{name}");
    }
    let eperm = ERRNO | libc::EPERM.cast_unsigned();
    for name in ["mount", "bpf", "keyctl", "init_module", "unshare", "io_uring_setup", "reboot"]
    {
        assert_eq!(decide(name, [0; 6]), eperm, "{name}");
    }
    let compiled = compile(&default_profile()).unwrap();
    assert_eq!(strictest(&compiled, 1000, [0; 6]), eperm);
}

#[test]
fn arguments_decide_where_the_profile_says_so() {
    let eperm = ERRNO | libc::EPERM.cast_unsigned();
    assert_eq!(decide("clone", [0x11, 0, 0, 0, 0, 0]), ALLOW);
    for bit in [0x1000_0000, 0x2_0000, 0x4000_0000] {
        assert_eq!(decide("clone", [0x11 | bit, 0, 0, 0, 0, 0]), eperm);
    }
    assert_eq!(decide("clone3", [0; 6]), ERRNO | libc::ENOSYS.cast_unsigned());
    assert_eq!(decide("personality", [0xffff_ffff, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(decide("personality", [0x4_0000, 0, 0, 0, 0, 0]), eperm);
    for (family, expected) in [
        (1, ALLOW),
        (2, ALLOW),
        (16, ALLOW),
        (38, eperm),
        (39, ALLOW),
        (40, eperm),
        (44, ALLOW),
    ] {
        assert_eq!(decide("socket", [family, 0, 0, 0, 0, 0]), expected, "{family}");
    }
    // The kernel looks at 32 bits of it.
    assert_eq!(decide("socket", [0x1_0000_0028, 0, 0, 0, 0, 0]), eperm);
}

#[test]
fn other_interfaces_of_the_kernel_are_closed() {
    let compiled = compile(&default_profile()).unwrap();
    assert_eq!(answer(&compiled.programs[0], 0x4000_0003, 1, [0; 6]), KILL_PROCESS);
    let x32_read = 0x4000_0000;
    assert_eq!(strictest(&compiled, x32_read, [0; 6]), ERRNO | libc::ENOSYS.cast_unsigned());
}

#[test]
fn capabilities_open_their_calls() {
    let mut all = default_capabilities();
    all.insert(oci_spec::runtime::Capability::SysAdmin);
    let compiled = compile(&profile_for(&all)).unwrap();
    for name in ["mount", "clone3", "unshare"] {
        assert_eq!(
            strictest(&compiled, syscalls::number(name).unwrap(), [0; 6]),
            ALLOW,
            "{name}"
        );
    }
}

#[test]
fn every_name_of_the_profile_is_a_call() {
    for rule in default_profile().syscalls().iter().flatten() {
        for name in rule.names() {
            assert!(syscalls::number(name).is_some(), "{name}");
        }
    }
}

#[test]
fn what_would_need_a_supervisor_is_refused() {
    let mut profile = default_profile();
    profile.set_default_action(Action::ScmpActNotify);
    assert!(matches!(compile(&profile), Err(SeccompError::Action(_))));
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn the_kernel_takes_the_default_filters() {
    for program in compile(&default_profile()).unwrap().programs {
        // In a thread of its own: a filter cannot be taken off again.
        let installed = std::thread::spawn(move || crate::sys::seccomp(0, &program));
        assert_eq!(installed.join().unwrap(), Ok(()));
    }
}

fn operator() -> impl Strategy<Value = Operator> {
    prop::sample::select(vec![
        Operator::ScmpCmpNe,
        Operator::ScmpCmpLt,
        Operator::ScmpCmpLe,
        Operator::ScmpCmpEq,
        Operator::ScmpCmpGe,
        Operator::ScmpCmpGt,
        Operator::ScmpCmpMaskedEq,
    ])
}

fn holds(op: Operator, arg: u64, value: u64, second: u64) -> bool {
    match op {
        Operator::ScmpCmpNe => arg != value,
        Operator::ScmpCmpLt => arg < value,
        Operator::ScmpCmpLe => arg <= value,
        Operator::ScmpCmpEq => arg == value,
        Operator::ScmpCmpGe => arg >= value,
        Operator::ScmpCmpGt => arg > value,
        Operator::ScmpCmpMaskedEq => arg & value == second,
    }
}

proptest! {
    /// A call that is allowed under a condition is allowed exactly then.
    #[test]
    fn conditions_mean_what_they_say(
        rules in prop::collection::vec(
            prop::collection::vec((0_usize..3, operator(), 0_u64..6, 0_u64..6), 1..3), 1..4),
        args in prop::array::uniform6(0_u64..7),
        high in any::<bool>(),
    ) {
        let shift = |value: u64| if high { value << 31 } else { value };
        let mut profile = default_profile();
        let mut listed = Vec::new();
        for rule in &rules {
            let mut call = LinuxSyscall::default();
            let args = rule.iter().map(|(index, op, value, second)| {
                LinuxSeccompArgBuilder::default().index(*index).op(*op).value(shift(*value))
                    .value_two(shift(*second)).build().unwrap()
            });
            call.set_names(vec!["ioctl".into()]).set_action(Action::ScmpActAllow)
                .set_args(Some(args.collect::<Vec<_>>()));
            listed.push(call);
        }
        profile.set_syscalls(Some(listed));
        let args = args.map(shift);
        let expected = rules.iter().any(|rule| rule.iter().all(|(index, op, value, second)| {
            holds(*op, args[*index], shift(*value), shift(*second))
        }));
        let number = syscalls::number("ioctl").unwrap();
        let compiled = compile(&profile).unwrap();
        prop_assert_eq!(strictest(&compiled, number, args) == ALLOW, expected);
    }
}
