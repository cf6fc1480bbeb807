//! Who may do something to whom.

use crate::actors::auth::Role;
use crate::error::{Error, Result};
use crate::ids::UserId;

/// How high a role stands over others.
const fn standing(role: Role) -> u8 {
    match role {
        Role::User | Role::Seller => 0,
        Role::Moderator => 1,
        Role::Operator => 2,
        Role::Admin => 3,
    }
}

/// Nobody acts on those who stand as high as they do, nor on themselves.
pub fn may_act_on(by: Role, on: Role) -> Result<()> {
    match standing(by) > standing(on) {
        true => Ok(()),
        false => Err(Error::Forbidden("they stand as high as you do, or higher")),
    }
}

/// Roles are given by admins, and not to themselves.
pub fn may_grant(admins: &[UserId], by: UserId, to: UserId) -> Result<()> {
    if by == to {
        return Err(Error::Forbidden("nobody changes the role of their own"));
    }
    // Somebody may have taken it away a moment ago.
    if admins.contains(&by) { Ok(()) } else { Err(Error::Forbidden("you are no admin any more")) }
}

/// When one of them is an admin no more, somebody else has to be.
pub fn keeps_an_admin(admins: &[UserId], without: UserId) -> Result<()> {
    match admins == [without] {
        true => Err(Error::Conflict { code: "last_admin", detail: "nobody else is an admin" }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn nobody_acts_on_whoever_stands_as_high() {
        use Role::*;
        for (by, over) in [
            (User, &[][..]),
            (Seller, &[]),
            (Moderator, &[User, Seller]),
            (Operator, &[User, Seller, Moderator]),
            (Admin, &[User, Seller, Moderator, Operator]),
        ] {
            let found: Vec<Role> = Role::ALL.into_iter().filter(|on| may_act_on(by, *on).is_ok()).collect();
            assert_eq!(found, over, "{by:?}");
        }
    }

    #[test]
    fn an_admin_gives_roles_to_others_and_one_is_always_left() {
        let [ada, bob, eve] = [1, 2, 3].map(|it| UserId(Uuid::from_u128(it)));
        assert_eq!(may_grant(&[ada], ada, bob), Ok(()));
        for (by, to) in [(ada, ada), (eve, bob)] {
            assert_eq!(may_grant(&[ada], by, to).map_err(|it| it.code()), Err("forbidden"));
        }
        for (admins, kept) in [(&[ada][..], false), (&[ada, bob], true), (&[bob], true), (&[], true)] {
            assert_eq!(keeps_an_admin(admins, ada).is_ok(), kept, "{admins:?}");
        }
    }
}
