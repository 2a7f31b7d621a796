//! Sources and sinks that are started again: in the same process, or from what a checkpoint has kept of them.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use levada::connectors::{Log, LogSource};
use levada::prelude::*;
use levada::{
    BoxError, Discovery, Drain, Environment, Intake, Reader, ReaderContext, Sink, SinkContext,
    Source, SourceContext, Status, Timestamp, Writer,
};
use levada_core::disk::Disk;
use levada_core::{Origin, Wake};
use levada_testing::{MemoryDisk, Simulation};

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

/// What a source or sink sees of a job, on this disk and network.
struct World {
    environment: Environment,
}

impl World {
    fn new(disk: &MemoryDisk) -> Self {
        let environment = Environment {
            disk: Arc::new(disk.clone()),
            ..Environment::system()
        };
        Self { environment }
    }

    fn reader(&self) -> ReaderContext {
        let operator = Origin::new("tested", Location::caller());
        ReaderContext::without_job(operator, 1, self.environment.clone(), Arc::new(Nobody))
    }

    fn source(&self) -> SourceContext {
        SourceContext {
            operator: Origin::new("tested", Location::caller()),
            parallelism: 1,
            environment: self.environment.clone(),
        }
    }

    fn sink(&self) -> SinkContext {
        let reader = self.reader();
        SinkContext {
            operator: reader.operator,
            subtask: 0,
            parallelism: 1,
            run: "0000000000000001".into(),
            is_restored: false,
            environment: reader.environment,
            waker: reader.waker,
            counters: reader.counters,
            metrics: reader.metrics,
        }
    }
}

/// Takes so many records.
struct Taking<T> {
    taken: Vec<T>,
    room: usize,
}

impl<T> Intake<T> for Taking<T> {
    fn push_at(&mut self, record: T, _: Timestamp) {
        self.room -= 1;
        self.taken.push(record);
    }

    fn room(&self) -> usize {
        self.room
    }
}

fn take<R: Reader>(reader: &mut R, room: usize) -> (Vec<R::Out>, Status) {
    let mut taking = Taking {
        taken: Vec::new(),
        room,
    };
    loop {
        let status = reader.read(&mut taking).unwrap();
        if taking.room == 0 || status != Status::More {
            return (taking.taken, status);
        }
    }
}

struct Given<T>(std::vec::IntoIter<T>);

impl<T> Iterator for Given<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.next()
    }
}

impl<T> Drain<T> for Given<T> {
    fn timestamp(&self) -> Timestamp {
        Timestamp::MIN
    }

    fn is_over(&self) -> bool {
        self.0.len() == 0
    }
}

fn write<T, W: Writer<T>>(writer: &mut W, records: Vec<T>) -> Result<(), BoxError> {
    writer.write(&mut Given(records.into_iter()))
}

#[test]
fn a_watch_that_is_restored_finds_what_came_since_and_nothing_twice() {
    let disk = MemoryDisk::default();
    let world = World::new(&disk);
    disk.put("in/a.csv", "x,y\n1,2\n");
    disk.put("in/a.txt", "1\n");
    fn check<S: Source>(make: impl Fn() -> S, world: &World, disk: &MemoryDisk, name: &str) {
        let before = make();
        assert_eq!(before.splits(&world.source()).unwrap().len(), 1);
        let memory = before.memory().unwrap();
        disk.put(format!("in/b.{name}"), "x,y\n3,4\n");
        let found = |source: &S| match source.discover(&world.source()).unwrap() {
            Discovery::Found { splits, .. } => splits.len(),
            Discovery::Complete => panic!("a watch has no end"),
        };
        let after = make();
        after.restore(&memory, &world.source()).unwrap();
        assert_eq!(found(&after), 1, "the one that came since");
        assert_eq!(found(&after), 0);
        // The same source again, in the same process.
        before.restore(&memory, &world.source()).unwrap();
        assert_eq!(found(&before), 1);
        // A job that did not watch before has nothing to remember, and takes what is there for read.
        after.restore(&[], &world.source()).unwrap();
        assert_eq!(found(&after), 0);
    }
    let every = Duration::from_secs(1);
    check(|| text_files("in/*.txt").watch(every), &world, &disk, "txt");
    check(
        || csv::<(u64, u64)>("in/*.csv").watch(every),
        &world,
        &disk,
        "csv",
    );
}

/// A log with these numbers of records in its partitions.
fn log_with(disk: &MemoryDisk, partitions: u32, records: u64) -> Log {
    Simulation::new(1)
        .with_disk(disk.clone())
        .run(|job: &Job| {
            let numbers = job.source("numbers", generator(|n| n).count(records));
            numbers.sink("log", log_sink("log").partitions(partitions));
        })
        .unwrap()
        .expect_finished();
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Log::open_on(&disk, "log").unwrap()
}

fn consumer() -> LogSource<u64> {
    log_source("log").consumer("billing")
}

#[test]
fn a_consumer_stores_what_complete_checkpoints_have_read() {
    let disk = MemoryDisk::default();
    let world = World::new(&disk);
    let log = log_with(&disk, 2, 20);
    let total = log.end(0).unwrap() + log.end(1).unwrap();
    let context = world.reader();
    let source = consumer().follow(Duration::from_secs(1));
    let splits = source.splits(&world.source()).unwrap();
    let [first, second] = &splits[..] else {
        panic!("{splits:?}")
    };
    let commit = |source: &LogSource<u64>, read: &[(_, Vec<u64>)]| source.commit(read, &context);
    let lag = || log.lag("billing").unwrap().records();
    commit(&source, &[(first.clone(), vec![4])]).unwrap();
    assert_eq!(
        lag(),
        total,
        "nothing has been heard of the other partition"
    );
    commit(&source, &[(second.clone(), vec![3])]).unwrap();
    assert_eq!(lag(), total - 7);
    // The same again costs nothing, and nothing goes back.
    disk.fail_syncs_after(0);
    commit(
        &source,
        &[(first.clone(), vec![2]), (second.clone(), vec![3])],
    )
    .unwrap();
    assert_eq!(lag(), total - 7);
    assert!(
        commit(
            &source,
            &[(first.clone(), vec![5]), (second.clone(), vec![3])]
        )
        .is_err(),
        "something new is stored"
    );
    disk.fail_syncs_after(u64::MAX);

    // From a checkpoint that is older than what is stored.
    let memory = source.memory().unwrap();
    drop(source);
    let source = consumer().follow(Duration::from_secs(1));
    source.restore(&memory, &world.source()).unwrap();
    for (split, position) in [(first, 1), (second, 1)] {
        let mut reader = source
            .open(split.clone(), Some(vec![position]), &context)
            .unwrap();
        let (read, status) = take(&mut reader, 100);
        assert_eq!(read.len() as u64, total / 2 - 1);
        assert!(matches!(status, Status::Idle(_)));
    }
    commit(
        &source,
        &[(first.clone(), vec![2]), (second.clone(), vec![9])],
    )
    .unwrap();
    let offsets: Vec<_> = log.lag("billing").unwrap().partitions;
    let offsets: Vec<_> = offsets.iter().map(|lag| lag.next).collect();
    assert_eq!(
        offsets,
        [Some(4), Some(9)],
        "what was stored does not go back"
    );
}

/// Without this a consumer would wait for ever for what it had been told before the checkpoint.
#[test]
fn a_partition_that_was_finished_before_the_checkpoint_is_not_waited_for() {
    let disk = MemoryDisk::default();
    let world = World::new(&disk);
    let log = log_with(&disk, 2, 20);
    let context = world.reader();
    let source = consumer();
    let splits = source.splits(&world.source()).unwrap();
    let mut reader = source.open(splits[0].clone(), None, &context).unwrap();
    assert_eq!(take(&mut reader, 100).1, Status::Done);
    let memory = source.memory().unwrap();
    drop((reader, source));

    let source = consumer();
    source.restore(&memory, &world.source()).unwrap();
    let mut reader = source
        .open(splits[1].clone(), Some(vec![0]), &context)
        .unwrap();
    take(&mut reader, 100);
    source
        .commit(&[(splits[1].clone(), reader.position())], &context)
        .unwrap();
    assert_eq!(log.lag("billing").unwrap().records(), 0);
    // The name is free for the same source, and for nobody else.
    source.restore(&memory, &world.source()).unwrap();
    assert!(consumer().splits(&world.source()).is_err());
}

#[test]
fn channels_outlive_an_attempt_and_end_with_the_job() {
    let world = World::new(&MemoryDisk::default());
    let (sink, receiver) = sink_channel::<u64>(10);
    let started = sink.clone();
    for attempt in 0..2 {
        started.start(&world.sink()).unwrap();
        assert!(sink.start(&world.sink()).is_err(), "one of the clones runs");
        let mut writer = started.open(&world.sink()).unwrap();
        write(&mut writer, vec![attempt]).unwrap();
        Writer::<u64>::abort(&mut writer).unwrap();
    }
    started.start(&world.sink()).unwrap();
    let mut writer = started.open(&world.sink()).unwrap();
    write(&mut writer, vec![2]).unwrap();
    for _ in 0..2 {
        Writer::<u64>::prepare(&mut writer).unwrap();
        Writer::<u64>::commit(&mut writer, ()).unwrap();
        write(&mut writer, vec![3]).unwrap();
    }
    drop(writer);
    // It has come to its end, although sinks are still there.
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 3]);

    let (sink, receiver) = sink_channel::<u64>(10);
    let started = sink.clone();
    started.start(&world.sink()).unwrap();
    let mut writer = started.open(&world.sink()).unwrap();
    Writer::<u64>::abort(&mut writer).unwrap();
    drop((writer, started));
    assert_eq!(receiver.recv(), None, "it has failed for good");
    drop(sink);

    let (sender, source) = source_channel::<u64>(2);
    let started = source.clone();
    for number in 0..3 {
        sender.send(number).unwrap();
        let mut reader = started.open((), Some(number), &world.reader()).unwrap();
        assert!(source.open((), None, &world.reader()).is_err());
        assert_eq!(take(&mut reader, 1).0, [number]);
        drop(reader);
    }
    drop(started);
    assert!(sender.send(3).is_err(), "the job has ended");
}

/// Whoever sends finds the job where it was.
#[test]
fn a_port_is_listened_at_again() {
    fn check<S: Source>(make: impl Fn() -> S) {
        let world = World::new(&MemoryDisk::default());
        let source = make();
        let split = source.splits(&world.source()).unwrap().remove(0);
        let position = {
            let reader = source.open(split.clone(), None, &world.reader()).unwrap();
            assert!(
                make().open(split.clone(), None, &world.reader()).is_err(),
                "the port is taken"
            );
            source.cancel();
            reader.position()
        };
        // The same one, after an attempt that came no further than this; another one, as in another process.
        source.restore(&[], &world.source()).unwrap();
        drop(source.splits(&world.source()).unwrap());
        for source in [source, make()] {
            let position = Some(position.clone());
            let reader = source.open(split.clone(), position, &world.reader());
            drop(reader.unwrap());
        }
    }
    check(|| tcp_listen("127.0.0.1:0"));
    #[cfg(feature = "http")]
    check(|| levada::connectors::http_source::<u64>("127.0.0.1:0"));
}
