//! The events of an auction house, as the course has them.

use serde::{Deserialize, Serialize};

/// What has happened.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum Event {
    Person(Person),
    Auction(Auction),
    Bid(Bid),
}

/// Somebody has come to the auction house.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Person {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) credit_card: String,
    pub(crate) city: String,
    pub(crate) state: String,
    pub(crate) date_time: u64,
    pub(crate) extra: String,
}

/// Somebody sells something.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Auction {
    pub(crate) id: u64,
    pub(crate) item_name: String,
    pub(crate) description: String,
    pub(crate) initial_bid: u64,
    pub(crate) reserve: u64,
    pub(crate) date_time: u64,
    pub(crate) expires: u64,
    pub(crate) seller: u64,
    pub(crate) category: u64,
    pub(crate) extra: String,
}

/// Somebody offers a price in an auction.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Bid {
    pub(crate) auction: u64,
    pub(crate) bidder: u64,
    pub(crate) price: u64,
    pub(crate) channel: String,
    pub(crate) url: String,
    pub(crate) date_time: u64,
    pub(crate) extra: String,
}

impl Event {
    /// Which kind it is, as it stands in the file.
    pub(crate) fn tag(&self) -> u8 {
        match self {
            Self::Person(_) => 0,
            Self::Auction(_) => 1,
            Self::Bid(_) => 2,
        }
    }

    /// When it has happened, in milliseconds since the epoch.
    pub(crate) fn date_time(&self) -> u64 {
        match self {
            Self::Person(person) => person.date_time,
            Self::Auction(auction) => auction.date_time,
            Self::Bid(bid) => bid.date_time,
        }
    }
}
