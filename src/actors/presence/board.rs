//! Who is here, on this node and the others, and what of it was told.
//!
//! Everything that happens marks somebody; [`Board::settle`] comes by some times a second and tells what is different
//! from what was told before. Whoever comes and goes in between was never heard of.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use uuid::Uuid;

use super::rules::{Brief, DeviceKind, Status, Step, step};
use crate::clock::Moment;
use crate::ids::UserId;

/// One connection of somebody.
struct Device {
    number: u64,
    kind: DeviceKind,
    status: Status,
}

#[derive(Default)]
struct Record {
    here: Vec<Device>,
    there: Vec<(Uuid, Brief)>,
    /// Whether others may see it; unknown until it was read.
    visible: Option<bool>,
    /// What the other nodes were told.
    sent: Brief,
    /// What those who follow were told, and when.
    told: Brief,
    told_at: Moment,
    /// When nobody was left, though it may not have been told yet.
    left_at: Option<Moment>,
}

impl Record {
    /// What this node tells the others.
    fn local(&self) -> Brief {
        let seen = self.here.iter().filter(|_| self.visible == Some(true));
        Brief::of(seen.map(|it| (it.status, it.kind)))
    }

    fn is_over(&self) -> bool {
        self.here.is_empty() && self.there.is_empty() && self.told.is_empty() && self.sent.is_empty()
    }
}

/// What is different since the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// For those who follow; for how long it has been so.
    pub steps: Vec<(UserId, Step, Brief, Duration)>,
    /// For the other nodes.
    pub sent: Vec<(UserId, Brief)>,
    /// Who came to this node or left it, to be remembered as seen.
    pub seen: Vec<UserId>,
}

/// Who is here.
#[derive(Default)]
pub(super) struct Board {
    people: HashMap<UserId, Record>,
    marked: HashSet<UserId>,
    /// Devices that are gone unless they come back.
    leaving: BTreeMap<(Moment, u64), UserId>,
    nodes: HashMap<Uuid, Moment>,
    devices: u64,
}

impl Board {
    /// Takes a device in, and gives its number.
    pub fn arrive(&mut self, user: UserId, kind: DeviceKind) -> u64 {
        self.devices += 1;
        let device = Device { number: self.devices, kind, status: Status::Online };
        self.people.entry(user).or_default().here.push(device);
        self.marked.insert(user);
        self.devices
    }

    /// Lets a device go at a moment to come.
    pub fn leave(&mut self, user: UserId, number: u64, at: Moment) {
        self.leaving.insert((at, number), user);
    }

    /// Notes how somebody is at a device.
    pub fn set(&mut self, user: UserId, number: u64, status: Status) {
        let record = self.people.get_mut(&user);
        if let Some(device) = record.and_then(|it| it.here.iter_mut().find(|it| it.number == number)) {
            device.status = status;
            self.marked.insert(user);
        }
    }

    /// Those here of whom it is to be read whether others may see them.
    pub fn unread(&self) -> Vec<UserId> {
        let unread = |it: &&UserId| self.people.get(it).is_some_and(|it| it.visible.is_none() && !it.here.is_empty());
        self.marked.iter().filter(unread).copied().collect()
    }

    /// Notes whether others may see somebody; `None` if it has to be read anew.
    pub fn set_visible(&mut self, user: UserId, visible: Option<bool>) {
        if let Some(record) = self.people.get_mut(&user) {
            record.visible = visible;
            self.marked.insert(user);
        }
    }

    /// Has it read anew of everybody: a hint may be missing.
    pub fn doubt(&mut self) {
        let all: Vec<UserId> = self.people.keys().copied().collect();
        all.into_iter().for_each(|it| self.set_visible(it, None));
    }

    /// Hears what another node knows: all that it knows, or what has changed. Tells whether the node is new.
    pub fn hear(&mut self, node: Uuid, whole: bool, people: Vec<(UserId, Brief)>, now: Moment) -> bool {
        let new = self.nodes.insert(node, now).is_none();
        if whole {
            self.forget(node);
        }
        for (user, brief) in people {
            let there = &mut self.people.entry(user).or_default().there;
            there.retain(|it| it.0 != node);
            if !brief.is_empty() {
                there.push((node, brief));
            }
            self.marked.insert(user);
        }
        new
    }

    fn forget(&mut self, node: Uuid) {
        for (user, record) in &mut self.people {
            let before = record.there.len();
            record.there.retain(|it| it.0 != node);
            if record.there.len() < before {
                self.marked.insert(*user);
            }
        }
    }

    /// Everything that this node has told the others.
    pub fn whole(&self) -> Vec<(UserId, Brief)> {
        let told = self.people.iter().filter(|it| !it.1.sent.is_empty());
        told.map(|(user, record)| (*user, record.sent.clone())).collect()
    }

    /// How somebody is here, as it was told.
    pub fn told(&self, user: UserId) -> Option<&Brief> {
        self.people.get(&user).map(|it| &it.told).filter(|it| !it.is_empty())
    }

    /// How many are here, on any node.
    pub fn count(&self) -> usize {
        self.people.values().filter(|it| !it.told.is_empty()).count()
    }

    /// Tells what is different. Nobody changes twice within `calm`; a node that was silent for `lost_after` has nobody.
    pub fn settle(&mut self, now: Moment, calm: Duration, lost_after: Duration) -> News {
        let lost: Vec<Uuid> = self.nodes.iter().filter(|it| now.since(*it.1) > lost_after).map(|it| *it.0).collect();
        for node in lost {
            self.nodes.remove(&node);
            self.forget(node);
        }
        while let Some(entry) = self.leaving.first_entry().filter(|it| it.key().0 <= now) {
            let ((_, number), user) = entry.remove_entry();
            if let Some(record) = self.people.get_mut(&user) {
                record.here.retain(|it| it.number != number);
                self.marked.insert(user);
            }
        }
        let mut news = News::default();
        for user in std::mem::take(&mut self.marked) {
            let Some(record) = self.people.get_mut(&user) else { continue };
            if record.visible.is_none() && !record.here.is_empty() {
                // Read with the next look; until then nobody is told anything.
                self.marked.insert(user);
                continue;
            }
            let local = record.local();
            if local != record.sent {
                if local.is_empty() != record.sent.is_empty() {
                    news.seen.push(user);
                }
                news.sent.push((user, local.clone()));
                record.sent = local;
            }
            let all = Brief::of(record.sent.parts().chain(record.there.iter().flat_map(|it| it.1.parts())));
            record.left_at = Some(record.left_at.unwrap_or(now)).filter(|_| all.is_empty());
            if let Some(step) = step(&record.told, &all) {
                if record.told_at != Moment::default() && now.since(record.told_at) < calm {
                    self.marked.insert(user);
                    continue;
                }
                (record.told, record.told_at) = (all.clone(), now);
                let since = record.left_at.map(|it| now.since(it)).unwrap_or_default();
                news.steps.push((user, step, all, since));
            }
            // Remembered for a while after they left, so that whoever flaps does so slowly.
            if record.is_over() {
                if now.since(record.told_at) < calm {
                    self.marked.insert(user);
                } else {
                    self.people.remove(&user);
                }
            }
        }
        news
    }
}

#[cfg(test)]
mod tests;
