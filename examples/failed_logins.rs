//! Finds users whose logins fail three times in a row: a keyed process with a side output.
//!
//! Alerts go to standard output, and so does what the process notes on the side: every login that worked after failures.

use levada::prelude::*;

#[derive(Clone, serde::Deserialize, serde::Serialize)]
struct Login {
    user: String,
    success: bool,
}

/// Counts failures in a row for each user.
#[derive(Clone)]
struct BruteForce {
    limit: u32,
    recovered: SideOutput<(String, u32)>,
}

impl Process for BruteForce {
    type Key = String;
    type In = Login;
    type State = u32;
    type Out = String;

    fn element(&self, login: &Login, context: &mut Context<'_, Self>) {
        if !login.success {
            *context.state() += 1;
            if *context.state() == self.limit {
                context.emit(login.user.clone());
            }
        } else if let Some(failures) = context.existing_state().copied() {
            // Without failures there is no state: users who never fail cost no memory.
            context.clear();
            context.emit_to(&self.recovered, (login.user.clone(), failures));
        }
    }
}

/// One login per word: `alice` worked, `!alice` failed.
const LOGINS: &str = "alice !bob !carol !bob dave !bob !carol carol !bob alice !dave dave";

fn failed_logins(job: &Job) {
    let logins: Vec<&str> = LOGINS.split(' ').collect();
    let (alerts, recovered) = job
        .source("logins", iterator(logins))
        .map(|login| Login {
            user: login.trim_start_matches('!').to_owned(),
            success: !login.starts_with('!'),
        })
        .key_by(|login| login.user.clone())
        .process_with_side("brute-force", |recovered| BruteForce {
            limit: 3,
            recovered,
        });
    alerts
        .map(|user| format!("ALERT: logins of {user} fail"))
        .sink("alerts", stdout());
    recovered
        .map(|(user, failures)| format!("{user} is back after {failures} failures"))
        .sink("recovered", stdout());
}

fn main() -> levada::Result {
    levada::main(failed_logins)
}
