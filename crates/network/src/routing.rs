//! Partitioners: which route of an outbox a record takes.

use std::ops::Range;

use levada_core::random::SplitMix64;
use levada_core::{KeyGroup, KeyGroups};

/// Chooses the route of each record.
pub trait Routing<T>: Send {
    /// Whether a record may take any route: then one route that is full does not hold up the others.
    const CHOOSES: bool = false;

    /// The index of a route, below the number of routes that the outbox has; one that is not closed, if there is such a one. What
    /// must go on without room is sent when there is none.
    fn route(&mut self, record: &T) -> usize;

    /// Says that a route cannot take records, or can again. Only for a routing that [chooses](Self::CHOOSES).
    fn set_closed(&mut self, route: usize, closed: bool) {
        let _ = (route, closed);
    }
}

/// A record that knows the group of its key.
pub trait HasKeyGroup {
    /// The key group, computed once when the record was keyed.
    fn key_group(&self) -> KeyGroup;

    /// Makes it a record for these key groups only, when what was sent to their old owner is divided among new ones. False if
    /// nothing of it is for them.
    fn narrow(&mut self, groups: &Range<u16>) -> bool {
        groups.contains(&self.key_group().0)
    }
}

/// To the subtask that owns the key group.
#[derive(Debug)]
pub struct ByGroup {
    subtask_of_group: Vec<u16>,
}

impl ByGroup {
    /// Routes to `parallelism` subtasks, at most one for each group.
    #[must_use]
    pub fn new(groups: KeyGroups, parallelism: usize) -> Self {
        let subtask_of_group = (0..groups.count())
            .map(|group| {
                u16::try_from(groups.subtask(KeyGroup(group), parallelism))
                    .expect("there are at most as many subtasks as key groups")
            })
            .collect();
        Self { subtask_of_group }
    }
}

impl<T: HasKeyGroup> Routing<T> for ByGroup {
    #[inline]
    fn route(&mut self, record: &T) -> usize {
        usize::from(self.subtask_of_group[usize::from(record.key_group().0)])
    }
}

/// To each subtask in turn, record by record, except to those that have no room: a slow consumer gets what it can take,
/// and does not hold up the others.
#[derive(Debug)]
pub struct RoundRobin {
    next: usize,
    /// By route.
    closed: Vec<bool>,
}

impl RoundRobin {
    /// Takes turns over `routes` routes and begins with `first`, so that many producers of few records do not all
    /// begin with the same consumer.
    #[must_use]
    pub fn new(routes: usize, first: usize) -> Self {
        Self {
            next: first % routes.max(1),
            closed: vec![false; routes],
        }
    }

    #[inline]
    fn take_turn(&mut self) -> usize {
        let route = self.next;
        self.next += 1;
        if self.next == self.closed.len() {
            self.next = 0;
        }
        route
    }
}

impl<T> Routing<T> for RoundRobin {
    const CHOOSES: bool = true;

    #[inline]
    fn route(&mut self, _: &T) -> usize {
        for _ in 0..self.closed.len() {
            let route = self.take_turn();
            if !self.closed[route] {
                return route;
            }
        }
        self.take_turn()
    }

    fn set_closed(&mut self, route: usize, closed: bool) {
        self.closed[route] = closed;
    }
}

/// To a subtask at random, record by record, except to those that have no room.
#[derive(Debug)]
pub struct Shuffled {
    random: SplitMix64,
    open: usize,
    /// By route.
    closed: Vec<bool>,
}

impl Shuffled {
    /// Chooses among `routes` routes by the random numbers of this seed.
    #[must_use]
    pub fn new(routes: usize, seed: u64) -> Self {
        Self {
            random: SplitMix64::new(seed),
            open: routes,
            closed: vec![false; routes],
        }
    }
}

impl<T> Routing<T> for Shuffled {
    const CHOOSES: bool = true;

    #[inline]
    fn route(&mut self, _: &T) -> usize {
        // If there is an open route, on average a draw in as many as there are routes finds it.
        loop {
            let route = self.random.below(self.closed.len() as u64) as usize;
            if !self.closed[route] || self.open == 0 {
                return route;
            }
        }
    }

    fn set_closed(&mut self, route: usize, closed: bool) {
        if std::mem::replace(&mut self.closed[route], closed) == closed {
            return;
        }
        match closed {
            true => self.open -= 1,
            false => self.open += 1,
        }
    }
}

/// To the only route: one channel (pointwise), or all of them (broadcast).
#[derive(Debug)]
pub struct OneRoute;

impl<T> Routing<T> for OneRoute {
    #[inline]
    fn route(&mut self, _: &T) -> usize {
        0
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn check(mut routing: impl Routing<()>) {
        routing.set_closed(1, true);
        for _ in 0..20 {
            assert_ne!(routing.route(&()), 1);
        }
        for route in 0..3 {
            routing.set_closed(route, true);
        }
        let mut chosen = [0; 3];
        for _ in 0..60 {
            chosen[routing.route(&())] += 1;
        }
        assert!(chosen.iter().all(|times| *times > 5), "{chosen:?}");
        routing.set_closed(2, false);
        for _ in 0..20 {
            assert_eq!(routing.route(&()), 2);
        }
    }

    #[test]
    fn a_route_that_is_closed_is_taken_only_when_all_are() {
        check(RoundRobin::new(3, 1));
        check(Shuffled::new(3, 7));
    }
}
