//! Running two things in turn, and saying how they compare.

use std::time::Duration;

use levada::Environment;

/// How much is run.
pub(crate) struct Plan {
    /// Runs of each side.
    pub(crate) runs: usize,
    /// The number of records is divided by this.
    pub(crate) share: u64,
    /// Seconds for which the stopped job is watched.
    pub(crate) stopped_for: u64,
}

/// Runs both sides in turn, and prints their medians for each of `records` records, and the ratio of their speeds: above
/// one, Levada is faster.
#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
pub(crate) fn compare(
    plan: &Plan,
    name: &str,
    records: u64,
    (hand_name, mut hand): (&str, impl FnMut()),
    (levada_name, mut levada): (&str, impl FnMut()),
) {
    let (mut hands, mut levadas) = (Vec::new(), Vec::new());
    // The first run of each warms up.
    for run in 0..=plan.runs {
        let pair = (time(&mut hand), time(&mut levada));
        if run > 0 {
            hands.push(pair.0);
            levadas.push(pair.1);
        }
    }
    let (hand, levada) = (median(hands), median(levadas));
    println!(
        "{name}: {hand_name} {:.1} ns, {levada_name} {:.1} ns a record, speed ratio {:.2} ({records} records, median of {})",
        per_record(hand, records),
        per_record(levada, records),
        hand.as_secs_f64() / levada.as_secs_f64(),
        plan.runs
    );
}

/// How long it takes.
pub(crate) fn time(act: &mut impl FnMut()) -> Duration {
    let clock = Environment::system().clock;
    let begin = clock.now();
    act();
    clock.now() - begin
}

/// The one in the middle.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn per_record(time: Duration, records: u64) -> f64 {
    time.as_secs_f64() * 1e9 / records as f64
}
