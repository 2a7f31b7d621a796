//! The name of a sink, which one job has at a time.
//!
//! A session of the sink's own holds it, from the start of an attempt until the last writer has gone: the server gives it back
//! when the session ends, however the process did. A session that was lost is noticed before the next epoch is committed; then
//! the name is taken again, or the job fails because another one has it.

use std::time::Duration;

use levada_core::Origin;
use levada_core::sync::Mutex;

use super::database::{Claimed, Connection, Database, Fault};
use super::error::PostgresError;

/// How often the name is asked for: the server may not have noticed yet that the session which has it is dead. It takes moments
/// if its process is, and [`Session`](super::Session) sees to it that it takes less than this if its machine is.
const ATTEMPTS_MAX: u32 = 50;

/// How long it waits in between.
const PAUSE: Duration = Duration::from_millis(200);

/// The name of a sink, held for its job.
pub(super) struct Claim<C> {
    sink: String,
    operator: Origin,
    /// None after a fault.
    session: Mutex<Option<C>>,
}

impl<C: Connection> Claim<C> {
    /// Takes a name by this session.
    pub(super) fn take<D: Database<Connection = C>>(
        database: &D,
        session: C,
        sink: &str,
        operator: &Origin,
    ) -> Result<Self, Fault> {
        let claim = Self {
            sink: sink.to_owned(),
            operator: operator.clone(),
            session: Mutex::new(Some(session)),
        };
        claim.confirm(database)?;
        Ok(claim)
    }

    /// Makes sure that the name is still ours; takes it again, over another session, if this one was lost.
    pub(super) fn confirm<D: Database<Connection = C>>(&self, database: &D) -> Result<(), Fault> {
        let mut held = self.session.lock();
        let mut session = match held.take() {
            Some(session) => session,
            None => database.connect()?,
        };
        self.ask(database, &mut session)?;
        *held = Some(session);
        Ok(())
    }

    fn ask<D: Database<Connection = C>>(&self, database: &D, session: &mut C) -> Result<(), Fault> {
        for attempt in 1.. {
            let Claimed::Other { holder } = session.claim(&self.sink)? else {
                break;
            };
            let error = PostgresError::InUse {
                sink: self.sink.clone(),
                place: database.place(),
                holder,
            };
            if attempt == ATTEMPTS_MAX {
                return Err(Fault::Lasting(error.into()));
            }
            if attempt == 1 {
                let seconds = (PAUSE * ATTEMPTS_MAX).as_secs();
                tracing::warn!("{}: {error}; waiting {seconds} s for it", self.operator);
            }
            database.pause(PAUSE);
        }
        Ok(())
    }
}

/// What stands for a name on the server, among numbers: the same in every version, since jobs of several may meet there.
/// FNV-1a.
pub(super) fn number(sink: &str) -> i64 {
    let hash = sink.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_name_is_pinned() {
        // The vectors of the algorithm's authors.
        assert_eq!(number("").cast_unsigned(), 0xcbf2_9ce4_8422_2325);
        assert_eq!(number("a").cast_unsigned(), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(number("foobar").cast_unsigned(), 0x8594_4171_f739_67e8);
    }
}
