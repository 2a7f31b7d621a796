//! The examples of operators: what they print, at several parallelisms.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::env;
use std::process::Command;

/// What an example prints, sorted: streams that meet on standard output have no order.
#[track_caller]
fn check(example: &str, expected: &[&str]) {
    let test = env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    for args in [
        &["-p", "1"][..],
        &["-p", "1", "--force-exchange"],
        &["-p", "3"],
    ] {
        let binary = profile.join("examples").join(example);
        let output = Command::new(binary).args(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {stderr}");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, expected, "{args:?}");
    }
}

#[test]
fn sessions() {
    check(
        "sessions",
        &[
            "ana, minutes 0 to 54: 3 clicks, the last on cart",
            "ana, minutes 54 to 85: 2 clicks, the last on socks",
            "rui, minutes 5 to 75: 3 clicks, the last on hats",
            "rui, minutes 90 to 120: 1 clicks, the last on home",
        ],
    );
}

#[test]
fn agent_spans() {
    check(
        "agent_spans",
        &[
            "a1: 2 spans in 3900 ms, 1180 tokens, 0 errors; slowest: answer",
            "a1: 4 spans in 9300 ms, 5660 tokens, 0 errors; slowest: answer",
            "b7: 4 spans in 10500 ms, 1270 tokens, 1 errors; slowest: fetch",
            "c2: 1 spans in 600 ms, 190 tokens, 1 errors; slowest: plan",
        ],
    );
}

#[test]
fn failed_logins() {
    check(
        "failed_logins",
        &[
            "ALERT: logins of bob fail",
            "carol is back after 2 failures",
            "dave is back after 1 failures",
        ],
    );
}

/// What a loop over the bids gives; the windows at both ends are not full.
#[test]
fn hot_items() {
    check(
        "hot_items",
        &[
            "until 5 s: 2 bids on [7]",
            "until 10 s: 3 bids on [8]",
            "until 15 s: 3 bids on [8, 9]",
            "until 20 s: 2 bids on [7, 9]",
            "until 25 s: 1 bids on [7]",
        ],
    );
}

/// Ten seconds are within the interval, eleven are not, and a click before the advert is none.
#[test]
fn interval_join() {
    check(
        "interval_join",
        &[
            "user 1: coffee after 3 s",
            "user 1: tea after 4 s",
            "user 2: bicycle after 10 s",
            "user 2: tea after 10 s",
            "user 3: boots after 1 s",
        ],
    );
}

#[test]
fn fraud_pattern() {
    check(
        "fraud_pattern",
        &[
            "ALERT: card a may be stolen",
            "ALERT: card c may be stolen",
            "card b paid a little, and nothing came of it",
            "card d paid a little, and nothing came of it",
        ],
    );
}

#[test]
fn price_in_euro() {
    check(
        "price_in_euro",
        &[
            "order 0: 9.20 EUR",
            "order 1: 23.40 EUR",
            "order 2: 0.30 EUR",
            "order 3: 40.00 EUR",
            "order 4: 46.00 EUR",
            "order 5: 70.20 EUR",
            "order 6: 0.70 EUR",
            "order 7: 80.00 EUR",
            "order 8: 82.80 EUR",
            "order 9: 117.00 EUR",
            "order 10: 1.10 EUR",
            "order 11: 120.00 EUR",
        ],
    );
}

#[test]
fn union_fan_out() {
    check(
        "union_fan_out",
        &[
            "attic: 100 readings, 260 to 309",
            "cellar: 100 readings, 120 to 169",
            "kitchen: 100 readings, 210 to 259",
            "18 readings above 30 degrees",
            "coldest: 120",
        ],
    );
}

#[test]
fn async_enrichment() {
    check(
        "async_enrichment",
        &[
            "AO: 24 addresses",
            "BR: 24 addresses",
            "MZ: 24 addresses",
            "PT: 24 addresses",
            "25: 404: the address is not known",
            "50: 404: the address is not known",
            "75: 404: the address is not known",
            "100: 404: the address is not known",
        ],
    );
}
