//! Patterns for names, as Go's `path.Match` has them, with `**` for any number of
//! directories where that is asked for.

/// A pattern that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a pattern: {problem}")]
pub struct GlobError {
    pattern: String,
    problem: &'static str,
}

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(char),
    /// `?`: any character but a slash.
    One,
    /// `*`: any number of them.
    Many,
    /// `**`: any number of characters.
    Any,
    /// `**/`: any number of whole directories.
    Directories,
    /// `[a-z]`, or none of them.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Glob {
    /// Parses a pattern in which `**` is two `*`.
    pub fn parse(pattern: &str) -> Result<Self, GlobError> {
        Self::with_directories(pattern, false)
    }

    /// Parses a pattern of a `.dockerignore`.
    pub fn deep(pattern: &str) -> Result<Self, GlobError> {
        Self::with_directories(pattern, true)
    }

    fn with_directories(pattern: &str, deep: bool) -> Result<Self, GlobError> {
        let fail = |problem| GlobError { pattern: pattern.to_owned(), problem };
        let mut parts = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '*' if deep && chars.peek() == Some(&'*') => {
                    chars.next();
                    if chars.peek() == Some(&'/') {
                        chars.next();
                        Part::Directories
                    } else {
                        Part::Any
                    }
                }
                '*' => Part::Many,
                '?' => Part::One,
                '[' => class(&mut chars).map_err(fail)?,
                '\\' => Part::Literal(chars.next().ok_or_else(|| fail("it ends in a `\\`"))?),
                c => Part::Literal(c),
            });
        }
        Ok(Self(parts))
    }

    /// Whether it has anything but letters that stand for themselves.
    pub fn is_literal(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Literal(_)))
    }

    /// Whether it matches all of a path or name.
    pub fn matches(&self, path: &str) -> bool {
        matches(&self.0, &path.chars().collect::<Vec<_>>(), '/')
    }

    /// Whether it matches a text in which slashes are nothing special.
    pub fn matches_text(&self, text: &str) -> bool {
        matches(&self.0, &text.chars().collect::<Vec<_>>(), '\0')
    }
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Part, &'static str> {
    let negated = chars.next_if(|c| matches!(c, '^' | '!')).is_some();
    let mut ranges = Vec::new();
    let one = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| match chars.next() {
        Some('\\') => chars.next().ok_or("a `[` is not closed"),
        Some(c) => Ok(c),
        None => Err("a `[` is not closed"),
    };
    loop {
        if chars.peek() == Some(&']') && !ranges.is_empty() {
            chars.next();
            return Ok(Part::Class { negated, ranges });
        }
        let low = one(chars)?;
        let high = match chars.next_if_eq(&'-') {
            Some(_) if chars.peek() != Some(&']') => one(chars)?,
            Some(_) => return Err("a range has no end"),
            None => low,
        };
        ranges.push((low, high));
    }
}

/// Runs through all ways to match at once, so that no pattern takes more time than its
/// length times that of the text.
fn matches(parts: &[Part], text: &[char], separator: char) -> bool {
    let mut states = vec![false; parts.len() + 1];
    states[0] = true;
    close(parts, &mut states);
    for c in text {
        let mut next = vec![false; parts.len() + 1];
        for (at, part) in parts.iter().enumerate().filter(|(at, _)| states[*at]) {
            match part {
                Part::Literal(wanted) => next[at + 1] |= wanted == c,
                Part::One => next[at + 1] |= *c != separator,
                Part::Many => next[at] |= *c != separator,
                Part::Any => next[at] = true,
                // In the middle of its directories, or behind one of them.
                Part::Directories => {
                    next[at] = true;
                    next[at + 1] |= *c == separator;
                }
                Part::Class { negated, ranges } => {
                    let within = ranges.iter().any(|(low, high)| (low..=high).contains(&c));
                    next[at + 1] |= *c != separator && within != *negated;
                }
            }
        }
        states = next;
        // Nothing of `**/` can be skipped in the middle of a name.
        close_after(parts, &mut states, *c == separator);
    }
    states[parts.len()]
}

/// Skips parts that match nothing.
fn close(parts: &[Part], states: &mut [bool]) {
    close_after(parts, states, true);
}

fn close_after(parts: &[Part], states: &mut [bool], at_start_of_name: bool) {
    for (at, part) in parts.iter().enumerate() {
        let skipped = match part {
            Part::Many | Part::Any => true,
            Part::Directories => at_start_of_name,
            _ => false,
        };
        if skipped && states[at] {
            states[at + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_match_as_in_go() {
        for (pattern, path, matched) in [
            ("*.txt", "a.txt", true),
            ("*.txt", "a/b.txt", false),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            (r"\*", "*", true),
            (r"\*", "a", false),
            ("a*", "a", true),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(
                Glob::parse(pattern).unwrap().matches(path),
                matched,
                "{pattern} {path}"
            );
        }
        for bad in ["[", "[a", "a\\", "[a-]", "[]"] {
            assert!(Glob::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn directories_match_in_any_number() {
        for (pattern, path, matched) in [
            ("**/*.go", "a.go", true),
            ("**/*.go", "x/y/a.go", true),
            ("**/b", "ab", false),
            ("**/b", "x/ab", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "ab", false),
            ("a/**/b", "a/xb", false),
            ("a/**", "a/x/y", true),
            ("**", "a/b", true),
            ("x**y", "x/a/y", true),
        ] {
            assert_eq!(Glob::deep(pattern).unwrap().matches(path), matched, "{pattern} {path}");
        }
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_escaped(text in "[^/]*") {
            let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert!(Glob::parse(&escaped).unwrap().matches(&text));
        }

        #[test]
        fn a_star_matches_every_name_and_no_path(name in "[^/]+", other in "[^/]+") {
            let star = Glob::parse("*").unwrap();
            prop_assert!(star.matches(&name));
            let path = format!("{name}/{other}");
            prop_assert!(!star.matches(&path));
            prop_assert!(Glob::deep("**").unwrap().matches(&path));
        }

        #[test]
        fn it_takes_no_more_than_polynomial_time(stars in 1_usize..40, len in 1_usize..200) {
            let pattern = "*a".repeat(stars) + "b";
            prop_assert!(!Glob::parse(&pattern).unwrap().matches(&"a".repeat(len)));
        }
    }
}
