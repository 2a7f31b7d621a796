//! Wake-ups: how one part of the engine tells a task that there is something to do.

/// Something that can be woken: in production a task of the scheduler.
pub trait Wake: Send + Sync {
    /// Makes sure that the task is polled after this call, once, however often it is called before that poll.
    fn wake(&self);
}
