//! Partitioners: which route of an outbox a record takes.

use levada_core::random::SplitMix64;
use levada_core::{KeyGroup, KeyGroups};

/// Chooses the route of each record.
pub trait Routing<T>: Send {
    /// Whether a record may take any route: then one route that is full does not hold up the others.
    const CHOOSES: bool = false;

    /// The index of a route, below the number of routes that the outbox has; one that is not closed.
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
}

impl<T> Routing<T> for RoundRobin {
    const CHOOSES: bool = true;

    #[inline]
    fn route(&mut self, _: &T) -> usize {
        loop {
            let route = self.next;
            self.next += 1;
            if self.next == self.closed.len() {
                self.next = 0;
            }
            if !self.closed[route] {
                return route;
            }
        }
    }

    fn set_closed(&mut self, route: usize, closed: bool) {
        self.closed[route] = closed;
    }
}

/// To a subtask at random, record by record, except to those that have no room.
#[derive(Debug)]
pub struct Shuffled {
    random: SplitMix64,
    /// By route.
    closed: Vec<bool>,
}

impl Shuffled {
    /// Chooses among `routes` routes by the random numbers of this seed.
    #[must_use]
    pub fn new(routes: usize, seed: u64) -> Self {
        Self {
            random: SplitMix64::new(seed),
            closed: vec![false; routes],
        }
    }
}

impl<T> Routing<T> for Shuffled {
    const CHOOSES: bool = true;

    #[inline]
    fn route(&mut self, _: &T) -> usize {
        // There is an open route, or nothing would be sent: on average a draw in as many as there are routes finds it.
        loop {
            let route = self.random.below(self.closed.len() as u64) as usize;
            if !self.closed[route] {
                return route;
            }
        }
    }

    fn set_closed(&mut self, route: usize, closed: bool) {
        self.closed[route] = closed;
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
