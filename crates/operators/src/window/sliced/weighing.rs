//! What slices take in memory, when there may be very many of them.

use std::collections::VecDeque;

use levada_core::Key;
use levada_state::{KeyedState, KeyedTable, Measuring};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The latest slices are looked at each time: they grow.
const LATEST: usize = 32;

/// So many of the others are, in turn; their mean stands for all.
const IN_TURN: usize = 32;

/// The mean is that of about so many, the last ones that were looked at.
const WINDOW: f64 = 1_024.0;

/// What is known of the slices that are not the latest.
#[derive(Debug, Default)]
pub(super) struct Weighing {
    next: usize,
    mean: Option<f64>,
}

impl Weighing {
    /// About what the slices take, however many there are, in a time that does not depend on that.
    pub(super) fn memory<K, A>(
        &mut self,
        slices: &mut VecDeque<(i64, KeyedTable<K, A>)>,
        measuring: &mut Measuring,
    ) -> u64
    where
        K: Key,
        A: Serialize + DeserializeOwned + Send,
    {
        let length = slices.len();
        let others = length.saturating_sub(LATEST);
        let mut bytes_of = |place: usize| slices[place].1.memory(measuring);
        let latest: u64 = (others..length).rev().map(&mut bytes_of).sum();
        if others <= IN_TURN {
            return latest + (0..others).map(bytes_of).sum::<u64>();
        }
        let begin = self.next;
        self.next = (begin + IN_TURN) % others;
        let looked: u64 = (begin..begin + IN_TURN)
            .map(|place| bytes_of(place % others))
            .sum();
        let now = looked as f64 / IN_TURN as f64;
        let before = self.mean.unwrap_or(now);
        let mean = before + (now - before) * IN_TURN as f64 / WINDOW;
        self.mean = Some(mean);
        latest + (mean * others as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use levada_core::KeyGroup;

    use super::*;

    fn slice(number: i64, keys: u64) -> (i64, KeyedTable<u64, String>) {
        let mut table = KeyedTable::new(0..128, 1);
        for key in 0..keys {
            let text = "some text that is not short".to_owned();
            let made = table.get_or_insert(&key, || Ok::<_, ()>((KeyGroup(0), text)));
            assert!(made.is_ok());
        }
        (number, table)
    }

    /// However many slices there are, about as much is said as they take, and few of them are looked at.
    #[test]
    fn many_slices_are_weighed_by_some_of_them() {
        for count in [0, 1, 20, 40, 64, 65, 3_000] {
            let mut slices: VecDeque<_> = (0..count)
                .map(|number| slice(number, 1 + number.unsigned_abs() % 7))
                .collect();
            let mut all = Measuring::new(u64::MAX, 1);
            let exact: u64 = slices
                .iter_mut()
                .map(|(_, table)| table.memory(&mut all))
                .sum();
            let mut weighing = Weighing::default();
            for round in 0..100 {
                let mut measuring = Measuring::new(512, round);
                let said = weighing.memory(&mut slices, &mut measuring);
                assert!(measuring.steps() < 64 * 64, "{} steps", measuring.steps());
                let least = if count <= 64 { exact } else { exact / 10 * 9 };
                assert!(
                    (least..=exact + exact / 10).contains(&said),
                    "{count} slices: {said}, not {exact}"
                );
            }
            // They go, and what is said of them with them.
            slices.truncate(10);
            let left: u64 = slices
                .iter_mut()
                .map(|(_, table)| table.memory(&mut all))
                .sum();
            let said = weighing.memory(&mut slices, &mut Measuring::new(512, 0));
            assert_eq!(said, left, "of {count}");
        }
    }
}
