//! What a story must commit: computed from the input by loops over plain collections.

use std::collections::BTreeMap;

use crate::row::Row;
use crate::story::{AFTER, BEFORE, GAP, Kind, RULES, Record, SLIDE, Side, Story, WINDOW, mix};

/// The rows, by their identities.
pub(crate) fn expected(story: &Story) -> BTreeMap<String, Row> {
    let left = input(story, Side::Left);
    let rows = match story.kind {
        Kind::Counts => counts(&left, "", 1, 0),
        Kind::Tumbling | Kind::Timers => windows(&left, WINDOW),
        Kind::Sliding => windows(&left, SLIDE),
        Kind::Sessions => sessions(&left),
        Kind::Calls => {
            let row = |record: &Record| Row::alone(record.id.to_string(), record.value);
            left.iter().map(row).collect()
        }
        Kind::Broadcast => {
            let row = |record: &Record| {
                let factor = story.factor(record.key % RULES);
                Row::alone(record.id.to_string(), record.value.wrapping_mul(factor))
            };
            left.iter().map(row).collect()
        }
        Kind::Connect => {
            let mut rows = counts(&left, "left/", 2, 0);
            rows.extend(counts(&input(story, Side::Right), "right/", 2, 1));
            rows
        }
        Kind::Join => pairs(story, &left, |_, _| true),
        Kind::WindowJoin => pairs(story, &left, |left, right| {
            left.at / SLIDE == right.at / SLIDE
        }),
        Kind::IntervalJoin => pairs(story, &left, |left, right| {
            right.at + BEFORE >= left.at && right.at <= left.at + AFTER
        }),
    };
    let rows = rows.into_iter().map(|row| (row.identity.clone(), row));
    rows.collect()
}

fn input(story: &Story, side: Side) -> Vec<Record> {
    (0..story.count).map(|id| story.record(side, id)).collect()
}

fn by_key(records: &[Record]) -> BTreeMap<u64, Vec<Record>> {
    let mut keys: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for record in records {
        keys.entry(record.key).or_default().push(*record);
    }
    keys
}

/// The records of a key come from one split, so they have one order: that of their numbers.
fn counts(records: &[Record], prefix: &str, lanes: u64, lane: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for (key, records) in by_key(records) {
        let mut hash = 0;
        for (count, record) in (1..).zip(records) {
            hash = mix(hash ^ record.id);
            let identity = format!("{prefix}{key}/{count}");
            rows.push(Row::new(identity, hash, lanes * key + lane, count));
        }
    }
    rows
}

/// Windows of a fixed width, a new one each `slide`.
fn windows(records: &[Record], slide: u64) -> Vec<Row> {
    let mut sums: BTreeMap<_, u64> = BTreeMap::new();
    for record in records {
        let last = record.at / slide * slide;
        for start in (0..WINDOW / slide).map(|back| last - back * slide) {
            let sum = sums.entry((record.key, start)).or_default();
            *sum = sum.wrapping_add(mix(record.id));
        }
    }
    let row = |((key, start), sum)| Row::new(format!("{key}/{start}"), sum, key, start);
    sums.into_iter().map(row).collect()
}

fn sessions(records: &[Record]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (key, mut records) in by_key(records) {
        records.sort_by_key(|record| record.at);
        let mut rest = records.as_slice();
        while let Some(first) = rest.first() {
            let follows = |pair: &[Record]| pair[1].at < pair[0].at + GAP;
            let len = 1 + rest.windows(2).take_while(|pair| follows(pair)).count();
            let (session, others) = rest.split_at(len);
            let end = session[len - 1].at + GAP;
            let sum = session
                .iter()
                .fold(0u64, |sum, record| sum.wrapping_add(mix(record.id)));
            rows.push(Row::new(format!("{key}/{}-{end}", first.at), sum, key, end));
            rest = others;
        }
    }
    rows
}

fn pairs(story: &Story, left: &[Record], meet: impl Fn(&Record, &Record) -> bool) -> Vec<Row> {
    let right = by_key(&input(story, Side::Right));
    let mut rows = Vec::new();
    for left in left {
        let others = right.get(&left.key).into_iter().flatten();
        for right in others.filter(|right| meet(left, right)) {
            let payload = left.value ^ mix(right.value);
            rows.push(Row::alone(format!("{}+{}", left.id, right.id), payload));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_is_in_as_many_windows_as_it_should_be() {
        let records: Vec<_> = (0..10)
            .map(|id| Record {
                id,
                key: 0,
                at: 10_000 + 390 * id + 100 * (id / 5),
                value: 0,
            })
            .collect();
        let all = records
            .iter()
            .fold(0u64, |sum, record| sum.wrapping_add(mix(record.id)));
        let sum = |rows: &[Row]| {
            rows.iter()
                .fold(0u64, |sum, row| sum.wrapping_add(row.payload))
        };
        assert_eq!(sum(&windows(&records, WINDOW)), all);
        assert_eq!(
            sum(&windows(&records, SLIDE)),
            all.wrapping_mul(WINDOW / SLIDE)
        );
        let sessions = sessions(&records);
        assert_eq!(sessions.len(), 2, "a gap of 490 lies between two of them");
        assert_eq!(sum(&sessions), all);
    }
}
