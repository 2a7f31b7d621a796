//! Converts the prices of orders by rates that arrive while the job runs: enrichment by broadcast state.
//!
//! Every subtask gets every rate. An order whose rate has not come yet waits in the state of its currency until it does.

use levada::prelude::*;

#[derive(Clone, serde::Deserialize, serde::Serialize)]
struct Order {
    id: u32,
    currency: String,
    /// In hundredths.
    price: u64,
}

/// Euros for a hundred units of a currency.
type Rate = (String, u64);

#[derive(Clone)]
struct InEuro;

impl BroadcastProcess for InEuro {
    type Key = String;
    type In = Order;
    type Broadcast = Rate;
    type State = ListState<Order>;
    type Shared = MapState<String, u64>;
    type Out = (u32, u64);

    fn element(
        &self,
        order: &Order,
        rates: &MapState<String, u64>,
        context: &mut BroadcastContext<'_, Self>,
    ) {
        match rates.get(&order.currency) {
            Some(rate) => context.emit((order.id, order.price * rate / 100)),
            None => context.state().add(order.clone()),
        }
    }

    fn broadcast(
        &self,
        (currency, rate): &Rate,
        rates: &mut MapState<String, u64>,
        context: &mut SharedContext<'_, Self>,
    ) {
        rates.insert(currency.clone(), *rate);
        context.for_each_key(|key, waiting, out| {
            if key == currency {
                for order in waiting.clear() {
                    out.emit((order.id, order.price * rate / 100));
                }
            }
        });
    }
}

fn price_in_euro(job: &Job) {
    let rates = [("USD", 92), ("GBP", 117), ("JPY", 1), ("EUR", 100)];
    let rates = job.source("rates", iterator(rates));
    let rates = rates.map(|(currency, rate)| (currency.to_owned(), rate));
    job.source("orders", generator(|n| n as u32).count(12))
        .map(|id| Order {
            id,
            currency: ["USD", "GBP", "JPY", "EUR"][id as usize % 4].to_owned(),
            price: 1_000 * (u64::from(id) + 1),
        })
        .key_by(|order| order.currency.clone())
        .connect_broadcast(rates)
        .process("in-euro", InEuro)
        .map(|(id, price)| format!("order {id}: {}.{:02} EUR", price / 100, price % 100))
        .sink("out", stdout());
}

fn main() -> levada::Result {
    levada::main(price_in_euro)
}
