//! The table of what operators cannot work with.

use std::future::pending;
use std::time::Duration;

use levada::prelude::*;
use levada::{BoxError, OpenContext, Retry};
use serde::{Deserialize, Serialize};

use crate::checks::operators::Row;

pub(crate) const ROWS: &[Row] = &[
    Row {
        what: "a partitioner names a subtask that does not exist",
        job: |job| {
            // Between two single subtasks there is no exchange, and nobody asks the partitioner.
            numbers(job)
                .partition(|_, subtasks| subtasks)
                .parallelism(2)
                .discard();
            Ok(())
        },
        expected: &[
            "`partition` (",
            "panicked: the partitioner chose subtask 2",
            "0 to 1",
        ],
    },
    Row {
        what: "records that serde cannot rebuild are sent on",
        job: |job| {
            let untagged = numbers(job).map(Untagged::Number);
            untagged.rebalance().discard();
            Ok(())
        },
        expected: &[
            "`rebalance` (",
            "Untagged` cannot cross",
            "#[serde(untagged)]",
        ],
    },
    Row {
        what: "state that serde cannot rebuild, with two inputs",
        job: |job| {
            let first = numbers(job).key_by(|n| n % 3);
            let second = numbers_named(job, "others").key_by(|n| n % 3);
            first.connect(second).process("co", UntaggedState).discard();
            Ok(())
        },
        expected: &["`co`", "Untagged` cannot be kept as state"],
    },
    Row {
        what: "broadcast state that serde cannot rebuild",
        job: |job| {
            let rules = numbers_named(job, "rules");
            numbers(job)
                .connect_broadcast(rules)
                .process("rules-against-numbers", UntaggedShared)
                .discard();
            Ok(())
        },
        expected: &["`rules-against-numbers`", "cannot be kept as state"],
    },
    Row {
        what: "a panic in the second input of a process",
        job: |job| {
            let first = numbers(job).key_by(|n| n % 3);
            let second = numbers_named(job, "others").key_by(|n| n % 3);
            first.connect(second).process("co", Panicking).discard();
            Ok(())
        },
        expected: &["`co`", "panicked: 7 is one too many"],
    },
    Row {
        what: "a panic when a record is broadcast",
        job: |job| {
            let rules = numbers_named(job, "rules");
            numbers(job)
                .key_by(|n| n % 3)
                .connect_broadcast(rules)
                .process("rules-against-numbers", PanickingRules)
                .discard();
            Ok(())
        },
        expected: &["`rules-against-numbers`", "panicked: rule 7"],
    },
    Row {
        what: "a panic in a timer",
        job: |job| {
            let keyed = numbers(job).key_by(|n| n % 3);
            keyed.process("timed", PanickingTimer).discard();
            Ok(())
        },
        expected: &["`timed`", "panicked: no time for this"],
    },
    Row {
        what: "a timer where there are no keys",
        job: |job| {
            let rules = numbers_named(job, "rules");
            numbers(job)
                .connect_broadcast(rules)
                .process("without-keys", TimerWithoutKeys)
                .discard();
            Ok(())
        },
        expected: &["`without-keys`", "timers belong to keys", "`key_by`"],
    },
    Row {
        what: "state with a time-to-live in event time, and records without any",
        job: |job| {
            let keyed = numbers(job).key_by(|n| n % 3);
            keyed
                .ttl(Ttl::event_time(hours(1)))
                .deduplicate("once")
                .discard();
            Ok(())
        },
        expected: &["`once`", "this record has none: `timestamps`"],
    },
    Row {
        what: "a process that cannot be opened",
        job: |job| {
            let second = numbers_named(job, "others").key_by(|n| n % 3);
            numbers(job)
                .key_by(|n| n % 3)
                .connect(second)
                .process("co", Closed)
                .discard();
            Ok(())
        },
        expected: &["`co`", "the door is locked"],
    },
    Row {
        what: "a process that ends the job",
        job: |job| {
            numbers(job)
                .key_by(|n| n % 3)
                .process("strict", Strict)
                .discard();
            Ok(())
        },
        expected: &["`strict`", "7 is not allowed"],
    },
    Row {
        what: "a key that is not equal to itself (NaN)",
        job: |job| {
            numbers(job)
                .key_by(|n| Float(if *n == 7 { f64::NAN } else { *n as f64 }))
                .count("counts")
                .discard();
            Ok(())
        },
        expected: &["`counts`", "a key is not equal to itself", "NaN"],
    },
    Row {
        what: "a key whose `Serialize` fails",
        job: |job| {
            numbers(job)
                .key_by(|n| Failing(*n))
                .deduplicate("once")
                .discard();
            Ok(())
        },
        expected: &["no key today"],
    },
    Row {
        what: "a rank that panics",
        job: |job| {
            numbers(job).key_by(|n| n % 2).top("top", 3, rank).discard();
            Ok(())
        },
        expected: &["`top`", "panicked: 7 has no rank"],
    },
    Row {
        what: "a call that fails",
        job: |job| {
            numbers(job)
                .call("calls", Calls::ordered(4), |n| async move {
                    if n == 7 {
                        return Err("503 from the service");
                    }
                    Ok(n)
                })
                .discard();
            Ok(())
        },
        expected: &["`calls`", "the call failed: 503 from the service"],
    },
    Row {
        what: "a call that fails each time it is repeated",
        job: |job| {
            let retry = Retry::exponential(Duration::from_millis(1), Duration::from_secs(1));
            let calls = Calls::unordered(4).retry(retry.attempts(3));
            numbers(job)
                .call("calls", calls, |_| async { Err::<u64, _>("503") })
                .discard();
            Ok(())
        },
        expected: &["`calls`", "failed in 3 attempts, at last: 503"],
    },
    Row {
        what: "a call to a server that never answers",
        job: |job| {
            let calls = Calls::ordered(4).timeout(Duration::from_secs(2));
            numbers(job)
                .call("calls", calls, |_| {
                    pending::<std::result::Result<u64, BoxError>>()
                })
                .discard();
            Ok(())
        },
        expected: &["`calls`", "there was no answer within 2s"],
    },
    Row {
        what: "a panic in the future of a call",
        job: |job| {
            numbers(job)
                .call("calls", Calls::ordered(4), |n| async move {
                    assert!(n != 7, "seven");
                    Ok::<_, BoxError>(n)
                })
                .discard();
            Ok(())
        },
        expected: &["`calls`", "panicked: seven"],
    },
    Row {
        what: "a panic before the future of a call is made",
        job: |job| {
            numbers(job)
                .call("calls", Calls::ordered(4), |n| {
                    assert!(n != 7, "seven");
                    async move { Ok::<_, BoxError>(n) }
                })
                .discard();
            Ok(())
        },
        expected: &["`calls`", "panicked: seven"],
    },
    Row {
        what: "a record of a call that serde cannot rebuild",
        job: |job| {
            numbers(job)
                .map(Untagged::Number)
                .call("calls", Calls::ordered(4), |_| async {
                    Ok::<_, BoxError>(1u64)
                })
                .discard();
            Ok(())
        },
        expected: &["`calls`", "Untagged` cannot be kept as state"],
    },
    Row {
        what: "two operators of one name",
        job: |job| {
            numbers(job)
                .call("same", Calls::ordered(4), |n| async move {
                    Ok::<_, BoxError>(n)
                })
                .key_by(|n| *n)
                .deduplicate("same")
                .discard();
            Ok(())
        },
        expected: &["`same`"],
    },
    Row {
        what: "an operator of one key with more subtasks",
        job: |job| {
            numbers(job)
                .global()
                .connect(numbers_named(job, "others").global())
                .process("one", PanickingGlobal)
                .parallelism(2)
                .discard();
            Ok(())
        },
        expected: &["`one`", "it has one key"],
    },
];

fn numbers(job: &Job) -> Stream<u64> {
    numbers_named(job, "numbers")
}

fn numbers_named(job: &Job, name: &str) -> Stream<u64> {
    job.source(name, iterator(0..20u64)).stream()
}

fn rank(n: &u64) -> u64 {
    assert!(*n != 7, "7 has no rank");
    *n
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
}

impl Default for Untagged {
    fn default() -> Self {
        Self::Number(0)
    }
}

/// A number that can be not equal to itself.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
struct Float(f64);

impl Eq for Float {}

impl std::hash::Hash for Float {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

#[derive(Clone, Deserialize, Eq, Hash, PartialEq)]
struct Failing(u64);

impl Serialize for Failing {
    fn serialize<S: serde::Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no key today"))
    }
}

macro_rules! co_process {
    ($name:ident, $state:ty) => {
        #[derive(Clone)]
        struct $name;

        impl CoProcess for $name {
            type Key = u64;
            type First = u64;
            type Second = u64;
            type State = $state;
            type Out = u64;

            fn open(&mut self, _: &OpenContext) -> std::result::Result<(), BoxError> {
                Self::opened()
            }

            fn first(&self, _: &u64, context: &mut CoContext<'_, Self>) {
                context.state();
            }

            fn second(&self, n: &u64, _: &mut CoContext<'_, Self>) {
                Self::look(*n);
            }
        }
    };
}

co_process!(UntaggedState, Untagged);
co_process!(Panicking, u64);
co_process!(Closed, u64);

impl UntaggedState {
    fn opened() -> std::result::Result<(), BoxError> {
        Ok(())
    }

    fn look(_: u64) {}
}

impl Panicking {
    fn opened() -> std::result::Result<(), BoxError> {
        Ok(())
    }

    fn look(n: u64) {
        assert!(n != 7, "7 is one too many");
    }
}

impl Closed {
    fn opened() -> std::result::Result<(), BoxError> {
        Err("the door is locked".into())
    }

    fn look(_: u64) {}
}

#[derive(Clone)]
struct PanickingGlobal;

impl CoProcess for PanickingGlobal {
    type Key = ();
    type First = u64;
    type Second = u64;
    type State = ();
    type Out = u64;

    fn first(&self, _: &u64, _: &mut CoContext<'_, Self>) {}

    fn second(&self, _: &u64, _: &mut CoContext<'_, Self>) {}
}

#[derive(Clone)]
struct UntaggedShared;

impl BroadcastProcess for UntaggedShared {
    type Key = ();
    type In = u64;
    type Broadcast = u64;
    type State = ();
    type Shared = Untagged;
    type Out = u64;

    fn element(&self, _: &u64, _: &Untagged, _: &mut BroadcastContext<'_, Self>) {}

    fn broadcast(&self, n: &u64, shared: &mut Untagged, _: &mut SharedContext<'_, Self>) {
        *shared = Untagged::Number(*n);
    }
}

#[derive(Clone)]
struct PanickingRules;

impl BroadcastProcess for PanickingRules {
    type Key = u64;
    type In = u64;
    type Broadcast = u64;
    type State = u64;
    type Shared = u64;
    type Out = u64;

    fn element(&self, _: &u64, _: &u64, _: &mut BroadcastContext<'_, Self>) {}

    fn broadcast(&self, n: &u64, _: &mut u64, _: &mut SharedContext<'_, Self>) {
        assert!(*n != 7, "rule {n}");
    }
}

#[derive(Clone)]
struct Strict;

impl Process for Strict {
    type Key = u64;
    type In = u64;
    type State = ();
    type Out = u64;

    fn element(&self, n: &u64, context: &mut Context<'_, Self>) {
        if *n == 7 {
            context.fail("7 is not allowed");
        }
    }
}

#[derive(Clone)]
struct PanickingTimer;

impl Process for PanickingTimer {
    type Key = u64;
    type In = u64;
    type State = ();
    type Out = u64;

    fn element(&self, _: &u64, context: &mut Context<'_, Self>) {
        context.set_timer(Timestamp(7));
    }

    fn timer(&self, _: Timer, _: &mut Context<'_, Self>) {
        panic!("no time for this");
    }
}

#[derive(Clone)]
struct TimerWithoutKeys;

impl BroadcastProcess for TimerWithoutKeys {
    type Key = ();
    type In = u64;
    type Broadcast = u64;
    type State = ();
    type Shared = ();
    type Out = u64;

    fn element(&self, _: &u64, (): &(), context: &mut BroadcastContext<'_, Self>) {
        context.set_timer(Timestamp(7));
    }

    fn broadcast(&self, _: &u64, (): &mut (), _: &mut SharedContext<'_, Self>) {}
}
