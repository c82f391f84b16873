//! Which instance a user means.

use crate::Instance;

/// Text that does not tell which instance is meant.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// None is called so.
    #[error("no sandbox called {0}")]
    NotFound(String),
    /// Several are.
    #[error("`{text}` could be any of {count} sandboxes; give more digits")]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// How many it fits.
        count: usize,
    },
}

/// The instance among `all` that `text` means: the one with this id, the one with this
/// name, the one whose sandbox is called so, or the only one whose id begins so.
///
/// # Errors
///
/// When there is none, or more than one.
pub fn resolve(mut all: Vec<Instance>, text: &str) -> Result<Instance, ResolveError> {
    type Fits = fn(&Instance, &str) -> bool;
    let ways: [Fits; 4] = [
        |instance, text| instance.config.id.as_str() == text,
        |instance, text| instance.config.name == text,
        |instance, text| {
            instance.state.sandbox.as_ref().is_some_and(|sandbox| sandbox.as_str() == text)
        },
        |instance, text| !text.is_empty() && instance.config.id.as_str().starts_with(text),
    ];
    for fits in ways {
        let found: Vec<usize> = (0..all.len()).filter(|&at| fits(&all[at], text)).collect();
        match found[..] {
            [] => {}
            [one] => return Ok(all.swap_remove(one)),
            _ => {
                let (text, count) = (text.to_owned(), found.len());
                return Err(ResolveError::Ambiguous { text, count });
            }
        }
    }
    Err(ResolveError::NotFound(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::instance;

    fn all() -> Vec<Instance> {
        let id = |digits: &str| format!("{digits:0<64}");
        [("abc1", "web"), ("abc2", "abc1"), ("def", "db")]
            .map(|(digits, name)| instance(&id(digits), name))
            .into()
    }

    fn name(text: &str) -> Result<String, ResolveError> {
        resolve(all(), text).map(|instance| instance.config.name)
    }

    #[test]
    fn ids_names_and_prefixes_are_understood_in_this_order() {
        assert_eq!(name(&format!("{:0<64}", "abc1")).unwrap(), "web");
        assert_eq!(name("db").unwrap(), "db");
        assert_eq!(name("d").unwrap(), "db");
        assert_eq!(name("abc1").unwrap(), "abc1", "a name goes before a prefix");
        assert_eq!(name("abc10").unwrap(), "web");
    }

    #[test]
    fn what_fits_none_or_several_is_refused() {
        assert!(matches!(name("abc"), Err(ResolveError::Ambiguous { count: 2, .. })));
        assert!(matches!(name("x"), Err(ResolveError::NotFound(_))));
        assert!(matches!(name(""), Err(ResolveError::NotFound(_))));
        assert!(matches!(name("we"), Err(ResolveError::NotFound(_))), "names have no prefixes");
    }
}
