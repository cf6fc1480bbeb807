//! The data folder: is it there, may it be written, is it private, is there room.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use folio::config::Settings;
use rustix::fs::{Access, access, statvfs};

use super::{Finding, State};
use crate::cli::folder::Folder;

/// With less than this, uploads and the log of the database soon find no room.
const FREE_BYTES_LOW: u64 = 1 << 30;
/// With less than this, Folio hardly starts.
const FREE_BYTES_LEAST: u64 = 64 << 20;

pub fn look(settings: &Settings) -> Vec<Finding> {
    let path = settings.data_dir.as_path();
    vec![rights(path), room(path)]
}

fn rights(path: &Path) -> Finding {
    const WHAT: &str = "data folder";
    let shown = path.display();
    let Ok(metadata) = path.metadata() else {
        return match access(parent(path), Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => Finding::ok(WHAT, format!("{shown} is not there yet; the first start makes it")),
            Err(_) => Finding::bad(
                WHAT,
                State::Failed,
                format!("{shown} is not there and cannot be made"),
                "make the folder above it, let this user write there, or name another with --data-dir",
            ),
        };
    };
    if !metadata.is_dir() {
        return Finding::bad(WHAT, State::Failed, format!("{shown} is no folder"), "name another with --data-dir");
    }
    if access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let advice = format!("give it to the user who runs Folio: chown -R USER {shown}");
        return Finding::bad(WHAT, State::Failed, format!("this user may not write to {shown}"), advice);
    }
    for (name, forbidden) in [("", 0o002), ("secret", 0o007)] {
        let of = path.join(name);
        if of.metadata().is_ok_and(|it| it.permissions().mode() & forbidden != 0) {
            let advice = format!("chmod o-rwx {}", of.display());
            return Finding::bad(WHAT, State::Failed, format!("{} is open to every user", of.display()), advice);
        }
    }
    match Folder::holder(path) {
        Some(Some(id)) => Finding::ok(WHAT, format!("{shown}, in use by process {id}")),
        Some(None) => Finding::ok(WHAT, format!("{shown}, in use")),
        None => Finding::ok(WHAT, format!("{shown}, not in use")),
    }
}

fn room(path: &Path) -> Finding {
    const WHAT: &str = "disk";
    let Ok(disk) = statvfs(path).or_else(|_| statvfs(parent(path))) else {
        return Finding::bad(WHAT, State::Warning, "the free space cannot be told", "look at it with df");
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let detail = format!("{} MiB free for {}", free >> 20, path.display());
    if free < FREE_BYTES_LEAST {
        Finding::bad(WHAT, State::Failed, detail, "make room: writes will be refused")
    } else if free < FREE_BYTES_LOW {
        Finding::bad(WHAT, State::Warning, detail, "make room soon")
    } else {
        Finding::ok(WHAT, detail)
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
