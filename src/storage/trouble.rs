//! What a failed statement means: for whoever waits for it, and for whoever asked.

use crate::error::Error;

/// Kinds of failure, told apart by what helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A value is not one the database takes: without it the rest can be written.
    Invalid,
    /// Something like it is there already: without it the rest can be written.
    Taken,
    /// Another transaction was in the way: trying again helps.
    Again,
    /// The database is gone, read-only, shutting down or too slow.
    Gone,
    /// There is no room.
    Full,
    /// A statement of ours is wrong.
    Defect,
}

impl Trouble {
    /// Tells the kind of a failure.
    pub fn of(error: &sqlx::Error) -> Trouble {
        match error {
            sqlx::Error::Encode(_) => Trouble::Invalid,
            sqlx::Error::Database(it) => Trouble::of_code(&it.code().unwrap_or_default()),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Trouble::Gone,
            _ => Trouble::Defect,
        }
    }

    /// A SQLSTATE of PostgreSQL has five characters, an extended code of SQLite is a number below 10,000.
    fn of_code(code: &str) -> Trouble {
        match code {
            // Serialization failure, deadlock, lock not available.
            "40001" | "40P01" | "55P03" => Trouble::Again,
            "23505" => Trouble::Taken,
            "53100" => Trouble::Full,
            "25006" | "57014" => Trouble::Gone,
            _ if code.len() == 5 => match &code[..2] {
                // Data, integrity, limits of the program such as a key too long for its index.
                "22" | "23" | "54" => Trouble::Invalid,
                // Connection, authentication, catalogue, resources, operator, system, transaction state.
                "08" | "28" | "3D" | "53" | "57" | "58" | "25" => Trouble::Gone,
                _ => Trouble::Defect,
            },
            "1555" | "2067" => Trouble::Taken,
            _ => match code.parse::<u32>().map(|it| it & 0xff) {
                // Busy and locked.
                Ok(5 | 6) => Trouble::Again,
                // Too big, constraint, mismatch.
                Ok(18..=20) => Trouble::Invalid,
                Ok(13) => Trouble::Full,
                // Permission, abort, memory, read-only, interrupt, input and output, corrupt, cannot open.
                Ok(3 | 4 | 7 | 8 | 9 | 10 | 11 | 14 | 26) => Trouble::Gone,
                _ => Trouble::Defect,
            },
        }
    }
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Trouble {
        let trouble = Trouble::of(&error);
        if !matches!(trouble, Trouble::Invalid | Trouble::Taken) {
            tracing::warn!(%error, ?trouble, "the database did not do it");
        }
        trouble
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Error {
        match trouble {
            Trouble::Invalid => Error::invalid("value", "the database does not take it"),
            Trouble::Taken => Error::Conflict { code: "already_exists", detail: "it exists already" },
            Trouble::Again | Trouble::Gone => Error::unavailable("database"),
            Trouble::Full => Error::Full,
            Trouble::Defect => Error::internal("a statement does not fit the tables"),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Error {
        Trouble::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::Trouble;

    #[test]
    fn each_code_means_what_helps_against_it() {
        for (codes, trouble) in [
            (&["23505", "1555", "2067"][..], Trouble::Taken),
            (&["22021", "23502", "23514", "54000", "275", "1299", "18", "20"], Trouble::Invalid),
            (&["40001", "40P01", "5", "6", "517", "261"], Trouble::Again),
            (&["25006", "57P01", "57014", "53300", "08006", "10", "778", "8", "14", "11"], Trouble::Gone),
            (&["53100", "13"], Trouble::Full),
            (&["42601", "42P01", "1", ""], Trouble::Defect),
        ] {
            for code in codes {
                assert_eq!(Trouble::of_code(code), trouble, "{code}");
            }
        }
    }
}
