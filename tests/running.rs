//! A sandbox that runs while a test uses other verbs on it.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use crate::lab::{Lab, Wall, wait_until};

/// Ends when its standard input does.
pub struct Running {
    child: Child,
    input: Option<ChildStdin>,
}

impl Running {
    /// Runs `script` of a shell in a sandbox called `name`; it must say something, and
    /// end when its standard input does. `options` are those of `run` and the image.
    pub fn start(lab: &Lab, wall: Wall, name: &str, options: &[&str], script: &str) -> Self {
        let arguments = [&["--name", name], options, &["sh", "-c", script]].concat();
        let mut run = lab.run_command(wall, &arguments);
        let mut child =
            run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bulkhead starts");
        let input = child.stdin.take();
        let mut line = String::new();
        let output = child.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("it says that it is up");
        assert!(!line.is_empty(), "the sandbox has ended: {:?}", child.wait());
        Self { child, input }
    }

    /// Lets it end, which it must do well.
    pub fn end(mut self) {
        drop(self.input.take());
        assert!(wait_until(&mut self.child, Duration::from_secs(60)).success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Where a test has failed.
        drop(self.input.take());
        let _ = wait_until(&mut self.child, Duration::from_secs(20));
    }
}
