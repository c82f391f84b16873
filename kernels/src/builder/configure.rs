//! From our fragment to a full configuration, without losing an option.

use std::fs;
use std::path::Path;

use super::{BuildError, tool};
use crate::catalogue::CatalogueError;
use crate::inputs;

/// Writes `.config`: everything off but what the fragment asks for and what
/// that needs.
pub fn configure(tree: &Path) -> Result<(), BuildError> {
    let fragment = tree.join("bulkhead.config");
    fs::write(&fragment, inputs::CONFIG).map_err(CatalogueError::io("write", &fragment))?;
    let mut make = tool::make(tree);
    make.env("KCONFIG_ALLCONFIG", &fragment).arg("allnoconfig");
    tool::run(make, None, |_| {})?;
    let path = tree.join(".config");
    let config = fs::read_to_string(&path).map_err(CatalogueError::io("read", &path))?;
    let lost = lost(inputs::CONFIG, &config);
    if lost.is_empty() { Ok(()) } else { Err(BuildError::OptionsLost(lost)) }
}

/// The options of `fragment` that `config` does not have as asked.
fn lost(fragment: &str, config: &str) -> Vec<String> {
    let kept = |wanted: &str| config.lines().any(|line| line == wanted);
    let is_on = |name: &str| config.lines().any(|line| line.starts_with(&format!("{name}=")));
    let mut lost = Vec::new();
    for line in fragment.lines().map(str::trim) {
        let off = line
            .strip_prefix("# ")
            .and_then(|line| line.strip_suffix(" is not set"))
            .or_else(|| line.strip_suffix("=n"));
        let fine = match off {
            Some(name) if name.starts_with("CONFIG_") => !is_on(name),
            _ => !line.starts_with("CONFIG_") || kept(line),
        };
        if !fine {
            lost.push(line.to_owned());
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_and_is_not_there_is_lost() {
        let fragment = "# why\nCONFIG_A=y\nCONFIG_B=7\n# CONFIG_C is not set\nCONFIG_D=n\n";
        assert!(lost(fragment, "CONFIG_A=y\nCONFIG_B=7\n# CONFIG_C is not set\n").is_empty());
        let found = lost(fragment, "CONFIG_A=m\nCONFIG_B=77\nCONFIG_C=y\nCONFIG_D=\"x\"\n");
        assert_eq!(found, ["CONFIG_A=y", "CONFIG_B=7", "# CONFIG_C is not set", "CONFIG_D=n"]);
    }

    #[test]
    fn the_fragment_names_each_option_once() {
        let mut names: Vec<&str> = inputs::CONFIG
            .lines()
            .filter_map(|line| line.strip_prefix("# ").unwrap_or(line).strip_prefix("CONFIG_"))
            .map(|rest| rest.split(['=', ' ']).next().unwrap_or(rest))
            .collect();
        assert!(names.len() > 50);
        names.sort_unstable();
        let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }
}
