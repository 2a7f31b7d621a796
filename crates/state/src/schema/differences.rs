//! What is different between what a type looked like and what it looks like now, as far as it matters.

use crate::schema::Fields;

/// The longest description that is shown as a whole.
const SHOWN_MAX: usize = 160;

impl Fields {
    /// What is different now, in clauses; nothing if what was written can be read. What is unknown is not different, and
    /// variants may be added behind those that there were.
    #[must_use]
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut found = Vec::new();
        compare("", self, now, &mut found);
        found
    }
}

fn compare(path: &str, before: &Fields, now: &Fields, found: &mut Vec<String>) {
    match (before, now) {
        (Fields::Unknown, _) | (_, Fields::Unknown) => {}
        (Fields::Optional(before), Fields::Optional(now)) => compare(path, before, now, found),
        (Fields::List(before), Fields::List(now)) => {
            compare(&format!("{path}[]"), before, now, found);
        }
        (Fields::Array(before, count), Fields::Array(now, count_now)) if count == count_now => {
            compare(&format!("{path}[]"), before, now, found);
        }
        (Fields::Map(key, value), Fields::Map(key_now, value_now)) => {
            compare(&format!("{path}[key]"), key, key_now, found);
            compare(&format!("{path}[value]"), value, value_now, found);
        }
        (Fields::Tuple(before), Fields::Tuple(now)) if before.len() == now.len() => {
            compare_parts(path, before.iter().zip(now), found);
        }
        (Fields::Array(before, count), Fields::Tuple(now)) if *count == now.len() => {
            let pairs = now.iter().map(|now| (&**before, now));
            compare_parts(path, pairs, found);
        }
        (Fields::Tuple(before), Fields::Array(now, count)) if before.len() == *count => {
            let pairs = before.iter().map(|before| (before, &**now));
            compare_parts(path, pairs, found);
        }
        (Fields::Struct(before), Fields::Struct(now))
            if are_mixed(before, now) && before.len() == now.len() =>
        {
            compare_places(path, before, now, found);
        }
        (Fields::Struct(before), Fields::Struct(now)) if !are_mixed(before, now) => {
            compare_structs(path, before, now, found);
        }
        (Fields::OneOf(before), Fields::OneOf(now))
            if are_mixed(before, now) && before.len() <= now.len() =>
        {
            compare_places(path, before, now, found);
        }
        (Fields::OneOf(before), Fields::OneOf(now)) if !are_mixed(before, now) => {
            compare_variants(path, before, now, found);
        }
        _ if before == now => {}
        _ => found.push(format!(
            "{} was {} and is {} now",
            name_of(path),
            shown(before),
            shown(now)
        )),
    }
}

/// Parts without names: those of an array, of which not all may have been seen, or of a tuple.
fn compare_parts<'a>(
    path: &str,
    pairs: impl Iterator<Item = (&'a Fields, &'a Fields)>,
    found: &mut Vec<String>,
) {
    for (place, (before, now)) in pairs.enumerate() {
        compare(&below(path, &place.to_string()), before, now, found);
    }
}

type Named = [(String, Fields)];

/// Whether one of them has its places for names, since some of its parts have several.
fn are_mixed(before: &Named, now: &Named) -> bool {
    has_numbers(before) || has_numbers(now)
}

fn has_numbers(named: &Named) -> bool {
    let mut named = named.iter().enumerate();
    named.len() > 0 && named.all(|(place, (name, _))| *name == place.to_string())
}

/// Parts whose names are not known.
fn compare_places(path: &str, before: &Named, now: &Named, found: &mut Vec<String>) {
    let named = if has_numbers(before) { now } else { before };
    for (((_, before), (_, now)), (name, _)) in before.iter().zip(now).zip(named) {
        compare(&below(path, name), before, now, found);
    }
}

fn compare_structs(path: &str, before: &Named, now: &Named, found: &mut Vec<String>) {
    for (name, fields) in before {
        let path = below(path, name);
        match find(now, name) {
            Some(now) => compare(&path, fields, now, found),
            None => found.push(format!("{} ({}) is gone", name_of(&path), shown(fields))),
        }
    }
    for (name, fields) in now {
        if find(before, name).is_none() {
            let path = below(path, name);
            found.push(format!("{} ({}) is new", name_of(&path), shown(fields)));
        }
    }
    let (both, both_now) = (names_in(before, now), names_in(now, before));
    compare_order(path, "fields", &both, &both_now, found);
}

/// A variant is written as its number.
fn compare_variants(path: &str, before: &Named, now: &Named, found: &mut Vec<String>) {
    for (name, fields) in before {
        let path = below(path, name);
        match find(now, name) {
            Some(now) => compare(&path, fields, now, found),
            None => found.push(format!("the variant {} is gone", name_of(&path))),
        }
    }
    let gone = before.iter().any(|(name, _)| find(now, name).is_none());
    if !gone {
        let (before, now) = (names_in(before, before), names_in(now, now));
        compare_order(path, "variants", &before, &now, found);
    }
}

/// What was there comes first, in the same order.
fn compare_order(path: &str, what: &str, before: &[&str], now: &[&str], found: &mut Vec<String>) {
    if !now.starts_with(before) {
        found.push(format!(
            "the {what} of {} were in the order {} and are in the order {} now",
            name_of(path),
            before.join(", "),
            now.join(", ")
        ));
    }
}

/// The names that the other one has too.
fn names_in<'a>(named: &'a Named, other: &Named) -> Vec<&'a str> {
    let names = named.iter().map(|(name, _)| name.as_str());
    names.filter(|name| find(other, name).is_some()).collect()
}

fn find<'a>(named: &'a Named, name: &str) -> Option<&'a Fields> {
    let (_, fields) = named.iter().find(|(other, _)| other == name)?;
    Some(fields)
}

fn below(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        _ => format!("{path}.{name}"),
    }
}

fn name_of(path: &str) -> String {
    match path {
        "" => "it".to_owned(),
        _ => format!("`{path}`"),
    }
}

fn shown(fields: &Fields) -> String {
    let text = fields.to_string();
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &str, now: &str, expected: &[&str]) {
        let (before, now) = (Fields::parse(before), Fields::parse(now));
        assert_eq!(before.differences(&now), expected);
    }

    #[test]
    fn what_matters_is_told() {
        check("u32", "u32", &[]);
        check("u32", "u64", &["it was u32 and is u64 now"]);
        check(
            "{failed: u32, last: i64}",
            "{failed: u64, ip: string}",
            &[
                "`failed` was u32 and is u64 now",
                "`last` (i64) is gone",
                "`ip` (string) is new",
            ],
        );
        check(
            "{a: u8, b: u8}",
            "{b: u8, a: u8}",
            &["the fields of it were in the order a, b and are in the order b, a now"],
        );
        check(
            "list of {a: optional {b: u8}}",
            "list of {a: optional {b: u16}}",
            &["`[].a.b` was u8 and is u16 now"],
        );
        check(
            "map of string to (u8, u8)",
            "map of string to (u8, u8, u8)",
            &["`[value]` was (u8, u8) and is (u8, u8, u8) now"],
        );
        check(
            "{next: optional ^2}",
            "{next: optional ^3}",
            &["`next` was ^2 and is ^3 now"],
        );
    }

    #[test]
    fn variants_may_be_added_at_the_end_only() {
        check("one of {A, B}", "one of {A, B, C: u8}", &[]);
        check(
            "one of {A, B}",
            "one of {A, C, B}",
            &["the variants of it were in the order A, B and are in the order A, C, B now"],
        );
        check("one of {A, B}", "one of {A}", &["the variant `B` is gone"]);
        check(
            "one of {A: u8}",
            "one of {A}",
            &["`A` was u8 and is nothing now"],
        );
    }

    #[test]
    fn what_is_unknown_is_not_different() {
        check("{sum, count}", "{sum: u64, count: u32}", &[]);
        check("?", "{sum: u64}", &[]);
        check("{a: u8, b: ?}", "{a: u8, b: list of u8}", &[]);
        check("(u8, ?)", "(u16, u8)", &["`0` was u8 and is u16 now"]);
        // Not all of an array was seen, and now it is, or the other way round.
        check("(string, ?, ?, ?, ?)", "[string; 5]", &[]);
        check("[string; 5]", "(string, ?, ?, ?, ?)", &[]);
        check(
            "[u8; 5]",
            "(u8, u8, u8, u8, u16)",
            &["`4` was u8 and is u16 now"],
        );
    }
}
