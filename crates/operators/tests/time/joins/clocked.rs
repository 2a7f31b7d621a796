//! Events that come at times of the day, and what a nested loop makes of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use levada::prelude::*;
use levada::{BoxError, Intake, Reader, ReaderContext, Source, SourceContext, Status};
use levada_core::Moment;
use levada_core::random::SplitMix64;
use levada_testing::Simulation;

/// When it comes in seconds, its side (true is the first), its key and its number.
type Event = (u64, bool, u8, u32);

/// Events that come four seconds apart, ends of lives included: a life of an even number of seconds that is no multiple
/// of four ends between two events.
pub(crate) fn script(random: &mut SplitMix64) -> Vec<Event> {
    let count = 40 + random.below(40) as u32;
    let mut at = 0;
    (0..count)
        .map(|number| {
            at += 4 * random.below(3);
            let drawn = random.next();
            (at, drawn.is_multiple_of(2), (drawn / 2 % 2) as u8, number)
        })
        .collect()
}

/// The even number of seconds that is no multiple of four at or below this.
fn life(seconds: u64) -> u64 {
    seconds / 4 * 4 + 2
}

/// All pairs whose first row is still there when the second comes, sorted; and how many there would be without end.
pub(crate) fn pairs(script: &[Event], first: u64, second: u64) -> (Vec<(u32, u32)>, usize) {
    let mut pairs = Vec::new();
    let mut all = 0;
    for (n, earlier) in script.iter().enumerate() {
        for later in &script[n + 1..] {
            if earlier.2 != later.2 || earlier.1 == later.1 {
                continue;
            }
            all += 1;
            let lives = life(if earlier.1 { first } else { second });
            if later.0 < earlier.0 + lives {
                let pair = (earlier.3, later.3);
                pairs.push(if earlier.1 { pair } else { (pair.1, pair.0) });
            }
        }
    }
    pairs.sort_unstable();
    (pairs, all)
}

/// What the job makes of them, sorted.
pub(crate) fn run(
    simulation: &Simulation,
    script: &[Event],
    first: u64,
    second: u64,
) -> Vec<(u32, u32)> {
    let found = Arc::new(Mutex::new(Vec::new()));
    let run = simulation.run(|job: &Job| {
        let events = job.source("events", Daily(script.to_vec())).stream();
        let side = |events: Stream<Event>, first| {
            events
                .filter(move |(_, side, ..)| *side == first)
                .key_by(|(_, _, key, _)| *key)
        };
        let ttl = |seconds| JoinTtl::processing_time(Duration::from_secs(life(seconds)));
        let found = Arc::clone(&found);
        side(events.clone(), true)
            .join(side(events, false))
            .ttls(ttl(first), ttl(second))
            .inner("join", |left, right| (left.3, right.3))
            .sink(
                "out",
                for_each(move |pair| found.lock().unwrap().push(pair)),
            );
    });
    run.unwrap().expect_finished();
    let mut found = std::mem::take(&mut *found.lock().unwrap());
    found.sort_unstable();
    found
}

/// Gives each event when its time has come.
struct Daily(Vec<Event>);

struct DailyReader {
    events: std::vec::IntoIter<Event>,
    context: ReaderContext,
}

impl Source for Daily {
    type Out = Event;
    type Split = ();
    type Reader = DailyReader;

    fn splits(&self, _: &SourceContext) -> Result<Vec<()>, BoxError> {
        Ok(vec![()])
    }

    fn open(
        &self,
        (): (),
        _: Option<()>,
        context: &ReaderContext,
    ) -> Result<DailyReader, BoxError> {
        Ok(DailyReader {
            events: self.0.clone().into_iter(),
            context: context.clone(),
        })
    }

    fn parallelism_max(&self) -> Option<(usize, &'static str)> {
        Some((1, "the events have an order"))
    }
}

impl Reader for DailyReader {
    type Out = Event;
    type Position = ();

    fn read(&mut self, intake: &mut impl Intake<Event>) -> Result<Status, BoxError> {
        while !intake.is_full() {
            let Some(event) = self.events.as_slice().first() else {
                return Ok(Status::Done);
            };
            let due = Moment::ZERO + Duration::from_secs(event.0);
            if self.context.environment.clock.now() < due {
                return Ok(Status::Idle(Some(due)));
            }
            let event = self.events.next().unwrap();
            intake.push(event);
        }
        Ok(Status::More)
    }

    fn position(&self) {}
}
