//! The filters that look at arguments, compiled by seccompiler.
//!
//! Each says "this action if the arguments are so, otherwise allow", so that
//! they can be stacked on the filter that decides by number. A call that is
//! allowed under a condition therefore appears here with the opposite.

use std::collections::BTreeMap;

use libc::sock_filter;
use oci_spec::runtime::{LinuxSeccompArg, LinuxSeccompOperator as Operator};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Compare,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::SeccompError;

/// One comparison of an argument with a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    argument: u8,
    compare: Compare,
    value: u64,
}

/// Conditions that must all hold.
pub(super) type Conjunction = Vec<Condition>;

/// System calls have six arguments.
const ARGUMENTS: usize = 6;

/// Most rules one call may need; the default profile needs a dozen.
const MAX_RULES: usize = 256;

/// The conditions of a rule of a profile.
pub(super) fn conjunction(
    syscall: &str,
    args: &[LinuxSeccompArg],
) -> Result<Conjunction, SeccompError> {
    args.iter()
        .map(|arg| {
            let index = arg.index();
            let argument = u8::try_from(index)
                .ok()
                .filter(|_| index < ARGUMENTS)
                .ok_or_else(|| SeccompError::Argument { syscall: syscall.to_owned(), index })?;
            let plain = |compare| Ok((compare, arg.value()));
            let (compare, value) = match arg.op() {
                Operator::ScmpCmpNe => plain(Compare::Ne),
                Operator::ScmpCmpLt => plain(Compare::Lt),
                Operator::ScmpCmpLe => plain(Compare::Le),
                Operator::ScmpCmpEq => plain(Compare::Eq),
                Operator::ScmpCmpGe => plain(Compare::Ge),
                Operator::ScmpCmpGt => plain(Compare::Gt),
                // The spec has the mask in `value`, what to compare with after it.
                Operator::ScmpCmpMaskedEq => arg
                    .value_two()
                    .map(|value| (Compare::MaskedEq(arg.value()), value))
                    .ok_or_else(|| SeccompError::MaskWithoutValue(syscall.to_owned())),
            }?;
            Ok(Condition { argument, compare, value })
        })
        .collect()
}

/// What holds exactly when none of `conjunctions` does, as alternatives again.
pub(super) fn negate<'a>(
    conjunctions: impl Iterator<Item = &'a Conjunction>,
    number: u32,
) -> Result<Vec<Conjunction>, SeccompError> {
    let mut alternatives: Vec<Conjunction> = vec![Vec::new()];
    for conjunction in conjunctions {
        let opposites: Vec<Condition> =
            conjunction.iter().flat_map(Condition::opposites).collect();
        // One of the opposites must hold in addition to what did so far.
        alternatives = alternatives
            .iter()
            .flat_map(|so_far| {
                opposites.iter().map(move |opposite| {
                    let mut longer = so_far.clone();
                    longer.push(opposite.clone());
                    longer
                })
            })
            .collect();
        if alternatives.len() > MAX_RULES {
            return Err(SeccompError::TooComplex(number));
        }
    }
    Ok(alternatives)
}

impl Condition {
    /// Conditions of which at least one holds exactly when this does not.
    fn opposites(&self) -> Vec<Self> {
        let same = |compare| vec![Self { compare, ..self.clone() }];
        match self.compare {
            Compare::Eq => same(Compare::Ne),
            Compare::Ne => same(Compare::Eq),
            Compare::Lt => same(Compare::Ge),
            Compare::Ge => same(Compare::Lt),
            Compare::Le => same(Compare::Gt),
            Compare::Gt => same(Compare::Le),
            // Masked bits differ if any one of them does. A value with bits
            // outside the mask is never equal.
            Compare::MaskedEq(mask) if self.value & !mask != 0 => {
                vec![Self { compare: Compare::MaskedEq(0), value: 0, ..self.clone() }]
            }
            Compare::MaskedEq(mask) => (0..u64::BITS)
                .map(|bit| 1 << bit)
                .filter(|bit| mask & bit != 0)
                .map(|bit| Self {
                    compare: Compare::MaskedEq(bit),
                    value: !self.value & bit,
                    ..self.clone()
                })
                .collect(),
        }
    }
}

/// The rules so far, by what they lead to.
#[derive(Debug, Default)]
pub(super) struct Filters(Vec<(SeccompAction, BTreeMap<i64, Vec<Conjunction>>)>);

impl Filters {
    /// `action` for call `number` when one of `alternatives` holds.
    pub(super) fn add(
        &mut self,
        action: &SeccompAction,
        number: u32,
        alternatives: Vec<Conjunction>,
    ) {
        if alternatives.is_empty() {
            return;
        }
        let index = self.0.iter().position(|(seen, _)| seen == action).unwrap_or_else(|| {
            self.0.push((action.clone(), BTreeMap::new()));
            self.0.len() - 1
        });
        self.0[index].1.entry(i64::from(number)).or_default().extend(alternatives);
    }

    /// A program per action.
    pub(super) fn compile(self) -> Result<Vec<Vec<sock_filter>>, SeccompError> {
        self.0.into_iter().map(|(action, rules)| compile(action, rules)).collect()
    }
}

fn compile(
    action: SeccompAction,
    rules: BTreeMap<i64, Vec<Conjunction>>,
) -> Result<Vec<sock_filter>, SeccompError> {
    let mut compiled = BTreeMap::new();
    for (number, alternatives) in rules {
        let mut chain = Vec::with_capacity(alternatives.len());
        for conjunction in alternatives {
            let conditions = conjunction
                .into_iter()
                .map(|c| SeccompCondition::new(c.argument, Length::Qword, c.compare, c.value))
                .collect::<Result<Vec<_>, _>>()?;
            chain.push(SeccompRule::new(conditions)?);
        }
        compiled.insert(number, chain);
    }
    let filter =
        SeccompFilter::new(compiled, SeccompAction::Allow, action, TargetArch::x86_64)?;
    let program = BpfProgram::try_from(filter)?;
    Ok(program
        .into_iter()
        .map(|i| sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k })
        .collect())
}
