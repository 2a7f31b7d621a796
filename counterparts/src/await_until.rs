//! Waiting for something outside of the process.

use std::time::Duration;

/// Asks until the answer is yes. Between two questions the processor is given to whom we wait for.
///
/// # Panics
/// If it takes longer than half a minute.
#[track_caller]
pub fn await_until(what: &str, mut is_so: impl FnMut() -> bool) {
    const LOOK: Duration = Duration::from_millis(5);
    // Nobody sends: what is received is that time has passed.
    let (_sender, never) = std::sync::mpsc::sync_channel::<()>(0);
    for _ in 0..6_000 {
        if is_so() {
            return;
        }
        let _ = never.recv_timeout(LOOK);
    }
    panic!("it took more than 30 s until {what}");
}
