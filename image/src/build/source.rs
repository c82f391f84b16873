//! The text of a Dockerfile, and where things are in it.
//!
//! Here-documents are found here and hidden from the parser, which knows only those
//! that a command begins with, and does not tell what they are called. What is hidden
//! is replaced by as many bytes, so that every position stays what it was.

use std::collections::BTreeMap;
use std::fmt;

use super::words;

/// A place in a file, for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was called.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heredoc {
    /// The word that ends it, which is also the name of the file made of it.
    pub name: String,
    /// Whether variables in it are replaced: the word was not quoted.
    pub expand: bool,
    /// What is in it.
    pub body: String,
}

/// One instruction of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Extent {
    /// Where its own lines end.
    end: usize,
    heredocs: Vec<Heredoc>,
}

/// The text of a Dockerfile.
#[derive(Debug, Clone)]
pub(super) struct Source {
    name: String,
    text: String,
    /// The text for the parser.
    pub masked: String,
    /// What escapes, `\` unless a directive says otherwise.
    pub escape: char,
    /// By where they begin.
    extents: BTreeMap<usize, Extent>,
}

/// A here-document that does not end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unterminated {
    pub place: Place,
    pub name: String,
}

impl Source {
    pub fn new(name: &str, text: &str) -> Result<Self, Unterminated> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut source = Self {
            name: name.to_owned(),
            text: text.to_owned(),
            masked: text.to_owned(),
            escape: escape_directive(text),
            extents: BTreeMap::new(),
        };
        source.scan()?;
        Ok(source)
    }

    /// The place of a position in the text.
    pub fn place(&self, position: usize) -> Place {
        let before = self.text.get(..position).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Place { file: self.name.clone(), line, column }
    }

    /// A part of the text as it is written.
    pub fn slice(&self, span: std::ops::Range<usize>) -> &str {
        self.text.get(span).unwrap_or_default()
    }

    /// The here-documents of the instruction that begins at `start`.
    pub fn heredocs(&self, start: usize) -> &[Heredoc] {
        self.extent(start).map_or(&[], |extent| &extent.heredocs)
    }

    /// The instruction that begins at `start`, on one line.
    pub fn instruction(&self, start: usize) -> String {
        let end = self.extent(start).map_or(start, |extent| extent.end);
        words::unfold(self.slice(start..end), self.escape).trim().to_owned()
    }

    /// The instruction whose lines `position` is in.
    fn extent(&self, position: usize) -> Option<&Extent> {
        let (_, extent) = self.extents.range(..=position).next_back()?;
        Some(extent).filter(|extent| position <= extent.end)
    }

    /// Finds all instructions and their here-documents.
    fn scan(&mut self) -> Result<(), Unterminated> {
        let text = self.text.clone();
        let mut at = 0;
        while at < text.len() {
            let line = line_at(&text, at);
            let start = at + (line.len() - line.trim_start().len());
            if line.trim().is_empty() || line.trim_start().starts_with('#') {
                at += line.len();
                continue;
            }
            let end = self.logical_end(&text, at);
            let content = text[start..end].trim_end();
            let found = heredoc_marks(content, self.escape);
            at = end;
            let mut heredocs = Vec::new();
            for mark in found {
                let body = at;
                let Some(after) = body_end(&text, body, &mark) else {
                    let place = self.place(start + mark.at);
                    return Err(Unterminated { place, name: mark.name });
                };
                let lines = text[body..after.body_end].split_inclusive('\n');
                let stripped = lines.map(|line| match mark.strip_tabs {
                    true => line.trim_start_matches('\t'),
                    false => line,
                });
                let body = stripped.collect();
                heredocs.push(Heredoc { name: mark.name, expand: mark.expand, body });
                self.mask(start + mark.at, 2, '_');
                self.blank(at, after.end);
                at = after.end;
            }
            let extent = Extent { end: start + content.len(), heredocs };
            self.extents.insert(start, extent);
        }
        Ok(())
    }

    /// Where the lines of an instruction end: the first one that is not continued.
    fn logical_end(&self, text: &str, mut at: usize) -> usize {
        let mut first = true;
        while at < text.len() {
            let line = line_at(text, at);
            at += line.len();
            let passed_over =
                !first && (line.trim().is_empty() || line.trim_start().starts_with('#'));
            first = false;
            if !passed_over && !line.trim_end().ends_with(self.escape) {
                break;
            }
        }
        at
    }

    fn mask(&mut self, at: usize, len: usize, with: char) {
        self.masked.replace_range(at..at + len, &with.to_string().repeat(len));
    }

    /// Replaces all but the ends of lines by spaces.
    fn blank(&mut self, from: usize, to: usize) {
        let blanks: String = self.masked.as_bytes()[from..to]
            .iter()
            .map(|b| if matches!(b, b'\n' | b'\r') { char::from(*b) } else { ' ' })
            .collect();
        self.masked.replace_range(from..to, &blanks);
    }
}

/// The line that begins at `at`, with its end.
fn line_at(text: &str, at: usize) -> &str {
    let rest = &text[at..];
    rest.find('\n').map_or(rest, |end| &rest[..=end])
}

/// The directive at the top of the file that says what escapes.
fn escape_directive(text: &str) -> char {
    for line in text.lines() {
        let Some(comment) = line.trim().strip_prefix('#') else { break };
        let Some((key, value)) = comment.split_once('=') else { break };
        if key.trim().eq_ignore_ascii_case("escape") && value.trim() == "`" {
            return '`';
        }
    }
    '\\'
}

/// A `<<WORD` in an instruction.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    /// Where its `<<` is.
    at: usize,
    name: String,
    expand: bool,
    strip_tabs: bool,
}

/// The here-documents that an instruction asks for, if it is one that can have any.
fn heredoc_marks(content: &str, escape: char) -> Vec<Mark> {
    let mut rest = content;
    let keyword = |text: &str| text.split_whitespace().next().map(str::to_ascii_uppercase);
    if keyword(rest).as_deref() == Some("ONBUILD") {
        rest = rest.trim_start()["ONBUILD".len()..].trim_start();
    }
    if !matches!(keyword(rest).as_deref(), Some("RUN" | "COPY" | "ADD")) {
        return Vec::new();
    }
    let mut marks = Vec::new();
    let mut quote = None;
    let mut word_start = true;
    let mut chars = content.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match quote {
            Some(q) if c == q => quote = None,
            None | Some('"') if c == escape => drop(chars.next()),
            None if c == '\'' || c == '"' => quote = Some(c),
            None if word_start && content[at..].starts_with("<<") => {
                marks.extend(mark(content, at));
            }
            _ => {}
        }
        // A number of a descriptor may stand before it.
        word_start =
            quote.is_none() && (c.is_whitespace() || (word_start && c.is_ascii_digit()));
    }
    marks
}

/// The mark whose `<<` is at `at`, if it has a word.
fn mark(content: &str, at: usize) -> Option<Mark> {
    let rest = &content[at + 2..];
    let (strip_tabs, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let mut name = String::new();
    let mut quote = None;
    let mut expand = true;
    for c in rest.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                expand = false;
            }
            None if c == '<' => return None,
            None if c.is_whitespace() || matches!(c, '>' | '|' | ';' | '&' | ')') => break,
            _ => name.push(c),
        }
    }
    (!name.is_empty() && quote.is_none()).then_some(Mark { at, name, expand, strip_tabs })
}

struct End {
    body_end: usize,
    end: usize,
}

fn body_end(text: &str, mut at: usize, mark: &Mark) -> Option<End> {
    while at < text.len() {
        let line = line_at(text, at);
        let whole = line.trim_end_matches(['\n', '\r']);
        let word = if mark.strip_tabs { whole.trim_start_matches('\t') } else { whole };
        if word == mark.name {
            return Some(End { body_end: at, end: at + line.len() });
        }
        at += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn here_documents_are_found_and_hidden() {
        let text =
            "FROM a\nRUN cat <<EOF > /x && tr <<-'Z' 2>&1\nü $A\nEOF\n\t\tb\n\tZ\nCMD x\n";
        let source = Source::new("Dockerfile", text).unwrap();
        let start = text.find("RUN").unwrap();
        let names: Vec<_> = source
            .heredocs(start)
            .iter()
            .map(|h| (h.name.as_str(), h.expand, h.body.as_str()))
            .collect();
        assert_eq!(names, [("EOF", true, "ü $A\n"), ("Z", false, "b\n")]);
        assert_eq!(source.masked.len(), text.len());
        assert!(!source.masked.contains('ü') && source.masked.contains("__EOF > /x"));
        assert_eq!(source.place(text.find("CMD").unwrap()).to_string(), "Dockerfile:7:1");
        assert_eq!(source.instruction(start), "RUN cat <<EOF > /x && tr <<-'Z' 2>&1");
    }

    #[test]
    fn shifts_strings_and_other_instructions_are_no_here_documents() {
        for text in [
            "RUN echo $((1<<2))\n",
            "RUN echo \"a <<B\"\n",
            "RUN cat <<<word\n",
            "ENV A <<B\n",
            "RUN echo \\<<B\n",
        ] {
            let source = Source::new("f", text).unwrap();
            assert_eq!(source.masked, text);
        }
    }

    #[test]
    fn one_that_does_not_end_is_named() {
        let error = Source::new("f", "FROM a\nCOPY <<EOF /x\nb\n").unwrap_err();
        assert_eq!((error.place.to_string().as_str(), error.name.as_str()), ("f:2:6", "EOF"));
    }

    #[test]
    fn the_escape_can_be_another() {
        let source = Source::new("f", "# escape=`\nFROM a\nRUN a `\n  b\n").unwrap();
        assert_eq!(source.escape, '`');
        assert_eq!(source.instruction(18), "RUN a   b");
    }
}
