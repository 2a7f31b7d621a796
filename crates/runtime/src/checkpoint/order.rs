//! What the coordinator tells a task about checkpoints.

use std::sync::Arc;

use levada_core::sync::Mutex;
use levada_core::sync::atomic::{AtomicBool, Ordering};
use levada_state::Saving;

use crate::checkpoint::hold::Hold;

/// A checkpoint that all tasks are to take part in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Order {
    /// Its number, and what is wanted of the state.
    pub(crate) saving: Saving,
    /// Whether a channel whose barrier has come waits for the others.
    pub(crate) aligns: bool,
    /// Whether sources stop at the barrier.
    pub(crate) stops: bool,
}

impl Order {
    pub(crate) fn number(&self) -> u64 {
        self.saving.checkpoint
    }
}

/// What has been told to a task, until it looks. Each entry says all that there is to know about its subject, so that a later
/// one takes the place of one that has not been read: nothing queues up.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    is_there: AtomicBool,
    letters: Mutex<Letters>,
    /// What the task says, in turn, of the checkpoint that it is to take part in: what that waits for.
    hold: Mutex<Option<(u64, Hold)>>,
}

/// The last word on each subject.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Letters {
    /// A checkpoint is to be taken.
    pub(crate) order: Option<Order>,
    /// This checkpoint must not wait any longer: its barriers overtake.
    pub(crate) overtake: Option<u64>,
    /// Checkpoints up to this one are given up, or complete.
    pub(crate) over: Option<u64>,
    /// Checkpoints up to this one are complete: sinks commit what they prepared for them.
    pub(crate) commit: Option<u64>,
    /// For checkpoints up to this one every sink has committed: sources keep how far they had been read.
    pub(crate) settle: Option<u64>,
}

impl Mail {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Adds to what has been told. The task must be woken if it is to look soon.
    pub(crate) fn tell(&self, write: impl FnOnce(&mut Letters)) {
        let mut letters = self.letters.lock();
        write(&mut letters);
        self.is_there.store(true, Ordering::Release);
    }

    /// Says what a checkpoint waits for here.
    pub(crate) fn say(&self, checkpoint: u64, hold: Hold) {
        *self.hold.lock() = Some((checkpoint, hold));
    }

    /// What a checkpoint waits for at the task, as of the end of its last poll.
    pub(crate) fn hold(&self, checkpoint: u64) -> Hold {
        match &*self.hold.lock() {
            Some((number, hold)) if *number == checkpoint => hold.clone(),
            _ => Hold::Away,
        }
    }

    /// What has been told since the last time.
    pub(crate) fn take(&self) -> Option<Letters> {
        if !self.is_there.load(Ordering::Acquire) {
            return None;
        }
        let mut letters = self.letters.lock();
        self.is_there.store(false, Ordering::Relaxed);
        Some(std::mem::take(&mut letters))
    }
}

/// Tells all tasks, the last one first: tasks are numbered from the sources on, and one that runs reads its mail before it is
/// woken. Whatever it sends then comes to tasks that have been told already.
pub(crate) fn tell_all(mails: &[Arc<Mail>], write: impl Fn(&mut Letters)) {
    for mail in mails.iter().rev() {
        mail.tell(&write);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    /// A source that runs begins at once, and those behind it learn of the barrier while others are still being told.
    #[test]
    fn who_has_been_told_of_a_checkpoint_sends_only_to_those_that_have() {
        const TASKS: usize = 1_000;
        for checkpoint in 1..=100 {
            let mails: Vec<_> = (0..TASKS).map(|_| Mail::new()).collect();
            let both = Barrier::new(2);
            let untold = thread::scope(|scope| {
                let source = scope.spawn(|| {
                    both.wait();
                    while mails[0].take().is_none() {
                        std::hint::spin_loop();
                    }
                    mails[1..]
                        .iter()
                        .filter(|mail| mail.take().is_none())
                        .count()
                });
                both.wait();
                tell_all(&mails, |letters| letters.over = Some(checkpoint));
                source.join().unwrap()
            });
            assert_eq!(untold, 0, "in round {checkpoint}");
        }
    }
}
