//! Which volumes are meant.

use super::Volume;

/// A filter that is none.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no filter for volumes: label=KEY[=VALUE], name=PART or dangling=true|false")]
pub struct FilterError(String);

/// What a volume has to be like: every filter must fit.
#[derive(Debug, Clone, Default)]
pub struct VolumeFilter(Vec<One>);

#[derive(Debug, Clone)]
enum One {
    Label(String, Option<String>),
    Name(String),
    Dangling(bool),
}

impl VolumeFilter {
    /// Reads filters as docker's `--filter` has them.
    ///
    /// # Errors
    ///
    /// [`FilterError`].
    pub fn parse(texts: &[String]) -> Result<Self, FilterError> {
        let one = |text: &String| {
            Some(match text.split_once('=')? {
                ("label", label) => match label.split_once('=') {
                    Some((key, value)) => One::Label(key.to_owned(), Some(value.to_owned())),
                    None => One::Label(label.to_owned(), None),
                },
                ("name", part) => One::Name(part.to_owned()),
                ("dangling", "true" | "1") => One::Dangling(true),
                ("dangling", "false" | "0") => One::Dangling(false),
                _ => return None,
            })
        };
        let read = |text: &String| one(text).ok_or_else(|| FilterError(text.clone()));
        texts.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether `volume`, which a sandbox uses or not, is meant.
    #[must_use]
    pub fn passes(&self, volume: &Volume, used: bool) -> bool {
        self.0.iter().all(|one| match one {
            One::Label(key, value) => {
                let found = volume.record().labels.get(key);
                found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
            }
            One::Name(part) => volume.name().as_str().contains(part),
            One::Dangling(unused) => *unused != used,
        })
    }
}
