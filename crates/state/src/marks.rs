//! What whoever saves the entries of a shard keeps beside them.

/// What is known of a shard. Both halves of a divided one have that of the whole.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Marks {
    /// The last epoch in which an entry changed.
    pub(crate) changed: u32,
    /// The last epoch whose snapshot has gone through all of it.
    pub(crate) scanned: u32,
    /// Another one when entries have moved within the shard or out of it.
    pub(crate) layout: u32,
    /// The first bucket to which the snapshot has not come that goes through it, as long as entries stay in their places.
    pub(crate) come_to: u32,
    /// Whether a snapshot has begun to go through it.
    pub(crate) is_mixed: bool,
    /// Whether the entries say for themselves if that snapshot has come to them: they have moved since.
    pub(crate) by_entry: bool,
}

impl Marks {
    /// Ends the way of a snapshot through the shard.
    pub(crate) fn leave(&mut self) {
        self.is_mixed = false;
        self.by_entry = false;
    }
}

/// A bit for each bucket of a shard. Where there is none, the entry has not changed in any epoch that a snapshot may ask for.
#[derive(Debug, Default)]
pub(crate) struct Changed(Box<[u64]>);

impl Changed {
    pub(crate) fn new(buckets: usize, bits: bool) -> Self {
        let word = if bits { u64::MAX } else { 0 };
        Self(vec![word; buckets.div_ceil(64)].into())
    }

    pub(crate) fn set(&mut self, bucket: usize) {
        self.0[bucket / 64] |= 1 << (bucket % 64);
    }

    pub(crate) fn set_all(&mut self) {
        self.0.fill(u64::MAX);
    }

    pub(crate) fn clear(&mut self, bucket: usize) {
        // A table without room has one bucket, and no bit.
        if let Some(word) = self.0.get_mut(bucket / 64) {
            *word &= !(1 << (bucket % 64));
        }
    }

    /// The next bit from a bucket on. There may be some behind the last bucket.
    pub(crate) fn next(&self, from: usize) -> Option<usize> {
        let mut place = from / 64;
        let mut word = self.0.get(place)? & (u64::MAX << (from % 64));
        while word == 0 {
            place += 1;
            word = *self.0.get(place)?;
        }
        Some(place * 64 + word.trailing_zeros() as usize)
    }

    pub(crate) fn allocated(&self) -> usize {
        size_of_val(&*self.0)
    }
}

/// What is kept beside an entry that was found.
pub(crate) struct Beside<'a> {
    pub(crate) marks: &'a mut Marks,
    pub(crate) changed: &'a mut Changed,
    pub(crate) bucket: usize,
}

impl Beside<'_> {
    pub(crate) fn again(&mut self) -> Beside<'_> {
        Beside {
            marks: self.marks,
            changed: self.changed,
            bucket: self.bucket,
        }
    }
}

/// An entry that can say that a snapshot has come to it.
pub(crate) trait Marked {
    /// Says whether the snapshot that goes through the shard has come to the entry.
    fn set_written(&mut self, is_written: bool);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_found_in_their_order() {
        let mut changed = Changed::new(200, false);
        assert_eq!(changed.next(0), None);
        for bucket in [3, 63, 64, 190] {
            changed.set(bucket);
        }
        let found = |changed: &Changed| {
            let next = |from: &usize| changed.next(from + 1);
            std::iter::successors(changed.next(0), next).collect::<Vec<_>>()
        };
        assert_eq!(found(&changed), [3, 63, 64, 190]);
        changed.clear(63);
        assert_eq!(found(&changed), [3, 64, 190]);
        assert_eq!(changed.next(500), None);
        changed.set_all();
        assert_eq!(changed.next(77), Some(77));
        assert_eq!(Changed::new(65, true).next(64), Some(64));
        assert_eq!(Changed::default().next(0), None);
    }
}
