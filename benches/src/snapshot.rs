//! Saving a table while its task runs on: how long it is in the way, and how much is written.

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

use levada::Environment;
use levada_core::KeyGroup;
use levada_core::random::SplitMix64;
use levada_state::{KeyedState, KeyedTable, Rows, Saving};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::measure::Plan;

/// A value of a hundred bytes.
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self)
    }
}

/// What a snapshot has cost.
#[derive(Default)]
struct Cost {
    begin: Duration,
    slices: Vec<Duration>,
    bytes: usize,
}

const ROOM: usize = 64 << 10;

fn save(table: &mut KeyedTable<u64, Bytes>, saving: &Saving) -> Cost {
    let clock = Environment::system().clock;
    let mut cost = Cost::default();
    let mut rows = Rows::with_room(ROOM);
    let before = clock.now();
    table.begin(saving, &mut rows).expect("keys can be written");
    cost.begin = clock.now() - before;
    cost.bytes = rows.take().len();
    let mut is_done = false;
    while !is_done {
        let before = clock.now();
        is_done = table.save(&mut rows).expect("values can be written");
        cost.slices.push(clock.now() - before);
        cost.bytes += black_box(rows.take()).len();
    }
    cost.slices.sort_unstable();
    cost
}

impl Cost {
    fn total(&self) -> Duration {
        self.begin + self.slices.iter().sum::<Duration>()
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
pub(crate) fn run(plan: &Plan) {
    let keys = 1_000_000 / plan.share;
    let mut table = KeyedTable::new(0..128, 7);
    for key in 0..keys {
        let make = || Ok::<_, Infallible>((KeyGroup((key % 128) as u16), Bytes(vec![7; 100])));
        let Ok(_) = table.get_or_insert(&key, make);
    }
    let mut random = SplitMix64::new(1);
    let mut costs = [(); 3].map(|()| Vec::new());
    for run in 0..plan.runs as u64 {
        let whole = Saving {
            checkpoint: 3 * run,
            base: None,
            confirmed: None,
        };
        costs[0].push(save(&mut table, &whole));
        let mut of_changes = |table: &mut _, checkpoint, changed| {
            for _ in 0..changed {
                let value: &mut KeyedTable<u64, Bytes> = table;
                let value = value.get_mut(&random.below(keys));
                let byte = &mut value.expect("the key is there").0[0];
                *byte = byte.wrapping_add(1);
            }
            let saving = Saving {
                checkpoint,
                base: Some(checkpoint - 1),
                confirmed: Some(checkpoint - 1),
            };
            save(table, &saving)
        };
        costs[1].push(of_changes(&mut table, 3 * run + 1, keys / 100));
        costs[2].push(of_changes(&mut table, 3 * run + 2, 0));
    }
    let names = ["all of it", "1 % changed", "nothing changed"];
    for (name, mut costs) in names.into_iter().zip(costs) {
        costs.sort_by_key(Cost::total);
        let cost = &costs[costs.len() / 2];
        let millis = |span: Duration| span.as_secs_f64() * 1e3;
        let slice = |part: usize| millis(cost.slices[(cost.slices.len() - 1) * part / 100]);
        println!(
            "snapshot ({keys} keys of 100 bytes, {name}): begun in {:.3} ms; {} slices of {:.3} ms, 99 % below {:.3} ms, the longest {:.3} ms; {:.1} ms and {} bytes in all",
            millis(cost.begin),
            cost.slices.len(),
            slice(50),
            slice(99),
            slice(100),
            millis(cost.total()),
            cost.bytes,
        );
    }
}
