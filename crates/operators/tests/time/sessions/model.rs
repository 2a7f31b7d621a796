//! Session windows as a loop over lists of records.

use std::collections::BTreeMap;

/// A session that has fired: when its records came and in which order, from where to where it lasts, and its timestamp.
pub(crate) type Fired = (u8, (i64, i64), Vec<i64>, i64);

#[derive(Clone, Debug)]
struct Session {
    /// The times of its records.
    records: Vec<i64>,
    fired: bool,
}

impl Session {
    fn start(&self) -> i64 {
        *self.records.iter().min().unwrap()
    }

    /// A gap after its last record, or the end of time.
    fn end(&self, gap: i64) -> i64 {
        self.records.iter().max().unwrap().saturating_add(gap)
    }

    fn takes(&self, at: i64, gap: i64) -> bool {
        let near = |other: &i64| (i128::from(*other) - i128::from(at)).abs() < i128::from(gap);
        self.records.iter().any(near)
    }
}

pub(crate) struct Model {
    gap: i64,
    lateness: i64,
    keys: BTreeMap<u8, Vec<Session>>,
    /// The watermark that decides what is late.
    watermark: i64,
    /// The last one since the operator was restored.
    pub(crate) own: i64,
    pub(crate) fired: Vec<Fired>,
    pub(crate) late: Vec<(u8, i64)>,
}

impl Model {
    pub(crate) fn new(gap: i64, lateness: i64) -> Self {
        Self {
            gap,
            lateness,
            keys: BTreeMap::new(),
            watermark: i64::MIN,
            own: i64::MIN,
            fired: Vec::new(),
            late: Vec::new(),
        }
    }

    pub(crate) fn record(&mut self, key: u8, at: i64) {
        let sessions = self.keys.entry(key).or_default();
        let gap = self.gap;
        let (mut joined, others): (Vec<_>, Vec<_>) = std::mem::take(sessions)
            .into_iter()
            .partition(|session| session.takes(at, gap));
        joined.sort_by_key(Session::start);
        let mut records: Vec<i64> = Vec::new();
        for (n, session) in joined.into_iter().enumerate() {
            records.extend(session.records);
            if n == 0 {
                records.push(at);
            }
        }
        if records.is_empty() {
            records.push(at);
        }
        *sessions = others;
        let session = Session {
            records,
            fired: false,
        };
        if (session.end(gap) - 1).saturating_add(self.lateness) <= self.watermark {
            assert_eq!(session.records, [at], "who joins a session is not late");
            self.late.push((key, at));
        } else {
            sessions.push(session);
        }
    }

    pub(crate) fn raise(&mut self, watermark: i64) {
        if watermark <= self.own {
            return;
        }
        self.own = watermark;
        self.watermark = self.watermark.max(watermark);
        let (gap, lateness, now) = (self.gap, self.lateness, self.watermark);
        for (key, sessions) in &mut self.keys {
            sessions.sort_by_key(Session::start);
            for session in &mut *sessions {
                let end = session.end(gap);
                if !session.fired && end - 1 <= now {
                    session.fired = true;
                    let span = (session.start(), end);
                    let fired = (*key, span, session.records.clone(), end - 1);
                    self.fired.push(fired);
                }
            }
            sessions.retain(|session| (session.end(gap) - 1).saturating_add(lateness) > now);
        }
    }

    /// The operator's own watermark begins anew.
    pub(crate) fn restore(&mut self) {
        self.own = i64::MIN;
    }
}
