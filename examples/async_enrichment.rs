//! Looks up the country of each address in a slow, unreliable service: asynchronous calls with time limits and retries.
//!
//! Twenty calls run at a time, however slow the service is; results keep the order of the addresses. What cannot be found
//! out goes to a stream of its own.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use levada::prelude::*;
use levada::{BoxError, Permanent, Retry};

/// Stands for a service: it takes its time, refuses some questions the first time, and does not know every address.
#[derive(Default)]
struct Service {
    refused: Mutex<HashSet<u32>>,
}

impl Service {
    async fn country_of(&self, address: u32) -> Result<&'static str, BoxError> {
        levada::sleep(Duration::from_millis(u64::from(address % 5))).await;
        if address.is_multiple_of(25) {
            return Err(Permanent::new("404: the address is not known").into());
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if address.is_multiple_of(10) && refused.insert(address) {
            return Err("503: try again".into());
        }
        Ok(["PT", "BR", "AO", "MZ"][address as usize % 4])
    }
}

fn async_enrichment(job: &Job) {
    let retry = Retry::exponential(Duration::from_millis(5), Duration::from_millis(100));
    let calls = Calls::ordered(20)
        .timeout(Duration::from_secs(30))
        .attempt_timeout(Duration::from_secs(2))
        .retry(retry.attempts(5));
    let service = Arc::new(Service::default());
    let (found, unknown) = job
        .source("addresses", iterator(1..101u32))
        .call_results("countries", calls, move |address| {
            let service = Arc::clone(&service);
            async move {
                let country = service.country_of(address).await?;
                Ok::<_, BoxError>((country.to_owned(), address))
            }
        })
        .split_results();
    found
        .keyed()
        .count("addresses-by-country")
        .at_end()
        .map(|(country, count)| format!("{country}: {count} addresses"))
        .sink("countries-out", stdout());
    unknown
        .map(|error| format!("{}: {}", error.record, error.message))
        .sink("unknown-out", stdout());
}

fn main() -> levada::Result {
    levada::main(async_enrichment)
}
