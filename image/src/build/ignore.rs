//! `.dockerignore`: what of a context does not exist for a build.

use super::glob::{Glob, GlobError};

/// The patterns of the file, in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    glob: Glob,
    /// It takes back what others before it say.
    exception: bool,
}

impl Ignore {
    /// Reads the text of a `.dockerignore`.
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        let mut patterns = Vec::new();
        for line in text.strip_prefix('\u{feff}').unwrap_or(text).lines() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (exception, written) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let pattern = clean(written);
            if pattern.is_empty() {
                continue;
            }
            patterns.push(Pattern { glob: Glob::deep(&pattern)?, exception });
        }
        Ok(Self { patterns })
    }

    /// Whether a clean path relative to the context is left out: the last pattern that
    /// matches it, or a directory it is in, decides.
    pub fn is_ignored(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let prefixes: Vec<_> = ends.map(|end| &path[..end]).collect();
        let mut ignored = false;
        for pattern in &self.patterns {
            // One that would change nothing need not be looked at.
            if pattern.exception == ignored
                && prefixes.iter().any(|path| pattern.glob.matches(path))
            {
                ignored = !pattern.exception;
            }
        }
        ignored
    }

    /// Whether something in an ignored directory may not be ignored.
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.exception)
    }
}

/// A pattern without what does not count in a path: empty and `.` components, `..` with
/// what is before it, slashes at the ends.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ignored(text: &str, path: &str) -> bool {
        Ignore::parse(text).unwrap().is_ignored(path)
    }

    #[test]
    fn patterns_are_dockers() {
        for (text, path, is) in [
            ("*.md\n!README.md\n", "a.md", true),
            ("*.md\n!README.md\n", "README.md", false),
            ("*.md", "docs/a.md", false),
            ("**/*.md", "docs/a.md", true),
            ("node_modules", "node_modules/a/b", true),
            ("/node_modules/", "node_modules/a", true),
            ("node_modules", "x/node_modules", false),
            ("**/node_modules", "x/node_modules/y", true),
            ("# a\n\n  \nb", "a", false),
            ("*\n!src\n!Cargo.*", "src/main.rs", false),
            ("*\n!src\n!Cargo.*", "Cargo.toml", false),
            ("*\n!src\n!Cargo.*", "target/x", true),
            ("*\n!src\nsrc/secret", "src/secret", true),
            ("!a\na", "a", true),
            ("./a/../b", "b", true),
            ("a/*/c", "a/b/c", true),
            ("a/*/c", "a/c", false),
            ("a?", "ab/x", true),
            (" a \n", "a", true),
        ] {
            assert_eq!(ignored(text, path), is, "{text:?} {path}");
        }
        assert!(Ignore::parse("[").is_err());
    }

    proptest! {
        #[test]
        fn what_is_in_an_ignored_directory_is_ignored(
            path in "[a-z]{1,3}(/[a-z]{1,3}){0,3}", inner in "[a-z]{1,3}"
        ) {
            prop_assert!(ignored(&path, &path));
            let inside = format!("{path}/{inner}");
            prop_assert!(ignored(&path, &inside));
        }

        #[test]
        fn an_exception_takes_back_what_goes_before(
            patterns in proptest::collection::vec("!?[a-z*]{1,3}", 0..6), path in "[a-z]{1,3}"
        ) {
            let text = patterns.join("\n");
            let taken_back = format!("{text}\n!{path}");
            prop_assert!(!ignored(&taken_back, &path));
            let put_back = format!("{text}\n{path}");
            prop_assert!(ignored(&put_back, &path));
        }
    }
}
