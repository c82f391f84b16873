//! Who the process runs as.

use oci_spec::runtime::{User as RuntimeUser, UserBuilder};

use super::SpecError;
use crate::accounts::{Account, Accounts};

/// Largest id; larger ones are negative to some programs, and runc refuses
/// them as well.
pub(super) const MAX_ID: u32 = i32::MAX as u32;

/// A user, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub uid: u32,
    pub gid: u32,
    additional_gids: Vec<u32>,
    pub home: String,
}

/// Resolves `user[:group]`, each a name or a number. As with docker, the
/// groups a user is a member of are given only when no group is asked for, and
/// a number need not be in the image.
pub(crate) fn resolve(wanted: &str, accounts: &Accounts) -> Result<User, SpecError> {
    let (user, group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (wanted, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let account = find_user(user, accounts)?;
    let uid = match account {
        Some(account) => account.uid,
        None => id(user)?.ok_or_else(|| SpecError::UnknownUser(user.to_owned()))?,
    };
    let gid = match group {
        Some(group) => resolve_group(group, accounts)?,
        None => account.map_or(0, |account| account.gid),
    };
    // The own group goes first: a process without it in the list could lose
    // what a negative entry of an ACL denies its members.
    let mut additional_gids = vec![gid];
    if let (None, Some(account)) = (group, account) {
        let member = |group: &&crate::Group| group.members.contains(&account.name);
        for group in accounts.groups.iter().filter(member) {
            if !additional_gids.contains(&group.gid) {
                additional_gids.push(group.gid);
            }
        }
    }
    let home = account.map_or("", |account| &account.home);
    let home = if home.is_empty() { "/" } else { home }.to_owned();
    Ok(User { uid, gid, additional_gids, home })
}

/// The first line of passwd that has the name, or else the number.
fn find_user<'a>(
    wanted: &str,
    accounts: &'a Accounts,
) -> Result<Option<&'a Account>, SpecError> {
    if let Some(account) = accounts.users.iter().find(|account| account.name == wanted) {
        return Ok(Some(account));
    }
    let uid = id(wanted)?;
    Ok(accounts.users.iter().find(|account| Some(account.uid) == uid))
}

fn resolve_group(wanted: &str, accounts: &Accounts) -> Result<u32, SpecError> {
    if let Some(group) = accounts.groups.iter().find(|group| group.name == wanted) {
        return Ok(group.gid);
    }
    id(wanted)?.ok_or_else(|| SpecError::UnknownGroup(wanted.to_owned()))
}

/// The number that is written; `None` if it is none.
fn id(text: &str) -> Result<Option<u32>, SpecError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= MAX_ID => Ok(Some(id)),
        _ => Err(SpecError::IdOutOfRange(text.to_owned())),
    }
}

impl User {
    pub fn into_runtime(self) -> Result<RuntimeUser, SpecError> {
        Ok(UserBuilder::default()
            .uid(self.uid)
            .gid(self.gid)
            .additional_gids(self.additional_gids)
            .build()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts::parse(
            "root:x:0:0::/root:/bin/sh\nwww:x:33:34::/var/www:/bin/no\n12:x:40:41::/twelve:\n",
            "root:x:0:\nweb:x:34:\nadm:x:4:root,www\nssl:x:110:www\n",
        )
    }

    fn ids(wanted: &str) -> (u32, u32, Vec<u32>, String) {
        let user = resolve(wanted, &accounts()).unwrap();
        (user.uid, user.gid, user.additional_gids, user.home)
    }

    #[test]
    fn users_are_resolved_as_docker_does() {
        assert_eq!(ids(""), (0, 0, vec![0, 4], "/root".into()));
        assert_eq!(ids("root"), ids("0"));
        assert_eq!(ids("www"), (33, 34, vec![34, 4, 110], "/var/www".into()));
        assert_eq!(ids("33"), ids("www"));
        assert_eq!(ids("www:adm"), (33, 4, vec![4], "/var/www".into()));
        assert_eq!(ids("www:7"), (33, 7, vec![7], "/var/www".into()));
        assert_eq!(ids("1000"), (1000, 0, vec![0], "/".into()));
        assert_eq!(ids("1000:1001"), (1000, 1001, vec![1001], "/".into()));
        assert_eq!(ids(":adm"), (0, 4, vec![4], "/root".into()));
        // A name that looks like a number is a name first.
        assert_eq!(ids("12"), (40, 41, vec![41], "/twelve".into()));
    }

    #[test]
    fn unknown_ones_are_refused() {
        let error = |wanted| resolve(wanted, &accounts()).unwrap_err().to_string();
        assert!(error("nobody").contains("user `nobody`"));
        assert!(error("www:staff").contains("group `staff`"));
        assert!(error("4294967295").contains("not between"));
        assert!(error("-1").contains("user `-1`"));
    }
}
