//! Devices that come and go, flap, hide, and are somewhere else.

use super::*;
use crate::clock::Clock;

const CALM: Duration = Duration::from_secs(2);
const LOST: Duration = Duration::from_secs(30);
const WEB: DeviceKind = DeviceKind::Web;

struct Look {
    board: Board,
    now: Moment,
}

impl Look {
    fn new() -> Look {
        Look { board: Board::default(), now: Clock::manual().moment().after(LOST) }
    }

    fn arrives(&mut self, user: UserId) -> u64 {
        let number = self.board.arrive(user, WEB);
        self.board.set_visible(user, Some(true));
        number
    }

    /// The steps after a while.
    fn after(&mut self, seconds: u64) -> Vec<Step> {
        self.now = self.now.after(Duration::from_secs(seconds));
        self.board.settle(self.now, CALM, LOST).steps.iter().map(|it| it.1).collect()
    }
}

fn user(number: u128) -> UserId {
    UserId(Uuid::from_u128(number))
}

#[test]
fn somebody_with_two_devices_leaves_with_the_last() {
    let mut look = Look::new();
    let (first, second) = (look.arrives(user(1)), look.arrives(user(1)));
    assert_eq!(look.after(1), [Step::Join]);
    look.board.leave(user(1), first, look.now);
    assert_eq!(look.after(5), [], "the other one is as good");
    look.board.set(user(1), second, Status::Away);
    assert_eq!(look.after(1), [Step::Update]);
    look.board.leave(user(1), second, look.now);
    assert_eq!(look.after(5), [Step::Leave]);
    look.after(5);
    assert!(look.board.people.is_empty(), "nobody is remembered");
}

#[test]
fn a_tunnel_is_no_leave_and_coming_back_no_join() {
    let mut look = Look::new();
    let before = look.arrives(user(1));
    look.after(1);
    look.board.leave(user(1), before, look.now.after(Duration::from_secs(10)));
    assert_eq!(look.after(9), []);
    look.arrives(user(1));
    assert_eq!(look.after(5), [], "nobody heard of it");
    assert_eq!(look.board.people[&user(1)].here.len(), 1);
}

#[test]
fn whoever_flaps_is_told_of_once_in_a_calm() {
    let mut look = Look::new();
    let first = look.arrives(user(1));
    assert_eq!(look.after(1), [Step::Join]);
    look.board.leave(user(1), first, look.now);
    assert_eq!(look.after(1), [], "too soon after the last step");
    let second = look.arrives(user(1));
    assert_eq!(look.after(5), [], "and then it is as it was");
    look.board.leave(user(1), second, look.now);
    assert_eq!(look.after(1), [Step::Leave]);
    look.arrives(user(1));
    assert_eq!((look.after(1), look.after(1)), (vec![], vec![Step::Join]));
}

#[test]
fn nobody_is_told_of_before_it_is_known_that_they_may_be_seen() {
    let mut look = Look::new();
    let number = look.board.arrive(user(1), WEB);
    assert_eq!((look.after(1), look.board.unread()), (vec![], vec![user(1)]));
    look.board.set_visible(user(1), Some(false));
    let news = look.board.settle(look.now, CALM, LOST);
    assert_eq!(news, News::default(), "neither followers nor nodes hear of it, and it is not remembered");
    look.board.set_visible(user(1), Some(true));
    assert_eq!(look.after(5), [Step::Join]);
    look.board.set_visible(user(1), Some(false));
    assert_eq!(look.after(5), [Step::Leave], "who hides has left");
    look.board.leave(user(1), number, look.now);
    assert_eq!(look.after(5), []);
}

#[test]
fn what_other_nodes_say_counts_until_they_are_silent() {
    let mut look = Look::new();
    let (node, here) = (Uuid::from_u128(7), Brief::of([(Status::Online, DeviceKind::Mobile)]));
    assert!(look.board.hear(node, true, vec![(user(1), here.clone()), (user(2), here.clone())], look.now));
    assert_eq!(look.after(1), [Step::Join, Step::Join]);
    look.arrives(user(1));
    assert_eq!(look.after(5), [Step::Update], "with one more device");
    assert!(!look.board.hear(node, true, vec![(user(1), here)], look.now));
    assert_eq!(look.after(5), [Step::Leave], "what is not in the whole is not there");
    assert_eq!(look.board.whole().len(), 1, "only what is here is told on");
    assert_eq!(look.after(31), [Step::Update], "the node is lost, and what it knew");
    assert_eq!(look.board.told(user(1)).map(|it| it.devices.clone()), Some(vec![WEB]));
}
