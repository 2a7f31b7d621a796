//! The scheduler under the model checkers: shuttle runs whole pools under random interleavings, loom the small primitives
//! under all of them.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test -p levada-runtime --lib model`, and the same with `loom`.

#[cfg(shuttle)]
mod pool {
    use std::panic::Location;
    use std::sync::Arc;

    use crossbeam_channel::bounded;
    use levada_core::sync::atomic::{AtomicUsize, Ordering};
    use levada_core::sync::thread;
    use levada_core::{Clock, Moment, Origin, Timestamp};
    use levada_state::StateError;
    use shuttle::sync::Barrier;

    use crate::error::Failure;
    use crate::metrics::TaskTimes;
    use crate::push::{Ending, Visitor};
    use crate::scheduler::{Pool, Schedule};
    use crate::stage::{Progress, Stage};
    use crate::task::TaskCell;
    use crate::turn::Turn;

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Moment {
            Moment::from_nanos(1)
        }

        fn wall(&self) -> Timestamp {
            Timestamp(0)
        }
    }

    /// A stage that does what a closure says.
    struct Doing<F>(F);

    impl<F: FnMut() -> Progress + Send> Stage for Doing<F> {
        fn poll(&mut self, _: &mut Turn) -> Progress {
            (self.0)()
        }

        fn visit(&mut self, _: &mut dyn Visitor) -> Result<(), StateError> {
            Ok(())
        }

        fn close(&mut self, _: Ending) -> Result<(), Failure> {
            Ok(())
        }
    }

    fn cell(id: usize, pool: &Arc<Pool>) -> Arc<TaskCell> {
        TaskCell::new(
            id,
            Origin::new("task", Location::caller()),
            Arc::clone(pool) as Arc<dyn Schedule>,
            TaskTimes::new(Moment::ZERO),
            Arc::new(Still),
        )
    }

    fn launch(task: &Arc<TaskCell>, act: impl FnMut() -> Progress + Send + 'static) {
        let (_, commands) = bounded(1);
        let (reports, _) = bounded(2);
        task.launch(Box::new(Doing(act)), false, commands, reports);
    }

    /// Runs `test` with two workers, which must stop once it says so.
    fn on_two_workers(test: impl FnOnce(&Arc<Pool>)) {
        let pool = Pool::new(2, Arc::new(Still));
        let workers: Vec<_> = (0..2)
            .map(|index| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || pool.work(index))
            })
            .collect();
        test(&pool);
        for worker in workers {
            worker.join().unwrap();
        }
    }

    /// Everything that is announced before a wake-up is seen by a poll after it, however the two race; else the worker
    /// sleeps for ever, which the checker reports as a deadlock.
    #[test]
    fn no_wake_up_is_lost() {
        shuttle::check_random(
            || {
                on_two_workers(|pool| {
                    let task = cell(0, pool);
                    let announced = Arc::new(AtomicUsize::new(0));
                    let seen = Arc::clone(&announced);
                    let done = Arc::clone(pool);
                    launch(&task, move || {
                        if seen.load(Ordering::Acquire) < 3 {
                            return Progress::Idle;
                        }
                        done.stop();
                        Progress::Ended
                    });
                    for _ in 0..3 {
                        announced.fetch_add(1, Ordering::Release);
                        task.wake();
                    }
                });
            },
            3_000,
        );
    }

    /// A task wakes two others that can only go on together: the second worker must be woken for the one too many.
    #[test]
    fn a_worker_with_too_much_to_do_wakes_another() {
        shuttle::check_random(
            || {
                on_two_workers(|pool| {
                    let barrier = Arc::new(Barrier::new(2));
                    let ended = Arc::new(AtomicUsize::new(0));
                    let pair: Vec<_> = (1..3)
                        .map(|id| {
                            let task = cell(id, pool);
                            let (barrier, ended) = (Arc::clone(&barrier), Arc::clone(&ended));
                            let pool = Arc::clone(pool);
                            let mut polls = 0;
                            launch(&task, move || {
                                polls += 1;
                                if polls == 1 {
                                    return Progress::Idle;
                                }
                                barrier.wait();
                                if ended.fetch_add(1, Ordering::AcqRel) == 1 {
                                    pool.stop();
                                }
                                Progress::Ended
                            });
                            task
                        })
                        .collect();
                    let first = cell(0, pool);
                    launch(&first, move || {
                        pair.iter().for_each(|task| task.wake());
                        Progress::Ended
                    });
                });
            },
            3_000,
        );
    }
}

#[cfg(loom)]
mod primitives {
    use std::sync::Arc;

    use levada_core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use levada_core::sync::thread;

    use crate::scheduler::TaskState;
    use crate::scheduler::sleep::Sleep;

    /// Two wakers and a runner: the task is enqueued once for each time it leaves its sleep, and its last poll sees both
    /// announcements.
    #[test]
    fn a_task_sees_what_was_announced_before_a_wake_up() {
        loom::model(|| {
            let state = Arc::new(TaskState::ready());
            let announced = Arc::new(AtomicUsize::new(0));
            let queued = Arc::new(AtomicUsize::new(1));
            let waker = {
                let (state, announced) = (Arc::clone(&state), Arc::clone(&announced));
                let queued = Arc::clone(&queued);
                thread::spawn(move || {
                    for _ in 0..2 {
                        announced.fetch_add(1, Ordering::Relaxed);
                        if state.wake() {
                            queued.fetch_add(1, Ordering::AcqRel);
                        }
                    }
                })
            };
            let mut seen = 0;
            let mut poll = || {
                while queued.load(Ordering::Acquire) > 0 {
                    queued.fetch_sub(1, Ordering::AcqRel);
                    state.start();
                    seen = announced.load(Ordering::Relaxed);
                    if !state.sleep() {
                        queued.fetch_add(1, Ordering::AcqRel);
                    }
                }
            };
            poll();
            waker.join().unwrap();
            poll();
            assert_eq!(seen, 2);
        });
    }

    /// A worker that goes to sleep while work arrives sees the work, or is woken for it.
    #[test]
    fn a_worker_does_not_sleep_through_work() {
        loom::model(|| {
            let sleep = Arc::new(Sleep::default());
            let work = Arc::new(AtomicBool::new(false));
            let worker = {
                let (sleep, work) = (Arc::clone(&sleep), Arc::clone(&work));
                thread::spawn(move || {
                    while !work.load(Ordering::Acquire) {
                        sleep.sleep(None, || work.load(Ordering::Acquire));
                    }
                })
            };
            work.store(true, Ordering::Release);
            sleep.wake_one();
            worker.join().unwrap();
        });
    }
}
