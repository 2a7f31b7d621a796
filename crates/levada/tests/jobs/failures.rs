//! What goes wrong in a job, and what its user is told: the operator, the line of the program, the place in the input.
//! Nothing hangs, nothing is committed, and every buffer comes back.

use std::hash::Hash;

use levada::prelude::*;
use levada::{BoxError, Error, Result, Runner};
use levada_testing::{Simulation, collect};
use serde::{Deserialize, Serialize, Serializer};

/// Runs the job under a few seeds and parallelisms; each time it must fail with a message that holds all of `expected`.
/// `@code` stands for the place of a line of this file that holds `code`.
#[track_caller]
fn check(world: impl Fn(&Simulation), job: impl Fn(&Job) -> Result, expected: &[&str]) {
    for seed in 0..12 {
        let simulation = Simulation::new(seed).runner(Runner::new().force_exchange());
        world(&simulation);
        let message = simulation.failure(&job).expect("the job fails");
        for part in expected {
            if let Some(code) = part.strip_prefix('@') {
                assert!(
                    names_line(&message, code),
                    "seed {seed}: no line with `{code}` is named in: {message}"
                );
                continue;
            }
            assert!(
                message.contains(part),
                "seed {seed}: `{part}` is not in: {message}"
            );
        }
    }
}

fn nothing(_: &Simulation) {}

/// Whether the message names a line of this file that holds `code`.
fn names_line(message: &str, code: &str) -> bool {
    let lines: Vec<_> = include_str!("failures.rs").lines().collect();
    message.split("jobs/failures.rs:").skip(1).any(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let line: usize = digits.parse().expect("a place has a line");
        lines[line - 1].contains(code)
    })
}

fn numbers(job: &Job) -> Stream<u64> {
    job.source("numbers", iterator(0..1_000u64)).stream()
}

#[test]
fn a_file_that_is_missing_or_cannot_be_read() {
    check(
        nothing,
        |job| {
            job.source("lines", text_files("in/none.txt")).discard();
            Ok(())
        },
        &[
            "`lines`",
            "@text_files(\"in/none.txt\")",
            "there is no file in/none.txt",
        ],
    );
    check(
        |simulation| simulation.disk().put("in/dir/file.txt", "x\n"),
        |job| {
            job.source("lines", text_files("in/dir")).discard();
            Ok(())
        },
        &["`lines`", "in/dir is a directory", "in/dir/*"],
    );
}

#[test]
fn text_that_is_not_utf8() {
    let world = |simulation: &Simulation| {
        simulation
            .disk()
            .put("in.txt", b"one\ntwo\nth\xffee\n".as_slice());
    };
    check(
        world,
        |job| {
            job.source("lines", text_files("in.txt"))
                .sink("out", stdout());
            Ok(())
        },
        &["`lines`", "in.txt, line 3, column 3: not UTF-8", ".lossy()"],
    );
    let simulation = Simulation::new(0);
    world(&simulation);
    simulation
        .run(|job: &Job| {
            job.source("lines", text_files("in.txt").lossy())
                .sink("out", stdout());
        })
        .unwrap()
        .expect_finished();
    assert_eq!(simulation.output().text().lines().max(), Some("two"));
    assert!(simulation.output().text().contains("th\u{fffd}ee"));
}

#[test]
fn a_line_beyond_the_limit() {
    check(
        |simulation| {
            simulation
                .disk()
                .put("in.txt", format!("short\n{}\n", "x".repeat(2_000)));
        },
        |job| {
            job.source("lines", text_files("in.txt").line_bytes_max(1_000))
                .sink("out", stdout());
            Ok(())
        },
        &[
            "`lines`",
            "in.txt, line 2: the line is longer than 1000 bytes",
        ],
    );
}

#[test]
fn a_record_larger_than_a_buffer_passes() {
    for seed in 0..20 {
        let (sink, collected) = collect();
        Simulation::new(seed)
            .runner(Runner::new().args(["--buffer-memory", "1MiB"]))
            .parallelism(2)
            .run(|job: &Job| {
                job.source(
                    "texts",
                    iterator((0..20u64).map(|n| "x".repeat(n as usize * 100_000))),
                )
                .rebalance()
                .key_by(|text| text.len() as u64)
                .count("counts")
                .sink("out", sink.clone());
            })
            .unwrap()
            .expect_finished();
        let expected: Vec<_> = (0..20).map(|n| (n * 100_000, 1)).collect();
        assert_eq!(collected.sorted(), expected, "seed {seed}");
    }
}

#[test]
fn closures_that_panic() {
    type Build = fn(Stream<u64>);
    let steps: [(&str, Build); 7] = [
        ("map", |s| {
            s.map(|n| 100 / (n % 50))
                .sink("out", for_each(|_| {}))
                .end();
        }),
        ("filter", |s| {
            s.filter(|n| 100 / (n % 50) > 0)
                .sink("out", for_each(|_| {}))
                .end();
        }),
        ("flat_map", |s| {
            s.flat_map(|n| [100 / (n % 50)])
                .sink("out", for_each(|_| {}))
                .end();
        }),
        ("expand", |s| {
            s.expand(|n, out| out.emit(100 / (n % 50)))
                .sink("out", for_each(|_| {}))
                .end();
        }),
        ("inspect", |s| {
            s.inspect(|n| assert!(100 / (n % 50) > 0))
                .sink("out", for_each(|_| {}))
                .end();
        }),
        ("key_by", |s| {
            s.key_by(|n| 100 / (n % 50))
                .count("counts")
                .sink("out", for_each(|_| {}))
                .end();
        }),
        ("out", |s| {
            s.map(|n| n % 50)
                .sink("out", for_each(|n: u64| assert!(100 / n > 0)))
                .end();
        }),
    ];
    for (name, step) in steps {
        check(
            nothing,
            |job| {
                step(numbers(job));
                Ok(())
            },
            &[
                name,
                "jobs/failures.rs:",
                "panicked: attempt to divide by zero",
            ],
        );
    }
}

/// Ends the expression of a sink in a table.
trait End: Sized {
    fn end(self) {}
}

impl End for levada::SinkHandle {}

#[test]
fn aggregates_and_processes_that_panic_or_fail() {
    #[derive(Clone)]
    struct Broken(&'static str);

    impl Process for Broken {
        type Key = u64;
        type In = u64;
        type State = u64;
        type Out = u64;

        fn open(&mut self, _: &OpenContext) -> std::result::Result<(), levada::BoxError> {
            if self.0 == "open" {
                Err("no key to the cellar".into())
            } else {
                Ok(())
            }
        }

        fn element(&self, n: &u64, context: &mut Context<'_, Self>) {
            match self.0 {
                "panic" if *n > 300 => panic!("record {n} is too large"),
                "fail" if *n > 300 => context.fail("more than 300"),
                _ => context.emit(*n),
            }
        }

        fn close(&mut self) -> std::result::Result<(), levada::BoxError> {
            if self.0 == "close" {
                Err("the door is stuck".into())
            } else {
                Ok(())
            }
        }
    }

    for (how, expected) in [
        ("open", "no key to the cellar"),
        ("panic", "is too large"),
        ("fail", "more than 300"),
        ("close", "the door is stuck"),
    ] {
        check(
            nothing,
            |job| {
                numbers(job)
                    .key_by(|n| n % 3)
                    .process("broken", Broken(how))
                    .sink("out", for_each(|_| {}));
                Ok(())
            },
            &["`broken`", "@.process(\"broken\"", expected],
        );
    }
    check(
        nothing,
        |job| {
            numbers(job)
                .key_by(|n| n % 3)
                .fold("sums", |sum: &mut u8, _| {
                    *sum = sum.checked_add(1).expect("at most 255");
                })
                .sink("out", for_each(|_| {}));
            Ok(())
        },
        &["`sums`", "@.fold(\"sums\"", "panicked: at most 255"],
    );
}

#[test]
fn a_key_that_cannot_be_serialised_or_hashed() {
    #[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq)]
    struct Sour(u64);

    impl Serialize for Sour {
        fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
            if self.0 > 100 {
                return Err(serde::ser::Error::custom("too sour"));
            }
            serializer.serialize_u64(self.0)
        }
    }

    #[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
    struct Unhashable(u64);

    impl Hash for Unhashable {
        fn hash<H: std::hash::Hasher>(&self, _: &mut H) {
            panic!("{} has no hash", self.0);
        }
    }

    check(
        nothing,
        |job| {
            numbers(job)
                .key_by(|n| Sour(*n))
                .count("counts")
                .sink("out", for_each(|_| {}));
            Ok(())
        },
        &["key_by", "@.key_by(|n| Sour", "too sour"],
    );
    check(
        nothing,
        |job| {
            numbers(job)
                .key_by(|n| Unhashable(*n))
                .count("counts")
                .sink("out", for_each(|_| {}));
            Ok(())
        },
        &["`counts`", "@.count(\"counts\")", "has no hash"],
    );
}

/// The engine clones and serialises what is the user's outside of every closure: a panic there is not the engine's.
#[test]
fn a_record_or_a_state_that_panics_in_its_own_traits() {
    #[derive(Debug, Default, Deserialize)]
    struct Touchy(u64);

    impl Clone for Touchy {
        fn clone(&self) -> Self {
            panic!("there is but one of me");
        }
    }

    impl Serialize for Touchy {
        fn serialize<S: Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
            panic!("no words for it");
        }
    }

    #[derive(Clone)]
    struct Keeps;

    impl Process for Keeps {
        type Key = u64;
        type In = u64;
        type State = Touchy;
        type Out = u64;

        fn element(&self, record: &u64, context: &mut Context<'_, Self>) {
            context.state().0 = *record;
        }
    }

    check(
        nothing,
        |job| {
            numbers(job)
                .key_by(|n| n % 10)
                .process("keeps", Keeps)
                .sink("out", for_each(|_| {}));
            Ok(())
        },
        &[
            "`keeps`",
            "@.process(\"keeps\"",
            "panicked: no words for it",
        ],
    );
    check(
        nothing,
        |job| {
            numbers(job)
                .map(Touchy)
                .call("calls", Calls::ordered(2), |Touchy(n)| async move {
                    Ok::<_, BoxError>(n)
                })
                .sink("out", for_each(|_| {}));
            Ok(())
        },
        &["`calls`", "@.call(\"calls\"", "panicked: no words for it"],
    );
    #[derive(Debug, Deserialize, Serialize)]
    struct Unique(u64);

    impl Clone for Unique {
        fn clone(&self) -> Self {
            panic!("there is but one of me");
        }
    }

    check(
        nothing,
        |job| {
            numbers(job)
                .map(Unique)
                .call("calls", Calls::ordered(2), |Unique(n)| async move {
                    Ok::<_, BoxError>(n)
                })
                .sink("out", for_each(|_| {}));
            Ok(())
        },
        &[
            "`calls`",
            "@.call(\"calls\"",
            "panicked: there is but one of me",
        ],
    );
    check(
        nothing,
        |job| {
            let unique = numbers(job).map(Unique).stream();
            unique.clone().sink("out", for_each(|_| {}));
            unique.sink("copies", for_each(|_| {}));
            Ok(())
        },
        &["@.map(Unique).stream()", "panicked: there is but one of me"],
    );
    check(
        nothing,
        |job| {
            numbers(job)
                .map(Touchy)
                .rebalance()
                .sink("out", for_each(|_| {}));
            Ok(())
        },
        &["rebalance", "@.rebalance()", "panicked: no words for it"],
    );
}

#[test]
fn a_type_that_serde_cannot_rebuild() {
    #[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
    struct Partial {
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<u64>,
        number: u64,
    }

    check(
        nothing,
        |job| {
            numbers(job)
                .map(|number| Partial { note: None, number })
                .rebalance()
                .map(|partial| partial.number)
                .sink("out", for_each(|_| {}));
            Ok(())
        },
        &[
            "cannot cross to another subtask",
            "Partial",
            "@.rebalance()",
        ],
    );
    check(
        nothing,
        |job| {
            numbers(job)
                .key_by(|n| n % 2)
                .fold("partial", |partial: &mut Partial, n| partial.number += n)
                .sink("out", for_each(|_| {}));
            Ok(())
        },
        &["`partial`", "@.fold(\"partial\"", "cannot be kept as state"],
    );
}

#[test]
fn files_that_cannot_be_written() {
    let job = |job: &Job| {
        job.source("numbers", iterator(0..10_000u64))
            .sink("out", files("out"));
        Ok(())
    };
    check(
        |simulation| {
            simulation.disk().put("out/.keep", "");
            simulation.disk().forbid("out");
        },
        job,
        &[
            "`out`",
            "@.sink(\"out\", files(\"out\"))",
            "cannot lock out/",
            "permission denied",
        ],
    );
    check(
        |simulation| simulation.disk().fill_after(5_000),
        job,
        &["`out`", "cannot write out/", "no storage space"],
    );
    check(
        |simulation| simulation.disk().put("out/part-of-another-run", "1\n"),
        job,
        &["`out`", "out", "part-of-another-run"],
    );
}

#[test]
fn a_reader_of_standard_output_that_goes_away() {
    check(
        |simulation| simulation.output().close_after(1_000),
        |job| {
            job.source("numbers", iterator(0..10_000u64))
                .sink("out", stdout());
            Ok(())
        },
        &["`out`", "@stdout()"],
    );
}

#[test]
fn errors_of_the_program_itself() {
    check(
        nothing,
        |_| Err(Error::new("no weather today")),
        &["no weather today"],
    );
    check(
        nothing,
        |job| {
            numbers(job);
            Ok(())
        },
        &["`numbers`", "ends nowhere", ".discard()"],
    );
    check(
        nothing,
        |job| {
            numbers(job).discard();
            numbers(job).discard();
            Ok(())
        },
        &["`numbers`"],
    );
}

#[test]
fn a_program_that_is_wrong_in_four_places_is_told_all_of_them() {
    let error = Runner::new()
        .prepare(|job: &Job| {
            let numbers = job.source("numbers", iterator(0..10u64)).parallelism(0);
            numbers.clone().rebalance().sink("out", for_each(|_| {}));
            numbers
                .clone()
                .key_by(|n| *n)
                .count("counts")
                .parallelism(1_000)
                .discard();
            numbers.clone().rebalance().sink("out", for_each(|_| {}));
            let _ = numbers.map(|n| n + 1).stream().rebalance().stream();
        })
        .err()
        .unwrap()
        .to_string();
    for expected in ["parallelism", "128", "`out`", "ends nowhere"] {
        assert!(error.contains(expected), "{expected} is not in: {error}");
    }
    assert!(error.matches("jobs/failures.rs:").count() >= 5, "{error}");
}

#[test]
fn a_closure_that_emits_without_end_fails_before_the_memory_does() {
    check(
        nothing,
        |job| {
            job.source("one", iterator([1u64]))
                .expand(|_, out| (0..u64::MAX).for_each(|n| out.emit(n)))
                .rebalance()
                .sink("out", for_each(|_| {}));
            Ok(())
        },
        &["expand", "@.expand(", "flat_map"],
    );
}
