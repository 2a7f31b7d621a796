//! The scheduler under the model checkers: shuttle runs whole pools under random interleavings, loom the small primitives
//! under all of them.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test -p levada-runtime --lib model`, and the same with `loom`.

#[cfg(shuttle)]
mod pool {
    use std::panic::Location;
    use std::sync::Arc;
    use std::time::Duration;

    use crossbeam_channel::bounded;
    use levada_core::sync::atomic::{AtomicUsize, Ordering};
    use levada_core::sync::{Mutex, thread};
    use levada_core::{Clock, Moment, Origin, Room, Timestamp, Wake};
    use levada_network::{
        Budget, ChannelGauge, EdgeGauge, Gate, Outbox, OutboxOptions, RoundRobin,
    };
    use levada_state::StateError;
    use shuttle::sync::Barrier;

    use crate::checkpoint::{Mail, Participant};
    use crate::error::Failure;
    use crate::metrics::{OperatorCounters, TaskTimes};
    use crate::push::{Downstream, Ending, Push, Signal, Visitor};
    use crate::scheduler::{Pool, Schedule};
    use crate::stage::{InboxStage, Input, Progress, Replay, Sender, Stage};
    use crate::state_memory::{StateMemory, Weigher};
    use crate::task::{Duties, TaskCell, TaskWaker};
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
        fn poll(&mut self, _: &mut Turn, _: &mut Participant) -> Progress {
            (self.0)()
        }

        fn begin(&mut self, _: &mut Turn, _: &mut Participant) {}

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
            id,
            Arc::clone(pool) as Arc<dyn Schedule>,
            TaskTimes::new(Moment::ZERO),
            Arc::new(Still),
        )
    }

    fn launch(task: &Arc<TaskCell>, act: impl FnMut() -> Progress + Send + 'static) {
        launch_stage(task, Box::new(Doing(act)));
    }

    fn launch_stage(task: &Arc<TaskCell>, stage: Box<dyn Stage>) {
        let (_, commands) = bounded(1);
        let (reports, _) = bounded(2);
        let duties = Duties {
            sink: false,
            source: false,
        };
        let waker = Arc::new(TaskWaker(Arc::clone(task)));
        let participant = Participant::new(task.id(), Mail::new(), None, reports.clone(), waker);
        let weigher = Weigher::new(StateMemory::new(None, Vec::new()), std::iter::empty());
        task.launch(stage, duties, participant, weigher, commands, reports);
    }

    fn origin() -> Origin {
        Origin::new("operator", Location::caller())
    }

    /// Sends the numbers from `next` to `end` through an outbox.
    struct Sending {
        sender: Sender<u64, RoundRobin>,
        next: u64,
        end: u64,
        ended: bool,
    }

    impl Sending {
        fn advance(&mut self, turn: &mut Turn) -> Progress {
            if self.sender.resume(turn).is_full() {
                return Progress::of_full(turn);
            }
            while self.next < self.end {
                self.next += 1;
                let room = self.sender.push(self.next - 1, turn);
                if room.and(turn.spend()).is_full() {
                    return Progress::of_full(turn);
                }
            }
            if !self.ended {
                self.ended = true;
                if self.sender.signal(Signal::End, turn).is_full() {
                    return Progress::of_full(turn);
                }
            }
            Progress::Ended
        }
    }

    impl Stage for Sending {
        fn poll(&mut self, turn: &mut Turn, _: &mut Participant) -> Progress {
            let progress = self.advance(turn);
            progress.after_tending(self.sender.tend(turn))
        }

        fn begin(&mut self, _: &mut Turn, _: &mut Participant) {}

        fn visit(&mut self, _: &mut dyn Visitor) -> Result<(), StateError> {
            Ok(())
        }

        fn close(&mut self, ending: Ending) -> Result<(), Failure> {
            self.sender.close(ending)
        }
    }

    /// What has come out of all consumers, and how many of them have not ended. The last one stops the pool.
    struct Arrived {
        records: Mutex<Vec<u64>>,
        open: AtomicUsize,
        pool: Arc<Pool>,
    }

    struct Receiving(Arc<Arrived>);

    impl Downstream for Receiving {
        fn resume(&mut self, _: &mut Turn) -> Room {
            Room::Free
        }

        fn mark(&mut self, _: &mut Turn) {}

        fn signal(&mut self, signal: Signal, _: &mut Turn) -> Room {
            if signal == Signal::End && self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.0.pool.stop();
            }
            Room::Free
        }

        fn tend(&mut self, _: &mut Turn) -> Room {
            Room::Free
        }

        fn visit(&mut self, _: &mut dyn Visitor) -> Result<(), StateError> {
            Ok(())
        }

        fn close(&mut self, _: Ending) -> Result<(), Failure> {
            Ok(())
        }
    }

    impl Push<u64> for Receiving {
        fn push(&mut self, record: u64, _: &mut Turn) -> Room {
            self.0.records.lock().push(record);
            Room::Free
        }
    }

    /// Runs `test` with two workers, which must stop once it says so.
    fn on_two_workers<R>(test: impl FnOnce(&Arc<Pool>) -> R) -> R {
        let pool = Pool::new(2, Arc::new(Still));
        let workers: Vec<_> = (0..2)
            .map(|index| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || pool.work(index))
            })
            .collect();
        let result = test(&pool);
        for worker in workers {
            worker.join().unwrap();
        }
        result
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

    /// Two producers and two consumers with the real exchange between them, at one credit for each channel, or at one
    /// floating buffer for each gate: everything arrives once, and both consumers end, else the checker reports a deadlock.
    #[test]
    fn an_exchange_delivers_everything_with_one_credit() {
        for (exclusive, floating) in [(1, 0), (0, 1)] {
            shuttle::check_random(
                move || {
                    let arrived = on_two_workers(|pool| exchange(pool, exclusive, floating));
                    let mut records = arrived.records.lock().clone();
                    records.sort_unstable();
                    assert_eq!(records, (0..2 * EACH).collect::<Vec<_>>());
                },
                1_000,
            );
        }
    }

    const EACH: u64 = 6;

    fn exchange(pool: &Arc<Pool>, exclusive: u32, floating: u32) -> Arc<Arrived> {
        let tasks: Vec<_> = (0..4).map(|id| cell(id, pool)).collect();
        let waker = |task: usize| Arc::new(TaskWaker(Arc::clone(&tasks[task]))) as Arc<dyn Wake>;
        let arrived = Arc::new(Arrived {
            records: Mutex::new(Vec::new()),
            open: AtomicUsize::new(2),
            pool: Arc::clone(pool),
        });
        let mut ports: Vec<Vec<Vec<_>>> = vec![Vec::new(), Vec::new()];
        for consumer in 2..4 {
            let (gate, of_producers) = Gate::new(2, exclusive, floating, waker(consumer));
            for (ports, port) in ports.iter_mut().zip(of_producers) {
                ports.push(vec![port]);
            }
            let chain = Input::Push(Box::new(Receiving(Arc::clone(&arrived))), None);
            let counters = OperatorCounters::new();
            let replay = Replay::new(Vec::new(), None);
            let inbox = InboxStage::new(vec![gate], replay, chain, origin(), counters);
            launch_stage(&tasks[consumer], Box::new(inbox));
        }
        for (producer, routes) in ports.into_iter().enumerate() {
            let options = OutboxOptions {
                batch_bytes: 1 << 10,
                batch_records_max: 2,
                queue_max: 1,
                spare_max: 1,
                buffer_timeout: Duration::ZERO,
            };
            let outbox = Outbox::new(
                RoundRobin::new(2, producer),
                routes,
                options,
                &[Arc::default(), Arc::<ChannelGauge>::default()],
                vec![Arc::<EdgeGauge>::default()],
                Arc::new(Budget::new(0)),
                waker(producer),
            );
            let first = producer as u64 * EACH;
            let sending = Sending {
                sender: Sender::new(outbox, Vec::new(), origin()),
                next: first,
                end: first + EACH,
                ended: false,
            };
            launch_stage(&tasks[producer], Box::new(sending));
        }
        arrived
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
