//! Events that arrive out of order.

use levada_core::random::SplitMix64;

use crate::event::Event;

/// Puts events into the order in which they arrive if each is delayed at random, by `delay_ms_max` at most. Events that
/// arrive in the same millisecond stay in their order.
pub(crate) fn shuffle(events: Vec<Event>, seed: u64, delay_ms_max: u64) -> Vec<Event> {
    let mut random = SplitMix64::new(seed);
    let mut arriving: Vec<_> = events
        .into_iter()
        .map(|event| {
            let delay = match delay_ms_max.checked_add(1) {
                Some(delays) => random.below(delays),
                None => random.next(),
            };
            (event.date_time().saturating_add(delay), event)
        })
        .collect();
    arriving.sort_by_key(|(arrival, _)| *arrival);
    arriving.into_iter().map(|(_, event)| event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate;

    #[test]
    fn events_arrive_late_by_the_delay_at_most() {
        let ordered: Vec<_> = generate::events(5_000, generate::BASE_TIME).collect();
        let shuffled = shuffle(ordered.clone(), 1, 40);
        assert_ne!(shuffled, ordered);
        let mut latest = 0;
        let mut lateness_max = 0;
        for event in &shuffled {
            latest = latest.max(event.date_time());
            lateness_max = lateness_max.max(latest - event.date_time());
        }
        assert!((30..=40).contains(&lateness_max), "{lateness_max} ms");
        let sorted = |mut events: Vec<Event>| {
            events.sort_by_key(|event| format!("{event:?}"));
            events
        };
        assert_eq!(sorted(shuffled), sorted(ordered));
    }

    #[test]
    fn a_seed_gives_one_order() {
        let ordered: Vec<_> = generate::events(1_000, 0).collect();
        assert_eq!(shuffle(ordered.clone(), 7, 0), ordered);
        let shuffled = shuffle(ordered.clone(), 7, 100);
        assert_eq!(shuffle(ordered.clone(), 7, 100), shuffled);
        assert_ne!(shuffle(ordered, 8, 100), shuffled);
    }
}
