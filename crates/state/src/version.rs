//! Versions of state, and the way from an older one to the present one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use levada_core::codec;
use serde::de::DeserializeOwned;

use crate::reader::ValueReader;
use crate::schema::{Fields, TypeFields};

/// The version of an operator's state, with the ways from older ones. Made by [`version`].
pub struct StateVersion<S> {
    number: u32,
    migrations: BTreeMap<u32, Migration<S>>,
    /// What is wrong with it.
    problem: Option<String>,
}

struct Migration<S> {
    /// What the state was.
    old: Arc<dyn Fn() -> TypeFields + Send + Sync>,
    reader: ValueReader<S>,
}

/// Says that the state of the operator that follows has this version; without it, state has version 1.
///
/// The number is of the programmer's choice, and grows when the type of the state looks different to serde than in the
/// checkpoints there are. For each older version from which such a checkpoint may come there is a closure
/// ([`from`](StateVersion::from)) that turns a value of then into one of now.
///
/// ```
/// use levada_state::{StateVersion, version};
/// use serde::{Deserialize, Serialize};
///
/// /// As it was.
/// #[derive(Default, Serialize, Deserialize)]
/// struct AttemptsV1 {
///     failed: u32,
/// }
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Attempts {
///     failed: u64,
///     blocked: bool,
/// }
///
/// let attempts: StateVersion<Attempts> = version(2).from(1, |old: AttemptsV1| Attempts {
///     failed: old.failed.into(),
///     blocked: old.failed >= 5,
/// });
/// ```
#[must_use]
pub fn version<S>(number: u32) -> StateVersion<S> {
    let problem = (number == 0).then(|| "versions of state are counted from 1".to_owned());
    StateVersion {
        number,
        migrations: BTreeMap::new(),
        problem,
    }
}

impl<S> StateVersion<S> {
    /// State of version `older` goes through this closure when a checkpoint with it is restored, value by value: directly
    /// to the present type, whatever versions there were between. Values with a time-to-live keep the time of their last
    /// use, and keys their timers.
    ///
    /// What the closure does it may do several times: whenever such a checkpoint is read.
    #[must_use]
    pub fn from<V, F>(mut self, older: u32, migrate: F) -> Self
    where
        V: DeserializeOwned + 'static,
        F: Fn(V) -> S + Send + Sync + 'static,
    {
        let number = self.number;
        if older == 0 || older >= number {
            let problem =
                format!("there is no way from version {older} of a state to version {number}");
            self.problem.get_or_insert(problem);
        }
        let migration = Migration {
            old: Arc::new(TypeFields::of::<V>),
            reader: ValueReader::new(move |bytes| Ok(migrate(codec::decode_next(bytes)?))),
        };
        if self.migrations.insert(older, migration).is_some() {
            let problem =
                format!("there are two ways from version {older} of a state to version {number}");
            self.problem.get_or_insert(problem);
        }
        self
    }

    /// The same for state that is there or not.
    #[must_use]
    pub fn optional(self) -> StateVersion<Option<S>>
    where
        S: DeserializeOwned + 'static,
    {
        let migrations = self.migrations.into_iter().map(|(version, migration)| {
            let Migration { old, reader } = migration;
            let optional = Migration {
                old: Arc::new(move || {
                    let TypeFields { name, fields } = old();
                    TypeFields {
                        name: format!("core::option::Option<{name}>"),
                        fields: Fields::Optional(Box::new(fields)),
                    }
                }),
                reader: reader.within(ValueReader::read_option),
            };
            (version, optional)
        });
        StateVersion {
            number: self.number,
            migrations: migrations.collect(),
            problem: self.problem,
        }
    }

    /// What is wrong with it, if something is.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// How values of a saved version are read; as they are if it is this one, or nothing was saved.
    #[must_use]
    pub fn reader(&self, saved: Option<u32>) -> ValueReader<S> {
        let migration = saved.and_then(|saved| self.migrations.get(&saved));
        migration.map_or_else(ValueReader::default, |migration| migration.reader.clone())
    }

    /// What there is to know of it without its type.
    #[must_use]
    pub fn describe(&self) -> VersionFields {
        let migrations = self.migrations.iter();
        VersionFields {
            number: self.number,
            migrations: migrations
                .map(|(version, migration)| (*version, (migration.old)()))
                .collect(),
        }
    }
}

impl<S> Clone for StateVersion<S> {
    fn clone(&self) -> Self {
        Self {
            number: self.number,
            migrations: self.migrations.clone(),
            problem: self.problem.clone(),
        }
    }
}

impl<S> Clone for Migration<S> {
    fn clone(&self) -> Self {
        Self {
            old: Arc::clone(&self.old),
            reader: self.reader.clone(),
        }
    }
}

/// Version 1, of which there is no older one.
impl<S> Default for StateVersion<S> {
    fn default() -> Self {
        version(1)
    }
}

impl<S> fmt::Debug for StateVersion<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateVersion")
            .field("number", &self.number)
            .field("from", &self.migrations.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// A version of a state with what values of older ones looked like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VersionFields {
    /// The version.
    pub number: u32,
    /// What a value was, by each older version that there is a way from.
    pub migrations: BTreeMap<u32, TypeFields>,
}

/// What the state of an operator looks like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StateFields {
    /// Its version. What there is a way for from older ones is [`VALUE`].
    pub version: VersionFields,
    /// Its types, by their roles.
    pub types: BTreeMap<&'static str, TypeFields>,
}

/// The role of keys.
pub const KEY: &str = "key";

/// The role of what is kept for each key.
pub const VALUE: &str = "value";

impl StateFields {
    /// State without anything in it, of version 1.
    #[must_use]
    pub fn new() -> Self {
        Self::of_version(&StateVersion::<()>::default())
    }

    /// State without anything in it.
    #[must_use]
    pub fn of_version<S>(version: &StateVersion<S>) -> Self {
        Self {
            version: version.describe(),
            types: BTreeMap::new(),
        }
    }

    /// The same with values of type `T` in this role.
    #[must_use]
    pub fn with<T: DeserializeOwned>(mut self, role: &'static str) -> Self {
        self.types.insert(role, TypeFields::of::<T>());
        self
    }
}

impl Default for StateFields {
    fn default() -> Self {
        Self::new()
    }
}
