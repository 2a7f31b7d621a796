//! Finds a small payment that is followed by a large one within a minute: a keyed process with timers in event time.
//!
//! Whoever has stolen a card tries it with a small amount first. Alerts go to standard output, and so do small payments after
//! which nothing large came.

use levada::prelude::*;

/// Card, second, and amount.
type Payment = (String, i64, u64);

/// Remembers until when a large payment of a card would be suspicious.
#[derive(Clone)]
struct Fraud {
    harmless: SideOutput<String>,
}

impl Process for Fraud {
    type Key = String;
    type In = Payment;
    type State = Option<Timestamp>;
    type Out = String;

    fn element(&self, (card, _, euro): &Payment, context: &mut Context<'_, Self>) {
        let now = context.timestamp();
        let until = context.existing_state().copied().flatten();
        if *euro < 2 {
            until.inspect(|until| context.delete_timer(*until));
            *context.state() = Some(now + minutes(1));
            context.set_timer(now + minutes(1));
        } else if *euro >= 500
            && let Some(until) = until.filter(|until| now <= *until)
        {
            context.delete_timer(until);
            context.clear();
            context.emit(card.clone());
        }
    }

    /// A minute has passed: no payment of this time or an earlier one follows.
    fn timer(&self, _: Timer, context: &mut Context<'_, Self>) {
        context.clear();
        let card = context.key().clone();
        context.emit_to(&self.harmless, card);
    }
}

const PAYMENTS: [(&str, i64, u64); 9] = [
    ("a", 0, 1),
    ("b", 3, 1),
    ("a", 30, 700),
    ("c", 35, 1),
    ("b", 64, 900),
    ("c", 80, 1),
    ("d", 90, 800),
    ("c", 140, 600),
    ("d", 150, 1),
];

fn fraud_pattern(job: &Job) {
    let (alerts, harmless) = job
        .source("payments", iterator(PAYMENTS))
        .map(|(card, second, euro)| (card.to_owned(), second, euro))
        .timestamps(|payment: &Payment| payment.1 * 1_000, seconds(5))
        .key_by(|payment| payment.0.clone())
        .process_with_side("fraud", |harmless| Fraud { harmless });
    alerts
        .map(|card| format!("ALERT: card {card} may be stolen"))
        .sink("alerts", stdout());
    harmless
        .map(|card| format!("card {card} paid a little, and nothing came of it"))
        .sink("harmless", stdout());
}

fn main() -> levada::Result {
    levada::main(fraud_pattern)
}
