//! What types look like to serde: what a checkpoint says of the state in it, so that a program whose types are others is
//! told so before it reads a byte.
//!
//! ```text
//! {user: string, failed: u32, last: optional i64, seen: list of {ip: [u8; 16], how: one of {Web, Mail: string}}}
//! ```
//!
//! Names of types are not in it: a type may be renamed and moved. Names of fields and variants are, though the codec does
//! not write them: two fields that have changed places would be read as each other.

mod answers;
mod differences;
mod text;
mod trace;

use std::any::type_name;

use serde::de::DeserializeOwned;

/// What a type looks like to serde.
///
/// It is found out by letting the type's `Deserialize` ask for what it wants, and giving it answers that it may like, as
/// often as there are variants to be seen. So it ends where a `Deserialize` likes no answer: what would have come behind
/// is [`Unknown`](Self::Unknown), and an unknown part is equal to everything. What comes after a string is not seen
/// if the string must be a colour, say; what is in an optional, a list or a variant that no answer is found for is not seen
/// either, but what comes after it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fields {
    /// It is not known.
    Unknown,
    /// A number, a text and the like, by its name; `nothing` for what has no content.
    Kind(String),
    /// Something that may be missing.
    Optional(Box<Self>),
    /// Any number of something.
    List(Box<Self>),
    /// Any number of keys with their values.
    Map(Box<Self>, Box<Self>),
    /// Some things without names.
    Tuple(Vec<Self>),
    /// So many of the same thing.
    Array(Box<Self>, usize),
    /// Some things with names. These are their places if some of them have several (`#[serde(alias)]`): serde does not say
    /// which name is whose.
    Struct(Vec<(String, Self)>),
    /// One of several things, by their names, or their places as above.
    OneOf(Vec<(String, Self)>),
    /// What this is part of, so many levels above: the type is recursive.
    Above(usize),
}

/// A type: its name, which is for people, and what it looks like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TypeFields {
    /// The name that the compiler gives it.
    pub name: String,
    /// What it looks like to serde.
    pub fields: Fields,
}

impl TypeFields {
    /// What a type looks like.
    ///
    /// ```
    /// use levada_state::TypeFields;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Attempts {
    ///     failed: u32,
    ///     from: Vec<String>,
    /// }
    ///
    /// let attempts = TypeFields::of::<Attempts>();
    /// assert_eq!(attempts.fields.to_string(), "{failed: u32, from: list of string}");
    /// assert!(attempts.name.ends_with("Attempts"));
    /// ```
    #[must_use]
    pub fn of<T: DeserializeOwned>() -> Self {
        Self {
            name: type_name::<T>().to_owned(),
            fields: trace::fields_of::<T>(),
        }
    }
}
