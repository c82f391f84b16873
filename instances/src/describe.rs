//! Instances in words, as docker puts them.

use std::time::Duration;

use crate::health::HealthStatus;
use crate::{Instance, Status, Timestamp};

/// About how long that is.
#[must_use]
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours <= 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 14 => format!("{} days", hours / 24),
        () if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

/// What an instance is now, and since when.
#[must_use]
pub fn status(instance: &Instance, now: Timestamp) -> String {
    let state = &instance.state;
    let since = |at: Option<Timestamp>| time(at.map_or(Duration::ZERO, |at| at.age(now)));
    let code = state.exit_code.unwrap_or_default();
    match instance.status() {
        Status::Created => "Created".to_owned(),
        Status::Starting => "Starting".to_owned(),
        Status::Running => match state.health.unwrap_or_default() {
            HealthStatus::None => format!("Up {}", since(state.started)),
            HealthStatus::Starting => {
                format!("Up {} (health: starting)", since(state.started))
            }
            health => format!("Up {} ({})", since(state.started), health.as_str()),
        },
        Status::Paused => format!("Up {} (Paused)", since(state.started)),
        Status::Restarting => format!("Restarting ({code}) {} ago", since(state.finished)),
        Status::Exited => format!("Exited ({code}) {} ago", since(state.finished)),
        Status::Dead => "Dead".to_owned(),
    }
}

/// Rows with their columns one below the other.
#[must_use]
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width =
        |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 3));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_put_as_docker_does() {
        let text = |seconds| time(Duration::from_secs(seconds));
        assert_eq!(text(0), "Less than a second");
        assert_eq!(text(1), "1 second");
        assert_eq!(text(59), "59 seconds");
        assert_eq!(text(61), "About a minute");
        assert_eq!(text(3599), "59 minutes");
        assert_eq!(text(3600), "About an hour");
        assert_eq!(text(2 * 3600), "2 hours");
        assert_eq!(text(3 * 86_400), "3 days");
        assert_eq!(text(15 * 86_400), "2 weeks");
    }

    #[test]
    fn columns_are_as_wide_as_they_have_to_be() {
        let rows = [["A", "B"], ["longer", "x"]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "A        B\nlonger   x\n");
    }
}
