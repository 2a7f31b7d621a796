//! Records that are being read, and how far.

use levada_core::{Room, fault};

use crate::batch::{Entries, Entry};

/// Records that may be left half-way and read on later, by reference or by value.
#[derive(Debug)]
pub struct Unread<T> {
    entries: Entries<T>,
    /// The first entry not yet read. Always zero while owned records are taken: those are removed.
    position: usize,
}

impl<T> Unread<T> {
    /// Records that came on no channel.
    #[must_use]
    pub fn new(entries: Vec<Entry<T>>) -> Self {
        Self::of(Entries::Owned(entries))
    }

    pub(crate) fn of(entries: Entries<T>) -> Self {
        Self {
            entries,
            position: 0,
        }
    }

    pub(crate) fn into_entries(self) -> Entries<T> {
        self.entries
    }

    /// The records that are left.
    #[must_use]
    pub fn rest(&self) -> &[Entry<T>] {
        let entries = match &self.entries {
            Entries::Owned(entries) => entries,
            Entries::Shared(shared) => &shared.entries,
        };
        &entries[self.position..]
    }

    /// Whether all records have been read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.rest().is_empty()
    }

    /// Reads by reference until `read` has no room or nothing is left. The records stay, for their maker to drop.
    #[inline]
    pub fn lend(&mut self, mut read: impl FnMut(&Entry<T>) -> Room) -> Room {
        let begin = if fault!("position-lost") {
            0
        } else {
            self.position
        };
        let entries = match &self.entries {
            Entries::Owned(entries) => entries,
            Entries::Shared(shared) => &shared.entries,
        };
        for (i, entry) in entries[begin..].iter().enumerate() {
            if read(entry).is_full() && !fault!("room-ignored") {
                self.position = begin + i + 1;
                return Room::Full;
            }
        }
        self.position = entries.len();
        Room::Free
    }

    /// Takes records out until `take` has no room or nothing is left; those of a shared batch are cloned.
    ///
    /// # Panics
    /// If the batch is shared and `clone` is missing: the plan gives it to every consumer of a shared edge.
    #[inline]
    pub fn take(
        &mut self,
        clone: Option<fn(&T) -> T>,
        mut take: impl FnMut(Entry<T>) -> Room,
    ) -> Room {
        let entries = match &mut self.entries {
            Entries::Owned(entries) => entries,
            Entries::Shared(_) => {
                let clone = clone.expect("the consumer of a shared batch knows how to clone");
                return self.lend(|entry| {
                    take(Entry {
                        record: clone(&entry.record),
                        timestamp: entry.timestamp,
                    })
                });
            }
        };
        let mut room = Room::Free;
        let mut drain = entries.drain(self.position..);
        for entry in drain.by_ref() {
            room = take(entry);
            if room.is_full() && !fault!("room-ignored") {
                break;
            }
        }
        // A drain cannot be kept over a poll. What is left is moved out and back, so that the memory stays with the batch;
        // that is rare, since a poll goes on to the end of a batch unless there is no room or its time is over.
        let rest: Vec<_> = drain.collect();
        entries.extend(rest);
        self.position = 0;
        if room.is_full() {
            Room::Full
        } else {
            Room::Free
        }
    }
}

impl<T> Unread<T> {
    /// Lets a consumer take records that decides by itself when to stop. What it leaves stays unread.
    ///
    /// # Panics
    /// As [`Unread::take`].
    pub fn drain<C: Consume<T>>(&mut self, clone: Option<fn(&T) -> T>, consumer: C) -> C::Out {
        let entries = match &mut self.entries {
            Entries::Owned(entries) => entries,
            Entries::Shared(shared) => {
                let clone = clone.expect("the consumer of a shared batch knows how to clone");
                let rest = &shared.entries[self.position..];
                let position = &mut self.position;
                return consumer.consume(rest.iter().map(|entry| {
                    *position += 1;
                    Entry {
                        record: clone(&entry.record),
                        timestamp: entry.timestamp,
                    }
                }));
            }
        };
        let mut drain = entries.drain(self.position..);
        let out = consumer.consume(drain.by_ref());
        let rest: Vec<_> = drain.collect();
        entries.extend(rest);
        self.position = 0;
        out
    }
}

/// Takes records out of a batch, as many as it wants. A function that is generic over the iterator, so that the loop is
/// compiled for each.
pub trait Consume<T> {
    /// What comes of it.
    type Out;

    /// Takes records.
    fn consume(self, records: impl ExactSizeIterator<Item = Entry<T>>) -> Self::Out;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use levada_core::Timestamp;

    use super::*;
    use crate::batch::SharedEntries;

    fn entries(n: u64) -> Vec<Entry<u64>> {
        (0..n)
            .map(|record| Entry {
                record,
                timestamp: Timestamp::MIN,
            })
            .collect()
    }

    fn every_third(record: u64) -> Room {
        if record % 3 == 2 {
            Room::Full
        } else {
            Room::Free
        }
    }

    #[test]
    fn lent_records_are_read_once_each_and_stay() {
        let mut unread = Unread::of(Entries::Owned(entries(10)));
        let mut seen = Vec::new();
        while !unread.is_done() {
            let _ = unread.lend(|entry| {
                seen.push(entry.record);
                every_third(entry.record)
            });
        }
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        let Entries::Owned(left) = unread.into_entries() else {
            panic!("still owned");
        };
        assert_eq!(left.len(), 10);
    }

    #[test]
    fn taken_records_are_taken_once_each() {
        let mut unread = Unread::of(Entries::Owned(entries(10)));
        let mut seen = Vec::new();
        while !unread.is_done() {
            let _ = unread.take(None, |entry| {
                seen.push(entry.record);
                every_third(entry.record)
            });
        }
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn shared_records_are_cloned_for_who_takes_them() {
        let shared = Arc::new(SharedEntries {
            entries: entries(4),
            charge: None,
        });
        let mut unread = Unread::of(Entries::Shared(Arc::clone(&shared)));
        let mut seen = Vec::new();
        let room = unread.take(Some(Clone::clone), |entry| {
            seen.push(entry.record);
            Room::Free
        });
        assert_eq!(room, Room::Free);
        assert_eq!(seen, [0, 1, 2, 3]);
        assert_eq!(shared.entries.len(), 4);
    }
}
