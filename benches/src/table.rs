//! The table of keyed operators against a flat hash map: updates, and the longest time that an insertion takes.

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

use hashbrown::HashMap;
use levada::Environment;
use levada_core::KeyGroup;
use levada_state::KeyedTable;

use crate::measure::{Plan, compare};

type Map = HashMap<u64, (u64, u64), foldhash::fast::FixedState>;

/// A random order of keys: each step is of full period modulo a power of two.
fn scramble(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995
}

fn update_map(map: &mut Map, key: u64) {
    let (count, sum) = map.entry(key).or_default();
    *count += 1;
    *sum += key;
}

fn update_table(table: &mut KeyedTable<u64, (u64, u64)>, key: u64) {
    let make = || Ok::<_, Infallible>((KeyGroup((key % 128) as u16), (0, 0)));
    let Ok((count, sum)) = table.get_or_insert(&key, make);
    *count += 1;
    *sum += key;
}

/// The longest single update while the keys come for the first time.
fn longest(keys: u64, mut update: impl FnMut(u64)) -> Duration {
    let clock = Environment::system().clock;
    let mut before = clock.now();
    let mut longest = Duration::ZERO;
    for n in 0..keys {
        update(scramble(n));
        let now = clock.now();
        longest = longest.max(now - before);
        before = now;
    }
    longest
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
pub(crate) fn run(plan: &Plan) {
    for keys in [100_000, 10_000_000 / plan.share] {
        let (mut map, mut table) = (Map::default(), KeyedTable::new(0..128, 7));
        // Once for the memory, which a virtual machine may take milliseconds to get.
        longest(keys, |key| update_map(&mut map, key));
        longest(keys, |key| update_table(&mut table, key));
        (map, table) = (Map::default(), KeyedTable::new(0..128, 7));
        let map_stall = longest(keys, |key| update_map(&mut map, key));
        let table_stall = longest(keys, |key| update_table(&mut table, key));
        // What the machine takes away from a loop that does next to nothing for about as long.
        let nothing = longest(20 * keys, |key| {
            black_box(key);
        });
        println!(
            "table ({keys} keys): longest insertion {:.2} ms in a flat map, {:.2} ms in the table; longest gap of an empty loop {:.2} ms",
            map_stall.as_secs_f64() * 1e3,
            table_stall.as_secs_f64() * 1e3,
            nothing.as_secs_f64() * 1e3,
        );
        let updates = 10_000_000 / plan.share;
        let order = |n: u64| scramble(n.wrapping_mul(7_919) % keys);
        compare(
            plan,
            &format!("table ({keys} keys, count and sum by u64)"),
            updates,
            ("flat map", || {
                (0..updates).for_each(|n| update_map(&mut map, order(n)));
            }),
            ("table", || {
                (0..updates).for_each(|n| update_table(&mut table, order(n)));
            }),
        );
        black_box((map, table.len()));
    }
}
