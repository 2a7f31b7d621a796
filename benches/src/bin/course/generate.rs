//! Events from the generator of the Nexmark benchmark.

use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event;

use crate::event::{Auction, Bid, Event, Person};

/// The time of the first event of the course's own files.
pub(crate) const BASE_TIME: u64 = 1_795_458_623_421;

/// The first `count` events: ten for each millisecond, the first at `base_time`.
pub(crate) fn events(count: usize, base_time: u64) -> impl Iterator<Item = Event> {
    let config = NexmarkConfig {
        base_time,
        ..NexmarkConfig::default()
    };
    EventGenerator::new(config).take(count).map(Event::from)
}

impl From<event::Event> for Event {
    fn from(event: event::Event) -> Self {
        match event {
            event::Event::Person(person) => Self::Person(Person {
                id: person.id as u64,
                name: person.name,
                email: person.email_address,
                credit_card: person.credit_card,
                city: person.city,
                state: person.state,
                date_time: person.date_time,
                extra: person.extra,
            }),
            event::Event::Auction(auction) => Self::Auction(Auction {
                id: auction.id as u64,
                item_name: auction.item_name,
                description: auction.description,
                initial_bid: auction.initial_bid as u64,
                reserve: auction.reserve as u64,
                date_time: auction.date_time,
                expires: auction.expires,
                seller: auction.seller as u64,
                category: auction.category as u64,
                extra: auction.extra,
            }),
            event::Event::Bid(bid) => Self::Bid(Bid {
                auction: bid.auction as u64,
                bidder: bid.bidder as u64,
                price: bid.price as u64,
                channel: bid.channel,
                url: bid.url,
                date_time: bid.date_time,
                extra: bid.extra,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::file;

    #[test]
    fn the_file_of_200_000_events_is_that_of_the_course() {
        let mut bytes = Vec::new();
        for event in events(200_000, BASE_TIME) {
            file::encode(&event, &mut bytes).unwrap();
        }
        assert_eq!(bytes.len(), 41_181_715);
        let hash: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hash,
            "9793b013438a792385c3654e350c3e38d7f6a53ab9fb0ebc7682f0ddf4ef538a"
        );
    }
}
