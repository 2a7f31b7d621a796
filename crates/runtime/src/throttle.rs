//! A rate that several readers share.

use std::time::Duration;

use levada_core::Moment;
use levada_core::sync::Mutex;

/// A bound on records per second, shared by the readers of a source or of all sources.
///
/// The generic cell rate algorithm (GCRA, ITU-T I.371): one number says when the rate is used up. It may run at most a
/// tenth of a second ahead, so that readers that come late do not lose what they could have read.
#[derive(Debug)]
pub struct Throttle {
    nanos_per_record: f64,
    burst_nanos: f64,
    /// The moment, in nanoseconds, until which the rate has been used.
    used_until: Mutex<f64>,
}

impl Throttle {
    /// Allows `rate` records per second.
    ///
    /// # Panics
    /// If the rate is not a positive number.
    #[must_use]
    pub fn new(rate: f64) -> Self {
        assert!(
            rate.is_finite() && rate > 0.0,
            "a rate is a positive number of records per second"
        );
        let nanos_per_record = 1e9 / rate;
        Self {
            nanos_per_record,
            // At least one record can always go.
            burst_nanos: (Self::BURST.as_nanos() as f64).max(nanos_per_record),
            used_until: Mutex::new(0.0),
        }
    }

    /// How far ahead the rate may be used.
    const BURST: Duration = Duration::from_millis(100);

    /// Takes up to `wanted` records.
    ///
    /// # Errors
    /// If none may be taken now: the moment from which one may.
    pub fn take(&self, wanted: u64, now: Moment) -> Result<u64, Moment> {
        let now = now.as_nanos() as f64;
        let mut used_until = self.used_until.lock();
        // What was not used longer ago than the burst is lost.
        *used_until = used_until.max(now - self.burst_nanos);
        // Whoever comes at the moment he was given must get his record, whatever the rounding.
        let allowed = ((now - *used_until) / self.nanos_per_record + ROUNDING) as u64;
        let taken = allowed.min(wanted);
        if taken == 0 {
            let at = *used_until + self.nanos_per_record;
            return Err(Moment::from_nanos(at.ceil() as u64));
        }
        *used_until += taken as f64 * self.nanos_per_record;
        Ok(taken)
    }

    /// Gives back what was taken and not used.
    pub fn give_back(&self, records: u64) {
        if records > 0 {
            *self.used_until.lock() -= records as f64 * self.nanos_per_record;
        }
    }
}

/// The part of a record that may be missing.
const ROUNDING: f64 = 1e-3;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_second_has_as_many_records_as_the_rate() {
        for rate in [3.0, 1_000.0, 2_500_000.0] {
            let throttle = Throttle::new(rate);
            let mut now = at(1_000);
            let end = at(3_000);
            let mut taken = 0;
            while now < end {
                match throttle.take(64, now) {
                    Ok(records) => taken += records,
                    Err(later) => now = later,
                }
            }
            let expected = 2.0 * rate;
            let burst = (rate * 0.1).max(1.0) + 1.0;
            assert!(
                (taken as f64 - expected).abs() <= burst,
                "{taken} records at {rate} per second"
            );
        }
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let throttle = Throttle::new(10.0);
        assert_eq!(throttle.take(5, at(1_000)), Ok(1));
        assert!(throttle.take(5, at(1_000)).is_err());
        throttle.give_back(1);
        assert_eq!(throttle.take(5, at(1_000)), Ok(1));
    }
}
