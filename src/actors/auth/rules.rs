//! Who may what: the one table of rights, and the roles and scopes that it is about.
//!
//! A route names the right that it takes; nothing else decides. What is not in the table is nobody's.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Error, Result};
use crate::ids::{KeyId, SessionId, UserId};

/// What somebody is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everybody who has registered.
    User,
    /// Sells.
    Seller,
    /// Keeps the peace.
    Moderator,
    /// Keeps Folio running.
    Operator,
    /// Gives out roles and keys.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 5] = [Role::User, Role::Seller, Role::Moderator, Role::Operator, Role::Admin];

    /// The word for it, in tokens, rows and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Seller => "seller",
            Role::Moderator => "moderator",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    /// The role of a word.
    pub fn named(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|it| it.name() == name)
    }
}

/// What a service with a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum Scope {
    /// List users and look one up.
    #[serde(rename = "users:read")]
    UsersRead,
    /// Tell of users that another system knows.
    #[serde(rename = "users:write")]
    UsersWrite,
    /// Read profiles by the id of their user.
    #[serde(rename = "profiles:read")]
    ProfilesRead,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 3] = [Scope::UsersRead, Scope::UsersWrite, Scope::ProfilesRead];

    /// The word for it, in rows and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::UsersRead => "users:read",
            Scope::UsersWrite => "users:write",
            Scope::ProfilesRead => "profiles:read",
        }
    }

    /// The scope of a word.
    pub fn named(name: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|it| it.name() == name)
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u32);

impl Scopes {
    /// Whether it holds one.
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |it| self.has(*it))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Scopes {
        Scopes(scopes.into_iter().fold(0, |set, it| set | it.bit()))
    }
}

/// Who asks. There is no caller that stands for everybody or for Folio itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Somebody who has signed in.
    Person(Person),
    /// A program with a key.
    Service(Service),
}

/// Somebody who has signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub user: UserId,
    /// Where they signed in.
    pub session: SessionId,
    /// What they are.
    pub role: Role,
}

/// A program with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its key.
    pub key: KeyId,
    /// What the key is for.
    pub scopes: Scopes,
}

impl Caller {
    /// What limits on rates and cursors know it by.
    pub const fn number(&self) -> u128 {
        match self {
            Caller::Person(it) => it.user.0.as_u128(),
            Caller::Service(it) => it.key.0.as_u128(),
        }
    }
}

/// What can be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Right {
    /// What is open to everybody: to look at what is public, to register, to sign in.
    Look,
    /// To use what is one's own: profile, sessions, settings.
    Own,
    /// To list and find people.
    SeePeople,
    /// To tell of people whom another system knows.
    TellOfPeople,
    /// To read any profile by its user's id, for another system.
    LookUpProfiles,
    /// To end somebody else's sessions and to keep somebody out.
    Moderate,
    /// To list accounts with what only their owners see: email, state, role.
    SeeAccounts,
    /// To read what happened to anybody's account.
    Audit,
    /// To give out roles.
    Grant,
    /// To give out keys for services.
    ManageKeys,
}

/// Who holds a right.
#[derive(Debug)]
pub struct Rule {
    /// The right.
    pub right: Right,
    /// Whether it takes no token.
    pub signed_out: bool,
    /// Those of these roles hold it.
    pub roles: &'static [Role],
    /// Services whose key has this scope hold it.
    pub scope: Option<Scope>,
}

const EVERYBODY: &[Role] = &Role::ALL;

/// Every right, and who holds it.
#[rustfmt::skip]
pub const RULES: &[Rule] = &[
    Rule { right: Right::Look,           signed_out: true,  roles: EVERYBODY,                                      scope: None },
    Rule { right: Right::Own,            signed_out: false, roles: EVERYBODY,                                      scope: None },
    Rule { right: Right::SeePeople,      signed_out: false, roles: EVERYBODY,                                      scope: Some(Scope::UsersRead) },
    Rule { right: Right::TellOfPeople,   signed_out: false, roles: &[],                                            scope: Some(Scope::UsersWrite) },
    Rule { right: Right::LookUpProfiles, signed_out: false, roles: &[],                                            scope: Some(Scope::ProfilesRead) },
    Rule { right: Right::Moderate,       signed_out: false, roles: &[Role::Moderator, Role::Operator, Role::Admin], scope: None },
    Rule { right: Right::SeeAccounts,    signed_out: false, roles: &[Role::Operator, Role::Admin],                 scope: None },
    Rule { right: Right::Audit,          signed_out: false, roles: &[Role::Operator, Role::Admin],                 scope: None },
    Rule { right: Right::Grant,          signed_out: false, roles: &[Role::Admin],                                 scope: None },
    Rule { right: Right::ManageKeys,     signed_out: false, roles: &[Role::Admin],                                 scope: None },
];

/// Lets a caller do what the right allows, or says why not.
pub fn allow(right: Right, caller: Option<&Caller>) -> Result<()> {
    let rule = RULES.iter().find(|it| it.right == right).ok_or(Error::Forbidden("nobody may do this"))?;
    let held = match caller {
        _ if rule.signed_out => true,
        None => return Err(Error::Unauthenticated("a bearer token is needed")),
        Some(Caller::Person(it)) => rule.roles.contains(&it.role),
        Some(Caller::Service(it)) => rule.scope.is_some_and(|scope| it.scopes.has(scope)),
    };
    if held { Ok(()) } else { Err(Error::Forbidden("this is not for your role")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn person(role: Role) -> Caller {
        Caller::Person(Person { user: UserId(Uuid::nil()), session: SessionId(Uuid::nil()), role })
    }

    fn service(scopes: &[Scope]) -> Caller {
        Caller::Service(Service { key: KeyId(Uuid::nil()), scopes: scopes.iter().copied().collect() })
    }

    #[test]
    fn a_right_is_held_by_those_of_its_row_and_nobody_else() {
        assert_eq!(allow(Right::Look, None), Ok(()));
        assert_eq!(allow(Right::Own, None).map_err(|it| it.code()), Err("unauthenticated"));
        assert_eq!(allow(Right::Own, Some(&person(Role::User))), Ok(()));
        assert_eq!(allow(Right::Grant, Some(&person(Role::Operator))).map_err(|it| it.code()), Err("forbidden"));
        assert_eq!(allow(Right::Grant, Some(&person(Role::Admin))), Ok(()));
        let reader = service(&[Scope::ProfilesRead]);
        assert_eq!(allow(Right::LookUpProfiles, Some(&reader)), Ok(()));
        for right in [Right::Own, Right::SeePeople, Right::Grant] {
            assert_eq!(allow(right, Some(&reader)).map_err(|it| it.code()), Err("forbidden"), "{right:?}");
        }
    }

    #[test]
    fn every_role_has_its_word() {
        for role in Role::ALL {
            assert_eq!(Role::named(role.name()), Some(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
        }
        assert_eq!(Role::named("root"), None);
        for scope in Scope::ALL {
            assert_eq!(Scope::named(scope.name()), Some(scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.name());
        }
        assert_eq!(Scopes::from_iter(Scope::ALL).iter().count(), Scope::ALL.len());
    }
}
