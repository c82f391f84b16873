//! Replacing variables and taking quotes away, as docker does in the arguments of
//! most instructions (Dockerfile reference, "Environment replacement").

use super::glob::{self, Glob};

/// A word that cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A quote without its counterpart.
    #[error("a {0} is not closed")]
    Quote(char),
    /// `${` without `}`.
    #[error("a `${{` is not closed")]
    Brace,
    /// Something after the name that is no modifier.
    #[error("`${{{name}{modifier}…}}` is not supported")]
    Modifier {
        /// The variable.
        name: String,
        /// What follows it.
        modifier: String,
    },
    /// `${NAME?message}` and there is no such variable.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the file says about it.
        message: String,
    },
    /// A pattern that is none.
    #[error(transparent)]
    Glob(#[from] glob::GlobError),
}

/// Where the values of variables come from.
pub(super) type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Expands a word.
pub(super) fn expand(
    text: &str,
    escape: char,
    lookup: &Lookup<'_>,
) -> Result<String, ExpandError> {
    Expander { text: text.chars().collect(), at: 0, escape, lookup, raw: false }.until(None)
}

/// Expands the text of a file: quotes are part of it.
pub(super) fn expand_text(text: &str, lookup: &Lookup<'_>) -> Result<String, ExpandError> {
    Expander { text: text.chars().collect(), at: 0, escape: '\\', lookup, raw: true }
        .until(None)
}

struct Expander<'a> {
    text: Vec<char>,
    at: usize,
    escape: char,
    lookup: &'a Lookup<'a>,
    /// Quotes mean nothing.
    raw: bool,
}

impl Expander<'_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    /// Expands up to `stop`, which is taken, or to the end.
    fn until(&mut self, stop: Option<char>) -> Result<String, ExpandError> {
        let mut out = String::new();
        while let Some(c) = self.next() {
            match c {
                _ if Some(c) == stop => return Ok(out),
                '\'' if !self.raw => self.single_quoted(&mut out)?,
                '"' if !self.raw => self.double_quoted(&mut out)?,
                '$' => out.push_str(&self.dollar()?),
                _ if c == self.escape && self.raw => match self.peek() {
                    Some(next) if next == '$' || next == self.escape => {
                        out.push(next);
                        self.at += 1;
                    }
                    _ => out.push(c),
                },
                _ if c == self.escape => out.extend(self.next()),
                _ => out.push(c),
            }
        }
        if stop.is_some() { Err(ExpandError::Brace) } else { Ok(out) }
    }

    fn single_quoted(&mut self, out: &mut String) -> Result<(), ExpandError> {
        while let Some(c) = self.next() {
            if c == '\'' {
                return Ok(());
            }
            out.push(c);
        }
        Err(ExpandError::Quote('\''))
    }

    fn double_quoted(&mut self, out: &mut String) -> Result<(), ExpandError> {
        while let Some(c) = self.next() {
            match c {
                '"' => return Ok(()),
                '$' => out.push_str(&self.dollar()?),
                _ if c == self.escape => match self.peek() {
                    // Only these are escaped within quotes; before others it is itself.
                    Some(next) if next == '"' || next == '$' || next == self.escape => {
                        out.push(next);
                        self.at += 1;
                    }
                    _ => out.push(c),
                },
                _ => out.push(c),
            }
        }
        Err(ExpandError::Quote('"'))
    }

    /// What stands behind a `$`.
    fn dollar(&mut self) -> Result<String, ExpandError> {
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(match name.as_str() {
                "" => "$".to_owned(),
                name => (self.lookup)(name).unwrap_or_default(),
            });
        }
        self.at += 1;
        let name = self.name();
        let value = (self.lookup)(&name);
        match self.next().ok_or(ExpandError::Brace)? {
            '}' if !name.is_empty() => Ok(value.unwrap_or_default()),
            ':' => {
                let modifier = self.next().ok_or(ExpandError::Brace)?;
                self.modified(&name, value.filter(|value| !value.is_empty()), modifier, ":")
            }
            modifier => self.modified(&name, value, modifier, ""),
        }
    }

    fn modified(
        &mut self,
        name: &str,
        value: Option<String>,
        modifier: char,
        colon: &str,
    ) -> Result<String, ExpandError> {
        let unsupported = || ExpandError::Modifier {
            name: name.to_owned(),
            modifier: format!("{colon}{modifier}"),
        };
        if name.is_empty() || (!colon.is_empty() && !matches!(modifier, '-' | '+' | '?')) {
            return Err(unsupported());
        }
        match modifier {
            '-' => {
                let word = self.until(Some('}'))?;
                Ok(value.unwrap_or(word))
            }
            '+' => {
                let word = self.until(Some('}'))?;
                Ok(value.map(|_| word).unwrap_or_default())
            }
            '?' => {
                let word = self.until(Some('}'))?;
                let message =
                    if word.is_empty() { "is not allowed to be unset".into() } else { word };
                value.ok_or(ExpandError::Required { name: name.to_owned(), message })
            }
            '#' | '%' => {
                let longest = self.peek() == Some(modifier);
                self.at += usize::from(longest);
                let pattern = Glob::parse(&self.until(Some('}'))?)?;
                let value = value.unwrap_or_default();
                Ok(match modifier {
                    '#' => without_prefix(&value, &pattern, longest),
                    _ => without_suffix(&value, &pattern, longest),
                })
            }
            '/' => {
                let all = self.peek() == Some('/');
                self.at += usize::from(all);
                let pattern = Glob::parse(&self.until(Some('/'))?)?;
                let with = self.until(Some('}'))?;
                Ok(replaced(&value.unwrap_or_default(), &pattern, &with, all))
            }
            _ => Err(unsupported()),
        }
    }

    /// A name; digits, or one of the shell's own characters, are one as well, of a
    /// variable that is never set.
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            let starts_with_digit = name.starts_with(|c: char| c.is_ascii_digit());
            let fits = match c {
                '0'..='9' => true,
                'a'..='z' | 'A'..='Z' | '_' => !starts_with_digit,
                '@' | '*' | '?' | '!' if name.is_empty() => {
                    self.at += 1;
                    return c.to_string();
                }
                _ => false,
            };
            if !fits {
                break;
            }
            name.push(c);
            self.at += 1;
        }
        name
    }
}

/// All places between two characters.
fn cuts(text: &str) -> Vec<usize> {
    text.char_indices().map(|(at, _)| at).chain([text.len()]).collect()
}

fn without_prefix(value: &str, pattern: &Glob, longest: bool) -> String {
    let mut cuts = cuts(value);
    if longest {
        cuts.reverse();
    }
    let found = cuts.into_iter().find(|at| pattern.matches_text(&value[..*at]));
    value[found.unwrap_or(0)..].to_owned()
}

fn without_suffix(value: &str, pattern: &Glob, longest: bool) -> String {
    let mut cuts = cuts(value);
    if !longest {
        cuts.reverse();
    }
    let found = cuts.into_iter().find(|at| pattern.matches_text(&value[*at..]));
    value[..found.unwrap_or(value.len())].to_owned()
}

/// Replaces what the pattern matches, the longest from each place on.
fn replaced(value: &str, pattern: &Glob, with: &str, all: bool) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some(first) = rest.chars().next() {
        let longest = cuts(rest)
            .into_iter()
            .rev()
            .find(|end| *end > 0 && pattern.matches_text(&rest[..*end]));
        match longest {
            Some(end) => {
                out.push_str(with);
                rest = &rest[end..];
                if !all {
                    break;
                }
            }
            None => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "A" => Some("value".to_owned()),
            "E" => Some(String::new()),
            "P" => Some("one/two/three.tar.gz".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn words_are_expanded_as_docker_does() {
        for (word, meant) in [
            ("plain", "plain"),
            ("$A ${A}x $Ax", "value valuex "),
            (r"\$A \${A} a\b", "$A ${A} ab"),
            ("'$A' \"$A\"", "$A value"),
            (r#""\$A \" \n""#, r#"$A " \n"#),
            ("${U:-d} ${E:-d} ${E-d} ${A:-d}", "d d  value"),
            ("${U:+s}|${E:+s}|${E+s}|${A:+s}", "||s|s"),
            ("${U:-${A}} ${U:-'a b'}", "value a b"),
            ("$ $. 100$", "$ $. 100$"),
            ("$1x", "x"),
            (
                "${P#*/} ${P##*/} ${P%.*} ${P%%.*}",
                "two/three.tar.gz three.tar.gz one/two/three.tar one/two/three",
            ),
            (
                "${P/t/T} ${P//t/T} ${P/z/}",
                "one/Two/three.tar.gz one/Two/Three.Tar.gz one/two/three.tar.g",
            ),
            ("ü$A", "üvalue"),
        ] {
            assert_eq!(expand(word, '\\', &lookup).as_deref(), Ok(meant), "{word}");
        }
        assert_eq!(expand("`$A\\x", '`', &lookup).as_deref(), Ok("$A\\x"));
        assert_eq!(
            expand_text("'$A' \\$A \"\\n\"", &lookup).as_deref(),
            Ok("'value' $A \"\\n\"")
        );
    }

    #[test]
    fn what_cannot_be_expanded_says_why() {
        for (word, error) in [
            ("'a", ExpandError::Quote('\'')),
            ("\"a", ExpandError::Quote('"')),
            ("${A", ExpandError::Brace),
            ("${A:-b", ExpandError::Brace),
            (
                "${U:?is needed}",
                ExpandError::Required { name: "U".into(), message: "is needed".into() },
            ),
        ] {
            assert_eq!(expand(word, '\\', &lookup), Err(error), "{word}");
        }
        assert!(matches!(expand("${A^}", '\\', &lookup), Err(ExpandError::Modifier { .. })));
        assert!(matches!(expand("${}", '\\', &lookup), Err(ExpandError::Modifier { .. })));
    }

    proptest! {
        #[test]
        fn text_without_anything_special_stays(text in "[^\\\\$'\"]*") {
            prop_assert_eq!(expand(&text, '\\', &lookup), Ok(text));
        }

        #[test]
        fn a_quoted_text_is_itself(text in "[^']*") {
            prop_assert_eq!(expand(&format!("'{text}'"), '\\', &lookup), Ok(text));
        }

        #[test]
        fn an_escaped_text_is_itself(text in ".*") {
            let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert_eq!(expand(&escaped, '\\', &lookup), Ok(text));
        }

        #[test]
        fn values_are_never_expanded_again(value in ".*") {
            let lookup = |name: &str| (name == "V").then(|| value.clone());
            prop_assert_eq!(expand("a${V}b", '\\', &lookup), Ok(format!("a{value}b")));
            prop_assert_eq!(expand("\"$V\"", '\\', &lookup), Ok(value.clone()));
        }

        #[test]
        fn nothing_makes_it_panic(text in ".*") {
            let _ = expand(&text, '\\', &lookup);
            let _ = expand_text(&text, &lookup);
        }
    }
}
