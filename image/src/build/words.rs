//! Taking the arguments of an instruction apart into words.

/// Joins the lines of an instruction: an escape at the end of a line takes the line's
/// end away; lines of comment, and empty ones, between them are left out.
pub(super) fn unfold(text: &str, escape: char) -> String {
    let mut joined = String::with_capacity(text.len());
    let mut continued = false;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches(['\n', '\r']);
        let passed_over = bare.trim().is_empty() || bare.trim_start().starts_with('#');
        if continued && passed_over {
            continue;
        }
        match bare.trim_end().strip_suffix(escape) {
            Some(rest) => {
                joined.push_str(rest);
                continued = true;
            }
            None => {
                joined.push_str(line);
                continued = false;
            }
        }
    }
    joined
}

/// The words of a line, as written: quotes and escapes stay, and keep what they
/// enclose together.
pub(super) fn split(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(q) if c == q => quote = None,
            _ => {}
        }
        word.push(c);
        if c == escape && quote != Some('\'') {
            word.extend(chars.next());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// `NAME=value` pairs of `ENV` and `LABEL`, not expanded yet; or the old form, in which
/// all that follows the name is the value.
pub(super) fn pairs(text: &str, escape: char) -> Result<Vec<(String, String)>, String> {
    let words = split(text, escape);
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    if !first.contains('=') {
        let value = text.trim_start()[first.len()..].trim();
        if value.is_empty() {
            return Err(format!("`{first}` has no value: write {first}=value"));
        }
        return Ok(vec![(first.clone(), value.to_owned())]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some(("", _)) => Err(format!("`{word}` has no name before the `=`")),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(format!("`{word}` has no `=`: quote a value with spaces in it")),
    };
    words.into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_without_the_comments_between() {
        assert_eq!(unfold("a \\\n  # no\n\n  b\n", '\\'), "a   b\n");
        assert_eq!(unfold("a ` \nb", '`'), "a b");
        assert_eq!(unfold("a \\n\nb", '\\'), "a \\n\nb");
    }

    #[test]
    fn words_keep_their_quotes() {
        assert_eq!(
            split(r#"a "b c" d\ e 'f \' g"#, '\\'),
            ["a", "\"b c\"", r"d\ e", r"'f \'", "g"]
        );
    }

    #[test]
    fn both_forms_of_pairs_are_read() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            pairs(r#"A=1 B="x y" C=z\ z"#, '\\').unwrap(),
            [pair("A", "1"), pair("B", "\"x y\""), pair("C", r"z\ z")]
        );
        assert_eq!(pairs("PATH  /a b = c ", '\\').unwrap(), [pair("PATH", "/a b = c")]);
        assert!(pairs("A", '\\').is_err());
        assert!(pairs("A=1 B", '\\').unwrap_err().contains("`B` has no `=`"));
        assert!(pairs("=1", '\\').is_err());
    }
}
