//! The rows of the queries.

use std::fmt::{self, Write};

use crate::event::Event;

/// A row of a query's result.
pub(crate) trait Row {
    /// One of its fields, which takes no time to add up.
    fn number(&self) -> u64;

    /// Its fields in ASCII, joined by commas.
    fn text(&self, out: &mut impl Write) -> fmt::Result;

    /// Of a row that updates an earlier one: whose row it is, and its number among them, from 1. Only the last one of each
    /// counts in the digest.
    fn update(&self) -> Option<(u64, u64)> {
        None
    }
}

/// `q0`: its tag.
impl Row for Event {
    #[inline]
    fn number(&self) -> u64 {
        u64::from(self.tag())
    }

    fn text(&self, out: &mut impl Write) -> fmt::Result {
        write!(out, "{}", self.tag())
    }
}

/// `q1`: a bid in another currency.
#[derive(Clone, Copy)]
pub(crate) struct Converted {
    pub(crate) auction: u64,
    pub(crate) bidder: u64,
    pub(crate) price: u64,
    pub(crate) date_time: u64,
}

impl Row for Converted {
    #[inline]
    fn number(&self) -> u64 {
        self.price
    }

    fn text(&self, out: &mut impl Write) -> fmt::Result {
        let Self {
            auction,
            bidder,
            price,
            date_time,
        } = self;
        write!(out, "{auction},{bidder},{price},{date_time}")
    }
}

/// `q2`: a bid in one of some auctions.
#[derive(Clone, Copy)]
pub(crate) struct Chosen {
    pub(crate) auction: u64,
    pub(crate) price: u64,
}

impl Row for Chosen {
    #[inline]
    fn number(&self) -> u64 {
        self.price
    }

    fn text(&self, out: &mut impl Write) -> fmt::Result {
        write!(out, "{},{}", self.auction, self.price)
    }
}

/// `q3`: an auction and where its seller lives. The texts are owned or borrowed.
pub(crate) struct Local<S> {
    pub(crate) name: S,
    pub(crate) city: S,
    pub(crate) state: S,
    pub(crate) auction: u64,
}

impl<S: AsRef<str>> Row for Local<S> {
    #[inline]
    fn number(&self) -> u64 {
        self.auction
    }

    fn text(&self, out: &mut impl Write) -> fmt::Result {
        let (name, city, state) = (self.name.as_ref(), self.city.as_ref(), self.state.as_ref());
        write!(out, "{name},{city},{state},{}", self.auction)
    }
}

/// `q4`: how many auctions of a category were won, and by what in all.
#[derive(Clone, Copy)]
pub(crate) struct Category {
    pub(crate) category: u64,
    pub(crate) count: u64,
    pub(crate) sum: u64,
}

impl Row for Category {
    #[inline]
    fn number(&self) -> u64 {
        self.sum
    }

    fn text(&self, out: &mut impl Write) -> fmt::Result {
        write!(out, "{},{},{}", self.category, self.count, self.sum)
    }
}

/// `q5`: one of the auctions with the most bids in a window.
#[derive(Clone, Copy)]
pub(crate) struct Hot {
    pub(crate) window_end: u64,
    pub(crate) auction: u64,
    pub(crate) count: u64,
}

impl Row for Hot {
    #[inline]
    fn number(&self) -> u64 {
        self.count
    }

    fn text(&self, out: &mut impl Write) -> fmt::Result {
        write!(out, "{},{},{}", self.window_end, self.auction, self.count)
    }
}

/// `q7`: one of the highest bids in a window.
#[derive(Clone, Copy)]
pub(crate) struct Highest {
    pub(crate) window_end: u64,
    pub(crate) auction: u64,
    pub(crate) bidder: u64,
    pub(crate) price: u64,
}

impl Row for Highest {
    #[inline]
    fn number(&self) -> u64 {
        self.price
    }

    fn text(&self, out: &mut impl Write) -> fmt::Result {
        let Self {
            window_end,
            auction,
            bidder,
            price,
        } = self;
        write!(out, "{window_end},{auction},{bidder},{price}")
    }
}

/// `q8`: somebody new who sells at once. The name is owned or borrowed.
pub(crate) struct Seller<S> {
    pub(crate) person: u64,
    pub(crate) name: S,
    pub(crate) window_end: u64,
}

impl<S: AsRef<str>> Row for Seller<S> {
    #[inline]
    fn number(&self) -> u64 {
        self.person
    }

    fn text(&self, out: &mut impl Write) -> fmt::Result {
        let name = self.name.as_ref();
        write!(out, "{},{name},{}", self.person, self.window_end)
    }
}

/// `q11`: the bids of a session.
#[derive(Clone, Copy)]
pub(crate) struct Session {
    pub(crate) bidder: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) count: u64,
}

impl Row for Session {
    #[inline]
    fn number(&self) -> u64 {
        self.count
    }

    fn text(&self, out: &mut impl Write) -> fmt::Result {
        let Self {
            bidder,
            start,
            end,
            count,
        } = self;
        write!(out, "{bidder},{start},{end},{count}")
    }
}

/// `keyed`: the bids of a bidder so far.
#[derive(Clone, Copy)]
pub(crate) struct Running {
    pub(crate) bidder: u64,
    pub(crate) count: u64,
    pub(crate) sum: u64,
}

impl Row for Running {
    #[inline]
    fn number(&self) -> u64 {
        self.count
    }

    fn text(&self, out: &mut impl Write) -> fmt::Result {
        write!(out, "{},{},{}", self.bidder, self.count, self.sum)
    }

    fn update(&self) -> Option<(u64, u64)> {
        Some((self.bidder, self.count))
    }
}
