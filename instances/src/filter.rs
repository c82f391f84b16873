//! Which instances a list shows.

use std::str::FromStr;

use bulkhead_runtime::Isolation;

use crate::health::HealthStatus;
use crate::{Instance, Status};

/// One condition, `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Its id begins so.
    Id(String),
    /// Its name has this in it.
    Name(String),
    /// It is there now.
    Status(Status),
    /// It has this label, with this value if one is given.
    Label(String, Option<String>),
    /// It was made of this image.
    Ancestor(String),
    /// It is behind this wall.
    Isolation(Isolation),
    /// It ended so.
    Exited(u8),
    /// It is as well as this.
    Health(HealthStatus),
    /// It is started again by this policy.
    Restart(String),
}

/// Text that is no filter.
#[derive(Debug, thiserror::Error)]
pub enum ParseFilterError {
    /// There is no `=` in it.
    #[error("`{0}` is not a filter: write KEY=VALUE")]
    NoValue(String),
    /// The key is not one.
    #[error(
        "there is no filter `{0}`: those there are are id, name, status, label, ancestor, \
         isolation, exited, health and restart"
    )]
    UnknownKey(String),
    /// The value is none of this key.
    #[error("`{value}` is not a value of the filter `{key}`")]
    Value {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
    },
}

impl FromStr for Filter {
    type Err = ParseFilterError;

    fn from_str(text: &str) -> Result<Self, ParseFilterError> {
        let no_value = || ParseFilterError::NoValue(text.to_owned());
        let (key, value) = text.split_once('=').ok_or_else(no_value)?;
        let wrong = |key| ParseFilterError::Value { key, value: value.to_owned() };
        Ok(match key {
            "id" => Self::Id(value.to_owned()),
            "name" => Self::Name(value.trim_start_matches('/').to_owned()),
            "status" => {
                let named = Status::ALL.into_iter().find(|status| status.as_str() == value);
                Self::Status(named.ok_or_else(|| wrong("status"))?)
            }
            "label" => match value.split_once('=') {
                Some((name, value)) => Self::Label(name.to_owned(), Some(value.to_owned())),
                None => Self::Label(value.to_owned(), None),
            },
            "ancestor" => Self::Ancestor(value.to_owned()),
            "isolation" => Self::Isolation(value.parse().map_err(|_| wrong("isolation"))?),
            "exited" => Self::Exited(value.parse().map_err(|_| wrong("exited"))?),
            "health" => {
                Self::Health(HealthStatus::named(value).ok_or_else(|| wrong("health"))?)
            }
            "restart" | "restart-policy" => Self::Restart(value.to_owned()),
            other => return Err(ParseFilterError::UnknownKey(other.to_owned())),
        })
    }
}

impl Filter {
    fn key(&self) -> u8 {
        match self {
            Self::Id(_) => 0,
            Self::Name(_) => 1,
            Self::Status(_) => 2,
            // Each label is a condition of its own.
            Self::Label(..) => u8::MAX,
            Self::Ancestor(_) => 4,
            Self::Isolation(_) => 5,
            Self::Exited(_) => 6,
            Self::Health(_) => 7,
            Self::Restart(_) => 8,
        }
    }

    fn fits(&self, instance: &Instance) -> bool {
        let (config, state) = (&instance.config, &instance.state);
        match self {
            Self::Id(id) => config.id.as_str().starts_with(id.as_str()),
            Self::Name(name) => config.name.contains(name.as_str()),
            Self::Status(status) => instance.status() == *status,
            Self::Label(name, value) => match (config.labels.get(name), value) {
                (Some(there), Some(asked)) => there == asked,
                (there, _) => there.is_some(),
            },
            Self::Ancestor(image) => is_of(&config.image, &config.image_digest, image),
            Self::Isolation(wall) => config.isolation == *wall,
            Self::Exited(code) => !instance.status().is_up() && state.exit_code == Some(*code),
            Self::Health(health) => state.health.unwrap_or_default() == *health,
            Self::Restart(policy) => {
                let own = config.restart.to_string();
                own.split(':').next() == policy.split(':').next()
            }
        }
    }
}

/// Whether an image that was called `name` and is `digest` is meant by `asked`.
fn is_of(name: &str, digest: &str, asked: &str) -> bool {
    let bare = |name: &str| name.strip_suffix(":latest").unwrap_or(name).to_owned();
    let digits = asked.strip_prefix("sha256:").unwrap_or(asked);
    bare(name) == bare(asked)
        || (digits.len() >= 4
            && digest.strip_prefix("sha256:").unwrap_or(digest).starts_with(digits))
}

/// Whether `instance` fits all `filters`; of several with one key, one is enough.
#[must_use]
pub fn fits(filters: &[Filter], instance: &Instance) -> bool {
    filters.iter().all(|filter| match filter.key() {
        u8::MAX => filter.fits(instance),
        key => filters.iter().filter(|it| it.key() == key).any(|it| it.fits(instance)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Phase;
    use crate::store::tests::instance;

    fn shown(filters: &[&str]) -> bool {
        let mut one = instance(&"a".repeat(64), "web-1");
        one.config.labels.insert("tier".into(), "front".into());
        one.config.image = "debian:latest".into();
        one.config.image_digest = format!("sha256:{}", "12345678".repeat(8));
        one.state.phase = Phase::Exited;
        one.state.exit_code = Some(3);
        let filters: Vec<Filter> = filters.iter().map(|text| text.parse().unwrap()).collect();
        fits(&filters, &one)
    }

    #[test]
    fn one_of_a_key_and_all_of_the_keys_have_to_fit() {
        assert!(shown(&[]));
        assert!(shown(&["name=web", "status=exited"]));
        assert!(!shown(&["name=web", "status=running"]));
        assert!(shown(&["status=running", "status=exited"]));
        assert!(shown(&["label=tier", "label=tier=front"]));
        assert!(!shown(&["label=tier", "label=tier=back"]));
        assert!(shown(&["ancestor=debian"]) && shown(&["ancestor=sha256:1234"]));
        assert!(shown(&["ancestor=12345678"]) && !shown(&["ancestor=deb"]));
        assert!(shown(&["isolation=container"]) && !shown(&["isolation=microvm"]));
        assert!(shown(&["exited=3"]) && !shown(&["exited=0"]));
        assert!(shown(&["id=aaaa", "health=none", "restart=no"]));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for wrong in
            ["name", "size=3", "status=gone", "exited=x", "isolation=paper", "health=x"]
        {
            assert!(wrong.parse::<Filter>().is_err(), "{wrong}");
        }
    }
}
