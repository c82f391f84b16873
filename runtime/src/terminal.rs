//! The size of a terminal.

use oci_spec::runtime::{Box as ConsoleSize, BoxBuilder, Process};
use serde::{Deserialize, Serialize};

/// How much a terminal shows, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

impl Default for TerminalSize {
    /// What a terminal shows of which nobody says more.
    fn default() -> Self {
        Self { columns: 80, rows: 24 }
    }
}

impl TerminalSize {
    /// Of the terminal that `process` is to have (runtime-spec, "consoleSize").
    #[must_use]
    pub fn of_console(process: &Process) -> Self {
        let size = |size: &ConsoleSize| {
            let number = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
            Self { columns: number(size.width()), rows: number(size.height()) }
        };
        process.console_size().as_ref().map_or_else(Self::default, size)
    }

    /// As the runtime-spec has it.
    #[must_use]
    pub fn to_console(self) -> Option<ConsoleSize> {
        let (width, height) = (u64::from(self.columns), u64::from(self.rows));
        BoxBuilder::default().width(width).height(height).build().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_goes_through_the_configuration() {
        let mut process = Process::default();
        process.set_console_size(None);
        assert_eq!(TerminalSize::of_console(&process), TerminalSize { columns: 80, rows: 24 });
        let size = TerminalSize { columns: 132, rows: 50 };
        process.set_console_size(size.to_console());
        assert_eq!(TerminalSize::of_console(&process), size);
    }
}
