//! What others see of somebody who is here on several devices, and what changes about it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::UserId;

/// What somebody is here with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// A browser on a large screen.
    Web,
    /// Something that fits into a hand.
    Mobile,
    /// A program of its own.
    Desktop,
    /// Nobody can tell.
    #[default]
    Other,
}

impl DeviceKind {
    /// Guesses it from what a program calls itself.
    pub fn of(user_agent: &str) -> DeviceKind {
        let agent = user_agent.to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|it| agent.contains(it));
        match () {
            () if says(&["mobi", "android", "iphone", "ipad"]) => DeviceKind::Mobile,
            () if says(&["electron", "tauri"]) => DeviceKind::Desktop,
            () if says(&["mozilla"]) => DeviceKind::Web,
            () => DeviceKind::Other,
        }
    }
}

/// How somebody is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// On one device at least.
    Online,
    /// Here, but away from every device.
    Away,
    /// Not here, or not to be seen.
    #[default]
    Offline,
}

/// How somebody is here, as far as one node knows, or all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brief {
    /// The best of all devices.
    pub status: Status,
    /// The kinds, each once.
    pub devices: Vec<DeviceKind>,
}

impl Brief {
    /// Puts devices together, or what several nodes know.
    pub fn of(devices: impl IntoIterator<Item = (Status, DeviceKind)>) -> Brief {
        let mut brief = Brief::default();
        for (status, kind) in devices {
            brief.status = brief.status.min(status);
            if let Err(at) = brief.devices.binary_search(&kind) {
                brief.devices.insert(at, kind);
            }
        }
        brief
    }

    /// Each kind with the best status.
    pub fn parts(&self) -> impl Iterator<Item = (Status, DeviceKind)> {
        self.devices.iter().map(|it| (self.status, *it))
    }

    /// Whether there is nobody.
    pub const fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }
}

/// What kind of change it is. An update is never a leave and a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Was not here.
    Join,
    /// Is not here any more.
    Leave,
    /// Is here in another way.
    Update,
}

/// The step between two looks; none where they are the same.
pub fn step(before: &Brief, after: &Brief) -> Option<Step> {
    match (before.is_empty(), after.is_empty()) {
        _ if before == after => None,
        (true, _) => Some(Step::Join),
        (_, true) => Some(Step::Leave),
        _ => Some(Step::Update),
    }
}

/// Somebody, as others see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Seen {
    /// Who.
    pub user_id: UserId,
    /// Whether they are here.
    pub online: bool,
    /// How.
    pub status: Status,
    /// With what; each kind once.
    pub devices: Vec<DeviceKind>,
    /// When they were here last, if they are not, and were ever seen.
    pub last_seen: Option<DateTime<Utc>>,
}

impl Seen {
    /// Somebody by what is known of them.
    pub fn new(user_id: UserId, brief: &Brief, last_seen: Option<DateTime<Utc>>) -> Seen {
        let Brief { status, ref devices } = *brief;
        let online = status != Status::Offline;
        Seen { user_id, online, status, devices: devices.clone(), last_seen: last_seen.filter(|_| !online) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_as_present_as_their_best_device() {
        let (phone, browser) = (DeviceKind::Mobile, DeviceKind::Web);
        let both = Brief::of([(Status::Away, phone), (Status::Online, browser), (Status::Away, phone)]);
        assert_eq!(both, Brief { status: Status::Online, devices: vec![browser, phone] });
        let away = Brief::of([(Status::Away, phone)]);
        assert_eq!(away.status, Status::Away);
        assert_eq!(Brief::of(both.parts().chain(away.parts())), both);
        assert_eq!(Brief::of([]).status, Status::Offline);
    }

    #[test]
    fn a_change_between_two_looks_is_one_step() {
        let nobody = Brief::default();
        let here = Brief::of([(Status::Online, DeviceKind::Web)]);
        let away = Brief::of([(Status::Away, DeviceKind::Web)]);
        assert_eq!(step(&nobody, &here), Some(Step::Join));
        assert_eq!(step(&here, &away), Some(Step::Update));
        assert_eq!(step(&away, &nobody), Some(Step::Leave));
        assert_eq!((step(&here, &here), step(&nobody, &nobody)), (None, None));
    }

    #[test]
    fn programs_are_told_apart_by_what_they_call_themselves() {
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
        let iphone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148 Safari/604.1";
        assert_eq!([firefox, iphone].map(DeviceKind::of), [DeviceKind::Web, DeviceKind::Mobile]);
        assert_eq!(
            [DeviceKind::of("folio-desktop Electron/39"), DeviceKind::of("curl/8")],
            [DeviceKind::Desktop, DeviceKind::Other]
        );
    }
}
