//! The steps of a container, told apart by when they can be taken.

use crate::step::Step;

/// What of a container is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// What can be made before its process is known: everything but the pid
    /// namespace and what belongs to it.
    Ahead,
    /// The rest, for a process that has entered what was made ahead.
    Rest,
}

/// The steps of a container in their order, each with whether it can be taken
/// before the process is known.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    steps: Vec<(bool, Step)>,
}

impl Sequence {
    /// Adds steps that need no process.
    pub(super) fn ahead(&mut self, steps: impl IntoIterator<Item = Step>) {
        self.steps.extend(steps.into_iter().map(|step| (true, step)));
    }

    /// Adds steps that wait for the process.
    pub(super) fn rest(&mut self, steps: impl IntoIterator<Item = Step>) {
        self.steps.extend(steps.into_iter().map(|step| (false, step)));
    }

    /// Adds steps that are told apart already.
    pub(super) fn extend(&mut self, steps: impl IntoIterator<Item = (bool, Step)>) {
        self.steps.extend(steps);
    }

    /// The steps of one part, in order.
    pub(super) fn part(self, part: Part) -> Vec<Step> {
        let wanted = |ahead: bool| match part {
            Part::Whole => true,
            Part::Ahead => ahead,
            Part::Rest => !ahead,
        };
        let steps = self.steps.into_iter().filter(|(ahead, _)| wanted(*ahead));
        steps.map(|(_, step)| step).collect()
    }
}
