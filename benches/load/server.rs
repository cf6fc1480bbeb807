//! The other side, seen through /proc: who listens on a port, what it used, what it holds.

use std::fs;
use std::time::Duration;

/// The kernel counts processor time for programs in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);
const LISTENING: &str = "0A";

/// What a process has used and holds.
#[derive(Clone, Copy)]
pub struct Usage {
    pub processor: Duration,
    pub resident_kib: u64,
}

/// The process that listens on a port of this machine, if there is one that we may look at.
pub fn listening_on(port: u16) -> Option<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|it| fs::read_to_string(it).unwrap_or_default());
    let lines = tables.iter().flat_map(|it| it.lines().skip(1));
    let sockets: Vec<String> = lines
        .filter_map(|line| {
            let parts: Vec<&str> = line.split_whitespace().collect();
            let here = u16::from_str_radix(parts.get(1)?.rsplit_once(':')?.1, 16).ok()?;
            (here == port && *parts.get(3)? == LISTENING).then(|| format!("socket:[{}]", parts[9]))
        })
        .collect();
    let processes = fs::read_dir("/proc").ok()?.flatten().filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
    let mut holders = processes.filter(|process| {
        let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
        let mut links = files.filter_map(|it| fs::read_link(it.path()).ok());
        links.any(|link| sockets.iter().any(|it| link.as_os_str() == it.as_str()))
    });
    holders.next()
}

/// What a process has used until now.
pub fn usage(process: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may hold blanks: what counts comes behind it.
    let mut parts = stat.rsplit_once(") ")?.1.split(' ').skip(11).map_while(|it| it.parse::<u32>().ok());
    let ticks = parts.next()? + parts.next()?;
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let resident = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    let resident_kib = resident.trim().trim_end_matches(" kB").parse().ok()?;
    Some(Usage { processor: TICK * ticks, resident_kib })
}

/// What a process and those that it started have used until now, with those that have ended.
pub fn with_children(process: u32) -> Duration {
    let ticks = |process: u32, ended: bool| -> Option<(u32, u64)> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let parts: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let counted = &parts[11..if ended { 15 } else { 13 }];
        Some((parts[1].parse().ok()?, counted.iter().filter_map(|it| it.parse::<u64>().ok()).sum()))
    };
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let others = all.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
    let children = others.filter_map(|it| ticks(it, false)).filter(|it| it.0 == process).map(|it| it.1);
    let own = ticks(process, true).map_or(0, |it| it.1);
    TICK * u32::try_from(own + children.sum::<u64>()).unwrap_or(u32::MAX)
}
