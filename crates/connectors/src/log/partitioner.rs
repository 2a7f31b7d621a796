//! Which partition a record goes to.

use levada_core::key::KeyError;
use levada_core::{Key, KeyGroups};

/// Chooses the partition of a record.
pub trait Partitioner<T>: Clone + Send + Sync + 'static {
    /// The partition, from 0; none to take the partitions of the subtask in turn.
    ///
    /// # Errors
    /// If the record has a key that cannot be serialised.
    fn partition(&self, record: &T, partitions: u32) -> Result<Option<u32>, KeyError>;
}

/// Each subtask fills some of the partitions in turn.
#[derive(Clone, Copy, Debug)]
pub struct RoundRobin;

impl<T> Partitioner<T> for RoundRobin {
    fn partition(&self, _: &T, _: u32) -> Result<Option<u32>, KeyError> {
        Ok(None)
    }
}

/// Records with equal keys go to one partition, in every job and for ever: that of their key group, if there were as many
/// groups as there are partitions.
#[derive(Clone, Copy, Debug)]
pub struct ByKey<F>(pub(super) F);

impl<T, K, F> Partitioner<T> for ByKey<F>
where
    K: Key,
    F: Fn(&T) -> K + Clone + Send + Sync + 'static,
{
    fn partition(&self, record: &T, partitions: u32) -> Result<Option<u32>, KeyError> {
        let groups = u16::try_from(partitions).ok().and_then(KeyGroups::new);
        let groups = groups.expect("a log has 1 to 10,000 partitions");
        let group = groups.of(&(self.0)(record))?;
        Ok(Some(u32::from(group.0)))
    }
}

const _: () = assert!(super::manifest::PARTITIONS_MAX <= KeyGroups::MAX as u32);
