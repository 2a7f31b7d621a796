//! Storage whose entries never move: chunks of slots, with a list of the free ones.

const CHUNK: usize = 256;

/// Entries by slot number. A slot stays with its entry until the entry is removed.
pub(crate) struct Slots<T> {
    /// The first slots, which is all of them in most key groups: one pointer less to follow. It grows up to a chunk.
    first: Vec<Option<T>>,
    /// The chunks after it, made at their full size; all but the last are full.
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        Self {
            first: Vec::new(),
            chunks: Vec::new(),
            free: Vec::new(),
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// One more than the largest slot ever used.
    pub(crate) fn end(&self) -> u32 {
        let chunks = match self.chunks.last() {
            None => 0,
            Some(last) => (self.chunks.len() - 1) * CHUNK + last.len(),
        };
        u32::try_from(self.first.len() + chunks).expect("a key group has fewer than 2^32 entries")
    }

    pub(crate) fn insert(&mut self, entry: T) -> u32 {
        self.len += 1;
        if let Some(slot) = self.free.pop() {
            *self.slot_mut(slot) = Some(entry);
            return slot;
        }
        let slot = self.end();
        if self.first.len() < CHUNK {
            self.first.push(Some(entry));
            return slot;
        }
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(Some(entry)),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(Some(entry));
                self.chunks.push(chunk);
            }
        }
        slot
    }

    #[inline]
    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        let slot = slot as usize;
        if slot < CHUNK {
            self.first[slot].as_ref()
        } else {
            self.chunks[slot / CHUNK - 1][slot % CHUNK].as_ref()
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.slot_mut(slot).as_mut()
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let entry = self.slot_mut(slot).take()?;
        self.free.push(slot);
        self.len -= 1;
        Some(entry)
    }

    /// The entries, in the order of their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let chunks = self.chunks.iter().flatten();
        self.first.iter().chain(chunks).flatten()
    }

    #[inline]
    fn slot_mut(&mut self, slot: u32) -> &mut Option<T> {
        let slot = slot as usize;
        if slot < CHUNK {
            &mut self.first[slot]
        } else {
            &mut self.chunks[slot / CHUNK - 1][slot % CHUNK]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_slots() {
        let mut slots = Slots::new();
        for i in 0..1_000u32 {
            assert_eq!(slots.insert(i), i);
        }
        assert_eq!(slots.remove(300), Some(300));
        assert_eq!(slots.remove(300), None);
        assert_eq!(slots.get(299), Some(&299));
        assert_eq!(slots.insert(7), 300, "a free slot is used again");
        assert_eq!((slots.len(), slots.end()), (1_000, 1_000));
    }
}
