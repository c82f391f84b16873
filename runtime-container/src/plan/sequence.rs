//! The steps of a container, told apart by when they can be taken.

use super::Step;

/// What of a container is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// What can be made before its process is known.
    Ahead,
    /// The rest, for the process that has made what is ahead.
    Rest,
}

/// When a step is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Before the process is known, where that is wanted.
    Ahead,
    /// With the process.
    Rest,
    /// With the process, unless something was made ahead.
    AtOnce,
}

/// The steps of a container in their order.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    steps: Vec<(When, Step)>,
}

impl Sequence {
    /// Adds steps that need no process.
    pub(super) fn ahead(&mut self, steps: impl IntoIterator<Item = Step>) {
        self.add(When::Ahead, steps);
    }

    /// Adds steps that wait for the process.
    pub(super) fn rest(&mut self, steps: impl IntoIterator<Item = Step>) {
        self.add(When::Rest, steps);
    }

    /// Adds steps that somebody else takes in the place of a process made ahead.
    pub(super) fn at_once(&mut self, steps: impl IntoIterator<Item = Step>) {
        self.add(When::AtOnce, steps);
    }

    fn add(&mut self, when: When, steps: impl IntoIterator<Item = Step>) {
        self.steps.extend(steps.into_iter().map(|step| (when, step)));
    }

    /// The steps of one part, in order.
    pub(super) fn part(self, part: Part) -> Vec<Step> {
        let wanted = |when: When| match part {
            Part::Whole => true,
            Part::Ahead => when == When::Ahead,
            Part::Rest => when == When::Rest,
        };
        let steps = self.steps.into_iter().filter(|(when, _)| wanted(*when));
        steps.map(|(_, step)| step).collect()
    }
}
