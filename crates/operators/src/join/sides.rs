//! The two sides of a key, and the ways from one to the other.

use levada_core::Exchange;
use levada_runtime::Two;
use serde::{Deserialize, Serialize};

use crate::join::rows::Rows;
use crate::join::rule::{Side, Stamp};

/// The rows of a key.
#[derive(Deserialize, Serialize)]
#[serde(bound(
    serialize = "A: Serialize, B: Serialize, S: Stamp",
    deserialize = "A: Deserialize<'de>, B: Deserialize<'de>, S: Stamp"
))]
pub(crate) struct Sides<A, B, S> {
    pub(crate) first: Rows<A, S>,
    pub(crate) second: Rows<B, S>,
}

impl<A, B, S: Stamp> Sides<A, B, S> {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.second.is_empty()
    }
}

impl<A, B, S> Default for Sides<A, B, S> {
    fn default() -> Self {
        Self {
            first: Rows::default(),
            second: Rows::default(),
        }
    }
}

/// The way of a record from its own side through the rows of the other.
pub(crate) trait Way<A, B> {
    /// The side of the record.
    const SIDE: Side;
    /// Its type.
    type Own: Clone + Exchange;
    /// The type of the rows it meets.
    type Other;

    fn own<S>(sides: &mut Sides<A, B, S>) -> &mut Rows<Self::Own, S>;

    fn other<S>(sides: &Sides<A, B, S>) -> &Rows<Self::Other, S>;

    fn wrap(own: Self::Own) -> Two<A, B>;

    fn call<O>(closure: &impl Fn(&A, &B) -> O, own: &Self::Own, other: &Self::Other) -> O;
}

/// From the first side to the second.
pub(crate) struct First;

impl<A: Exchange + Clone, B> Way<A, B> for First {
    const SIDE: Side = Side::First;
    type Own = A;
    type Other = B;

    #[inline]
    fn own<S>(sides: &mut Sides<A, B, S>) -> &mut Rows<A, S> {
        &mut sides.first
    }

    #[inline]
    fn other<S>(sides: &Sides<A, B, S>) -> &Rows<B, S> {
        &sides.second
    }

    fn wrap(own: A) -> Two<A, B> {
        Two::First(own)
    }

    #[inline]
    fn call<O>(closure: &impl Fn(&A, &B) -> O, own: &A, other: &B) -> O {
        closure(own, other)
    }
}

/// From the second side to the first.
pub(crate) struct Second;

impl<A, B: Exchange + Clone> Way<A, B> for Second {
    const SIDE: Side = Side::Second;
    type Own = B;
    type Other = A;

    #[inline]
    fn own<S>(sides: &mut Sides<A, B, S>) -> &mut Rows<B, S> {
        &mut sides.second
    }

    #[inline]
    fn other<S>(sides: &Sides<A, B, S>) -> &Rows<A, S> {
        &sides.first
    }

    fn wrap(own: B) -> Two<A, B> {
        Two::Second(own)
    }

    #[inline]
    fn call<O>(closure: &impl Fn(&A, &B) -> O, own: &B, other: &A) -> O {
        closure(other, own)
    }
}
