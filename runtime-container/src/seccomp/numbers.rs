//! The filter that decides by number alone: a binary search.
//!
//! seccompiler tests number after number. When a filter is installed the kernel
//! tries every system call on it to fill its bitmap, so a chain over the four
//! hundred calls of a profile costs a good part of a container's whole start;
//! neighbouring numbers with the same answer, searched by halves, do not.

use std::collections::BTreeMap;

use libc::sock_filter;
use seccompiler::SeccompAction;

// linux/bpf_common.h
const LOAD: u16 = 0x20; // LD | W | ABS
const IF_EQUAL: u16 = 0x15; // JMP | JEQ | K
const IF_AT_LEAST: u16 = 0x35; // JMP | JGE | K
const JUMP: u16 = 0x05; // JMP | JA
const RETURN: u16 = 0x06; // RET | K

// Offsets in `struct seccomp_data` (linux/seccomp.h).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// `AUDIT_ARCH_X86_64` (linux/audit.h).
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// Numbers from here on are the x32 interface's (`__X32_SYSCALL_BIT`,
/// asm/unistd.h), under which every call could be made a second time.
const X32: u32 = 0x4000_0000;

/// Numbers from `first` up to the next span have this answer.
#[derive(Debug, Clone, Copy)]
struct Span {
    first: u32,
    answer: u32,
}

/// The program for these answers; `default` for numbers that have none.
pub(super) fn program(
    answers: &BTreeMap<u32, SeccompAction>,
    default: &SeccompAction,
) -> Vec<sock_filter> {
    let mut program = vec![
        instruction(LOAD, 0, 0, ARCHITECTURE),
        instruction(IF_EQUAL, 1, 0, AUDIT_ARCH_X86_64),
        instruction(RETURN, 0, 0, SeccompAction::KillProcess.into()),
        instruction(LOAD, 0, 0, NUMBER),
    ];
    program.extend(search(&spans(answers, default)));
    program
}

fn spans(answers: &BTreeMap<u32, SeccompAction>, default: &SeccompAction) -> Vec<Span> {
    let default = u32::from(default.clone());
    let no_such_call = u32::from(SeccompAction::Errno(libc::ENOSYS.cast_unsigned()));
    let mut spans = vec![Span { first: 0, answer: default }];
    let mut add = |first, answer| match spans.last_mut() {
        Some(last) if last.answer == answer => {}
        Some(last) if last.first == first => last.answer = answer,
        _ => spans.push(Span { first, answer }),
    };
    let mut next = 0;
    for (number, action) in answers {
        if *number > next {
            add(next, default);
        }
        add(*number, action.clone().into());
        next = number + 1;
    }
    add(next, default);
    add(X32, no_such_call);
    spans
}

/// Instructions that return the answer of the span the number is in.
fn search(spans: &[Span]) -> Vec<sock_filter> {
    if let [span] = spans {
        return vec![instruction(RETURN, 0, 0, span.answer)];
    }
    let (below, above) = spans.split_at(spans.len() / 2);
    let boundary = above.first().map_or(u32::MAX, |span| span.first);
    let below = search(below);
    let mut code = match u8::try_from(below.len()) {
        Ok(length) => vec![instruction(IF_AT_LEAST, length, 0, boundary)],
        // Further than a conditional jump reaches.
        Err(_) => vec![
            instruction(IF_AT_LEAST, 0, 1, boundary),
            instruction(JUMP, 0, 0, u32::try_from(below.len()).unwrap_or(u32::MAX)),
        ],
    };
    code.extend(below);
    code.extend(search(above));
    code
}

fn instruction(code: u16, if_true: u8, if_false: u8, constant: u32) -> sock_filter {
    sock_filter { code, jt: if_true, jf: if_false, k: constant }
}
