//! What the campaign has seen, and whether that was enough to mean something.

use std::collections::BTreeMap;
use std::fmt;

use crate::log::Said;
use crate::point::Point;
use crate::processes::{End, Ended};
use crate::story::Kind;

/// From so many kills on, every point must have been hit.
const KILLS_OF_ALL_POINTS: u64 = 100;

/// What has been counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) kills: u64,
    at_time: u64,
    at_point: BTreeMap<Point, u64>,
    /// Points that a child was to die at and did not pass.
    missed: u64,
    /// Kills while some task had no room for what it made.
    pressed: u64,
    completed: u64,
    overtaken: u64,
    failed: u64,
    restored: u64,
    restored_in_flight: u64,
    records_in_flight: u64,
    rescaled: u64,
    pub(crate) stories: BTreeMap<Kind, u64>,
    pub(crate) rows: u64,
}

impl Tally {
    pub(crate) fn hits(&self, point: Point) -> u64 {
        self.at_point.get(&point).copied().unwrap_or(0)
    }

    /// Counts what became of a child. `in_flight` is by the numbers of checkpoints, and grows.
    pub(crate) fn count(
        &mut self,
        ended: &Ended,
        point: Option<Point>,
        in_flight: &mut BTreeMap<u64, u64>,
        is_rescaled: bool,
    ) {
        let mut is_pressed = false;
        for said in &ended.said {
            match said {
                Said::Restored(number) => {
                    let records = in_flight.get(number).copied().unwrap_or(0);
                    self.restored += 1;
                    self.restored_in_flight += u64::from(records > 0);
                    self.records_in_flight += records;
                    self.rescaled += u64::from(is_rescaled);
                }
                Said::Completed {
                    number,
                    records,
                    overtaken,
                } => {
                    self.completed += 1;
                    self.overtaken += u64::from(*overtaken > 0);
                    in_flight.insert(*number, *records);
                }
                Said::Failed { .. } => self.failed += 1,
                Said::Pressed(is) => is_pressed = *is,
            }
        }
        let is_kill = matches!(ended.end, End::AtPoint | End::AtTime);
        self.kills += u64::from(is_kill);
        self.pressed += u64::from(is_kill && is_pressed);
        self.at_time += u64::from(ended.end == End::AtTime);
        if let Some(point) = point {
            let is_hit = ended.end == End::AtPoint;
            self.missed += u64::from(!is_hit);
            *self.at_point.entry(point).or_default() += u64::from(is_hit);
        }
    }

    /// What the campaign was to see and did not.
    pub(crate) fn unseen(&self) -> Vec<String> {
        let mut unseen = Vec::new();
        if self.restored_in_flight == 0 {
            unseen.push("no record in flight was ever restored".to_owned());
        }
        if self.kills < KILLS_OF_ALL_POINTS {
            return unseen;
        }
        for point in Point::all() {
            if self.hits(point) == 0 {
                unseen.push(format!("nothing was killed at {point}"));
            }
        }
        for (count, what) in [
            (self.at_time, "killed at a random time"),
            (self.pressed, "killed under backpressure"),
            (self.kills - self.pressed, "killed without backpressure"),
            (self.overtaken, "overtaken"),
            (self.rescaled, "restored at another parallelism"),
        ] {
            if count == 0 {
                unseen.push(format!("nothing was {what}"));
            }
        }
        unseen
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.stories.iter();
        let kinds: Vec<_> = kinds
            .map(|(kind, count)| format!("{kind:?} {count}"))
            .collect();
        let stories: u64 = self.stories.values().sum();
        writeln!(
            f,
            "{stories} stories: {}; {} rows",
            kinds.join(", "),
            self.rows
        )?;
        for point in Point::all() {
            writeln!(f, "{:>7}  {point}", self.hits(point))?;
        }
        for (count, what) in [
            (self.at_time, "at a random time"),
            (self.kills, "kills"),
            (self.pressed, "of them under backpressure"),
            (self.missed, "points that were not passed"),
            (self.completed, "checkpoints completed"),
            (self.overtaken, "of them with records overtaken"),
            (self.failed, "checkpoints failed"),
            (self.restored, "restores"),
            (self.restored_in_flight, "of them with records in flight"),
            (self.records_in_flight, "records in flight restored"),
            (self.rescaled, "restores at another parallelism"),
        ] {
            writeln!(f, "{count:>7}  {what}")?;
        }
        Ok(())
    }
}
