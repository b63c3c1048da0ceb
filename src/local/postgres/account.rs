//! Under which account the private PostgreSQL runs: ours, but never root, which it refuses.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The account that root switches to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Where databases of root go when the chosen place lies behind a door that is shut for others,
/// such as root's home.
const OPEN_TO_ALL: &str = "/var/lib/stickymark";

impl Account {
    /// `None` for an ordinary user, who keeps their account. For root it is the owner of the data
    /// directory if there is one already, else `postgres`, else `nobody`.
    pub(super) fn to_step_down_to(data: &Path) -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        if let Ok(owner) = data.metadata()
            && owner.uid() != 0
        {
            return Ok(Some(Self {
                uid: owner.uid(),
                gid: owner.gid(),
            }));
        }
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let account = ["postgres", "nobody"]
            .iter()
            .find_map(|name| Self::named(&passwd, name));
        let account = account.context(
            "PostgreSQL does not run as root, and /etc/passwd has neither postgres nor nobody. Start \
             as an ordinary user, or set database.url",
        )?;
        Ok(Some(account))
    }

    fn named(passwd: &str, name: &str) -> Option<Self> {
        let mut lines = passwd
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>());
        let fields = lines.find(|fields| fields.first() == Some(&name))?;
        // macOS writes -2 for `nobody`.
        let id = |place: usize| Some(fields.get(place)?.parse::<i64>().ok()? as u32);
        let (uid, gid) = (id(2)?, id(3)?);
        (uid != 0).then_some(Self { uid, gid })
    }

    /// Whether every directory above `path` lets the account through.
    fn reaches(self, path: &Path) -> bool {
        path.ancestors()
            .skip(1)
            .filter_map(|dir| dir.metadata().ok())
            .all(|dir| {
                let mode = dir.mode();
                let search = match (dir.uid() == self.uid, dir.gid() == self.gid) {
                    (true, _) => 0o100,
                    (_, true) => 0o010,
                    _ => 0o001,
                };
                mode & search != 0
            })
    }

    /// `path`, or if the account cannot get there, one that belongs to `path` and no other.
    pub(super) fn reachable(self, path: &Path) -> PathBuf {
        if self.reaches(path) {
            return path.to_path_buf();
        }
        let name = path
            .to_string_lossy()
            .replace('%', "%25")
            .replace('/', "%2F");
        Path::new(OPEN_TO_ALL).join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_from_the_list_of_users() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnobody:*:-2:-2::/:/x\npostgres:x:105:112::/:/x\n";
        let account = |name| Account::named(passwd, name).map(|account| (account.uid, account.gid));
        assert_eq!(account("postgres"), Some((105, 112)));
        assert_eq!(account("nobody"), Some((4_294_967_294, 4_294_967_294)));
        assert_eq!(account("root"), None);
        assert_eq!(account("post"), None);
    }

    #[test]
    fn a_place_behind_a_shut_door_is_replaced_by_one_of_its_own() {
        use std::os::unix::fs::PermissionsExt;
        let nobody = Account {
            uid: 65534,
            gid: 65534,
        };
        let temporary = tempfile::tempdir().unwrap();
        let home = temporary.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let set = |mode| std::fs::set_permissions(&home, PermissionsExt::from_mode(mode)).unwrap();
        let data = home.join("clone/data");
        std::fs::set_permissions(temporary.path(), PermissionsExt::from_mode(0o755)).unwrap();
        set(0o711);
        assert_eq!(nobody.reachable(&data), data);
        set(0o700);
        let replaced = nobody.reachable(&data);
        assert_eq!(replaced.parent(), Some(Path::new(OPEN_TO_ALL)));
        assert_ne!(replaced, nobody.reachable(&home.join("clone%2Fdata")));
    }
}
