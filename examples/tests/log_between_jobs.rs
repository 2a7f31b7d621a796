//! The example with a log between two jobs: what it prints, against sums made by hand.

use std::env;
use std::fmt::Write;
use std::process::Command;

#[test]
fn each_day_bills_its_own_orders() {
    let test = env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let binary = profile.join("examples/log_between_jobs");
    assert!(binary.exists(), "build it with `cargo build --examples`");
    let output = Command::new(binary).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");

    let mut expected = String::new();
    for day in 1..=2u64 {
        let _ = writeln!(expected, "day {day}: 600 orders to bill");
        // The largest name first.
        for (customer, remainder) in [("rui", 1), ("eva", 2), ("ana", 0)] {
            let numbers = (day * 1_000..day * 1_000 + 600).filter(|n| n % 3 == remainder);
            let (orders, cents) =
                numbers.fold((0, 0), |(n, sum), number| (n + 1, sum + 100 + number % 50));
            let _ = writeln!(
                expected,
                "{customer}: {orders} orders, {}.{:02}",
                cents / 100,
                cents % 100
            );
        }
        let _ = writeln!(expected, "day {day}: 0 left");
    }
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}
