//! `q0`: every event.

use levada::prelude::*;

use crate::event::Event;

pub(super) fn pass_on(events: impl Flow<Item = Event>) -> impl Flow<Item = Event> {
    events.map(|event| event)
}
