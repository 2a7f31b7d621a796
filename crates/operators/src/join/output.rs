//! What comes out of a join.

use std::sync::Arc;

use levada_core::{Origin, Room};
use levada_runtime::metrics::OperatorCounters;
use levada_runtime::{Blame, Push, Turn};

use crate::join::rows::{Next, Position, Rows};
use crate::join::rule::{Stamp, Within};
use crate::join::sides::Way;

/// The closure that makes records of pairs, and where they go.
pub(crate) struct Output<F, P> {
    pub(crate) closure: Arc<F>,
    pub(crate) counters: Arc<OperatorCounters>,
    pub(crate) operator: Origin,
    pub(crate) next: P,
}

impl<F, P> Output<F, P> {
    /// Goes on with a record through the rows of the other side that have such times.
    #[inline]
    pub(crate) fn meet<W, A, B, S, O>(
        &mut self,
        record: &W::Own,
        stamp: S,
        rows: &Rows<W::Other, S>,
        position: &mut Position,
        times: Within,
        turn: &mut Turn,
    ) -> Room
    where
        W: Way<A, B>,
        S: Stamp,
        F: Fn(&A, &B) -> O,
        P: Push<O>,
    {
        let mut room = Room::Free;
        while !room.is_full() {
            match rows.next(position, times) {
                Next::End => break,
                Next::Chunk => {}
                Next::Row(row) => {
                    let blame = Blame::on(&self.operator);
                    let out = W::call(&*self.closure, record, &row.record);
                    blame.lift();
                    self.counters.records_out.add(1);
                    turn.timestamp = stamp.timestamp().max(row.stamp.timestamp());
                    room = room.and(self.next.push(out, turn));
                }
            }
            room = room.and(turn.spend());
        }
        turn.timestamp = stamp.timestamp();
        room
    }
}
