//! The first screen as one table: a row for each wall, a column for each
//! question, so that a reader sees what each costs and what it buys in one look.

use std::ops::Range;

use crate::overview::{Answer, Question};
use crate::units::NO_FIGURE;

/// The table.
#[derive(Debug, Clone, Default)]
pub struct Glance {
    /// Title and explanation of each column, and whether it begins what is bought.
    pub columns: Vec<Column>,
    /// How many of the columns are costs.
    pub costs: usize,
    /// How many are not.
    pub buys: usize,
    /// The walls.
    pub rows: Vec<Row>,
}

/// One question.
#[derive(Debug, Clone)]
pub struct Column {
    /// Two words.
    pub title: &'static str,
    /// What the figures are.
    pub about: String,
    /// The first column of what a wall buys: a line is drawn before it.
    pub turns: bool,
}

/// One wall.
#[derive(Debug, Clone)]
pub struct Row {
    /// Chooses the colour.
    pub series: usize,
    /// The runtime.
    pub label: String,
    /// An answer to each question, where there is one, and whether a line is
    /// drawn before it.
    pub answers: Vec<(Option<Answer>, bool)>,
}

/// Half of the table where there is no room for intervals: figures alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    /// What the half is about.
    pub title: &'static str,
    /// The questions.
    pub columns: Vec<&'static str>,
    /// Colour, name and figures of each wall.
    pub rows: Vec<(usize, String, Vec<String>)>,
}

impl Glance {
    /// What the walls cost, and what they buy, as far as either was measured.
    pub fn briefs(&self) -> Vec<Brief> {
        let halves = [("It costs", 0..self.costs), ("It buys", self.costs..self.columns.len())];
        let halves = halves.into_iter().filter(|(_, columns)| !columns.is_empty());
        let figure = |answer: &Option<Answer>| {
            answer.as_ref().map_or(NO_FIGURE.to_owned(), |answer| answer.figure.value.clone())
        };
        let brief = |(title, half): (&'static str, Range<usize>)| Brief {
            title,
            columns: self.columns[half.clone()].iter().map(|column| column.title).collect(),
            rows: (self.rows.iter())
                .map(|row| {
                    let answers = row.answers[half.clone()].iter();
                    let figures = answers.map(|(answer, _)| figure(answer)).collect();
                    (row.series, row.label.clone(), figures)
                })
                .collect(),
        };
        halves.map(brief).collect()
    }
}

/// The answers, the other way round.
pub fn glance(questions: &[Question]) -> Glance {
    let costs = questions.iter().filter(|question| !question.buys).count();
    let turns = |index: usize| index == costs && costs > 0;
    let columns = questions.iter().enumerate().map(|(index, question)| Column {
        title: question.title,
        about: question.about.clone(),
        turns: turns(index),
    });
    let mut walls: Vec<(usize, usize, &str)> = questions
        .iter()
        .flat_map(|question| &question.answers)
        .map(|answer| (answer.place, answer.series, answer.label.as_str()))
        .collect();
    walls.sort_unstable();
    walls.dedup();
    let rows = walls.into_iter().map(|(place, series, label)| Row {
        series,
        label: label.to_owned(),
        answers: questions
            .iter()
            .enumerate()
            .map(|(index, question)| {
                let answer = question.answers.iter().find(|answer| answer.place == place);
                (answer.cloned(), turns(index))
            })
            .collect(),
    });
    Glance {
        columns: columns.collect(),
        costs,
        buys: questions.len() - costs,
        rows: rows.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overview::questions;
    use crate::sample;
    use crate::view::View;

    #[test]
    fn every_wall_is_a_row_with_every_answer_in_its_column() {
        let mut results = sample::rich();
        results.surfaces.retain(|surface| surface.runtime != "runsc");
        let questions = questions(&View::new(&results));
        let shown = glance(&questions);
        assert_eq!((shown.costs, shown.buys, shown.rows.len()), (4, 2, 8));
        assert!(shown.rows.iter().all(|row| row.answers.len() == shown.columns.len()));
        let turns: Vec<bool> = shown.columns.iter().map(|column| column.turns).collect();
        assert_eq!(turns, [false, false, false, false, true, false]);
        let runsc = &shown.rows[5];
        assert_eq!(runsc.label, "runsc");
        assert!(runsc.answers[5].0.is_none() && runsc.answers[4].0.is_some());
        let briefs = shown.briefs();
        assert_eq!((briefs.len(), briefs[0].columns.len(), briefs[1].columns.len()), (2, 4, 2));
        assert_eq!(briefs[1].rows[5].2, ["1 of 17", NO_FIGURE]);
    }
}
