//! What types look like in the manifest of a checkpoint.

#![expect(
    dead_code,
    reason = "the types are looked at through serde, their fields are not read"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use levada_state::{Fields, TypeFields};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};

#[track_caller]
fn check<T: DeserializeOwned>(expected: &str) {
    let fields = TypeFields::of::<T>().fields;
    assert_eq!(fields.to_string(), expected);
    assert_eq!(Fields::parse(expected), fields, "what is written is read");
}

#[test]
fn primitives_and_collections() {
    check::<u64>("u64");
    check::<i8>("i8");
    check::<u128>("u128");
    check::<f32>("f32");
    check::<bool>("bool");
    check::<char>("char");
    check::<String>("string");
    check::<()>("nothing");
    check::<usize>("u64");
    check::<Option<Vec<u8>>>("optional list of u8");
    check::<HashMap<String, BTreeSet<i32>>>("map of string to list of i32");
    check::<BTreeMap<(u8, char), Box<str>>>("map of (u8, char) to string");
    check::<[u8; 16]>("[u8; 16]");
    check::<(u8, u8)>("(u8, u8)");
    check::<Duration>("{secs: u64, nanos: u32}");
}

#[derive(Deserialize)]
struct Login {
    user: String,
    #[serde(rename = "from ip")]
    from: Option<Ipv4Addr>,
    #[serde(skip)]
    cached: u64,
    how: How,
}

#[derive(Deserialize)]
enum How {
    Web,
    Mail(String),
    Both(u8, u16),
    Other { code: u32, why: Option<Why> },
}

#[derive(Deserialize)]
enum Why {
    Forgot,
    Stolen(Meters),
}

#[derive(Deserialize)]
struct Meters(f64);

#[derive(Deserialize)]
struct Unit;

#[test]
fn structures_and_every_variant_of_enumerations() {
    check::<Login>(
        "{user: string, \"from ip\": optional (u8, u8, u8, u8), how: one of {Web, Mail: string, \
         Both: (u8, u16), Other: {code: u32, why: optional one of {Forgot, Stolen: f64}}}}",
    );
    check::<Unit>("nothing");
    check::<Meters>("f64");
    check::<Result<u8, Why>>("one of {Ok: u8, Err: one of {Forgot, Stolen: f64}}");
}

#[derive(Deserialize)]
struct Row {
    value: u64,
    next: Option<Box<Self>>,
    end: bool,
}

#[derive(Deserialize)]
struct Tree {
    children: Vec<Self>,
    name: String,
}

#[derive(Deserialize)]
enum Term {
    Sum(Box<Self>, Box<Self>, u8),
    Number(u32),
    Call { name: String, args: Vec<Self> },
}

#[derive(Deserialize)]
struct Chain(Option<Box<Self>>);

#[derive(Deserialize)]
enum Even {
    Zero,
    After(Box<Odd>),
}

#[derive(Deserialize)]
enum Odd {
    After(Even, u8),
}

#[derive(Deserialize)]
struct Never {
    never: Box<Self>,
    more: u8,
}

#[derive(Deserialize)]
struct Wrapped<T> {
    inner: T,
}

#[test]
fn recursive_types_are_cut_where_they_come_again() {
    check::<Row>("{value: u64, next: optional ^2, end: bool}");
    check::<Tree>("{children: list of ^2, name: string}");
    check::<Term>(
        "one of {Sum: (^2, ^2, u8), Number: u32, Call: {name: string, args: list of ^3}}",
    );
    check::<Chain>("optional ^1");
    check::<Even>("one of {Zero, After: one of {After: (^3, u8)}}");
    check::<Never>("{never: ^1, more: ?}");
    // The same name, but not the same type.
    check::<Wrapped<Wrapped<u32>>>("{inner: {inner: u32}}");
}

#[derive(Deserialize)]
#[serde(try_from = "u8")]
struct Grade(u8);

impl TryFrom<u8> for Grade {
    type Error = String;

    fn try_from(grade: u8) -> Result<Self, String> {
        match grade {
            2..=6 => Ok(Self(grade)),
            _ => Err(format!("{grade} is no grade")),
        }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "(u32, u32)")]
struct Ordered(u32, u32);

impl TryFrom<(u32, u32)> for Ordered {
    type Error = &'static str;

    fn try_from((from, to): (u32, u32)) -> Result<Self, Self::Error> {
        if from < to {
            Ok(Self(from, to))
        } else {
            Err("from is before to")
        }
    }
}

/// Sixteen bytes, as the crate `uuid` reads them.
struct Id;

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sixteen;
        impl serde::de::Visitor<'_> for Sixteen {
            type Value = Id;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("sixteen bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Id, E> {
                if bytes.len() == 16 {
                    Ok(Id)
                } else {
                    Err(E::invalid_length(bytes.len(), &self))
                }
            }
        }
        deserializer.deserialize_bytes(Sixteen)
    }
}

#[derive(Deserialize)]
struct Careful {
    count: NonZeroU32,
    grade: Grade,
    range: Ordered,
    id: Id,
    address: IpAddr,
    last: u8,
}

#[test]
fn types_that_do_not_like_every_value_get_another_one() {
    check::<Careful>(
        "{count: u32, grade: u8, range: (u32, u32), id: bytes, \
         address: one of {V4: (u8, u8, u8, u8), V6: [u8; 16]}, last: u8}",
    );
}

#[derive(Deserialize)]
struct Renamed {
    before: u8,
    #[serde(alias = "login", alias = "name")]
    user: String,
    #[serde(alias = "how it was done")]
    how: Aliased,
    behind: u16,
}

#[derive(Deserialize)]
enum Aliased {
    Web,
    #[serde(alias = "Letter")]
    Mail(String),
    Both(u8, u16),
}

/// What serde is told of a type has the other names of its fields and variants between their own.
#[test]
fn other_names_of_fields_and_variants_are_no_fields_and_variants() {
    check::<Renamed>("{0: u8, 1: string, 2: one of {0, 1: string, 2: (u8, u16)}, 3: u16}");
    let before = "{before: u8, login: string, how: one of {Web, Mail: string}, behind: u16}";
    let now = TypeFields::of::<Renamed>().fields;
    let none: [&str; 0] = [];
    assert_eq!(Fields::parse(before).differences(&now), none);
    assert_eq!(now.differences(&now), none);
    let before = Fields::parse("{before: u8, login: u8, how: one of {Web, Mail: u8}, behind: u16}");
    assert_eq!(
        before.differences(&now),
        [
            "`login` was u8 and is string now",
            "`how.Mail` was u8 and is string now"
        ]
    );
    let before = Fields::parse("{before: u8, login: string}");
    let found = before.differences(&now);
    assert!(found[0].starts_with("it was {before"), "{found:?}");
}

struct Colour;

impl<'de> Deserialize<'de> for Colour {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "blue" => Ok(Self),
            _ => Err(D::Error::custom("no colour")),
        }
    }
}

struct Panics;

impl<'de> Deserialize<'de> for Panics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let n = u64::deserialize(deserializer)?;
        assert!(n > 1_000, "a small number");
        Ok(Self)
    }
}

#[derive(Deserialize)]
struct Coloured<C> {
    before: u8,
    maybe: Option<Colour>,
    colours: Vec<Colour>,
    colour: C,
    behind: u8,
}

#[derive(Deserialize)]
struct Flat {
    before: u8,
    #[serde(flatten)]
    rest: Meta,
}

#[derive(Deserialize)]
struct Meta {
    n: u8,
}

#[test]
fn what_cannot_be_found_out_is_unknown() {
    check::<Coloured<Colour>>(
        "{before: u8, maybe: optional string, colours: list of string, colour: string, behind: ?}",
    );
    check::<Coloured<Panics>>(
        "{before: u8, maybe: optional string, colours: list of string, colour: u64, behind: ?}",
    );
    check::<serde_json::Value>("?");
    check::<Flat>("map of ? to ?");
}
