//! The times of a key.

use std::collections::VecDeque;

use levada_core::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Times in their order, each once. Most keys have one, which takes no memory of its own; one may have very many: the first
/// goes, and the last comes, without that the others move.
///
/// It is written as a sequence.
#[derive(Debug)]
pub(crate) enum Times {
    One(Timestamp),
    Some(VecDeque<Timestamp>),
}

impl Times {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Some(times) => times.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a time; false if it is there.
    pub(crate) fn insert(&mut self, at: Timestamp) -> bool {
        let times = match self {
            Self::One(only) if *only == at => return false,
            Self::One(only) => {
                *self = Self::Some([(*only).min(at), (*only).max(at)].into());
                return true;
            }
            Self::Some(times) if times.is_empty() => {
                *self = Self::One(at);
                return true;
            }
            Self::Some(times) => times,
        };
        let Err(place) = times.binary_search(&at) else {
            return false;
        };
        times.insert(place, at);
        true
    }

    /// Removes a time; false if it is not there.
    pub(crate) fn remove(&mut self, at: Timestamp) -> bool {
        match self {
            Self::One(only) => {
                let is_it = *only == at;
                if is_it {
                    *self = Self::default();
                }
                is_it
            }
            Self::Some(times) => {
                let found = times.binary_search(&at);
                found.map(|found| times.remove(found)).is_ok()
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Timestamp> {
        let (one, some) = match self {
            Self::One(only) => (Some(*only), None),
            Self::Some(times) => (None, Some(times)),
        };
        one.into_iter().chain(some.into_iter().flatten().copied())
    }
}

impl Default for Times {
    fn default() -> Self {
        Self::Some(VecDeque::new())
    }
}

impl Serialize for Times {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(only) => std::slice::from_ref(only).serialize(serializer),
            Self::Some(times) => times.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let times = VecDeque::deserialize(deserializer)?;
        Ok(match times.front() {
            Some(only) if times.len() == 1 => Self::One(*only),
            _ => Self::Some(times),
        })
    }
}

#[cfg(test)]
mod tests {
    use levada_core::codec;

    use super::*;

    #[test]
    fn one_and_many_are_written_alike_and_take_as_little() {
        for n in 0..4 {
            let list: VecDeque<_> = (0..n).map(Timestamp).collect();
            let mut times = Times::default();
            for at in list.iter().rev() {
                assert!(times.insert(*at) && !times.insert(*at));
            }
            let (mut written, mut expected) = (Vec::new(), Vec::new());
            codec::encode(&times, &mut written).unwrap();
            codec::encode(&list, &mut expected).unwrap();
            assert_eq!(written, expected);
            let mut read: Times = codec::decode(&written).unwrap();
            assert!(read.iter().eq(list.iter().copied()));
            for at in &list {
                assert!(read.remove(*at) && !read.remove(*at));
            }
            assert!(read.is_empty());
        }
        assert_eq!(size_of::<Times>(), size_of::<VecDeque<Timestamp>>());
    }
}
