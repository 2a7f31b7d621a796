//! Finds out what a type looks like, by letting it ask.
//!
//! Each run rebuilds one value of the type from invented answers. What has been asked for is noted in a tree; the next
//! run goes where the ones before have not been: into another variant, or behind an answer that was not liked, with
//! another answer. The last run is the first one that finds nothing new.

use std::panic::{self, AssertUnwindSafe};

use serde::de::DeserializeOwned;

use crate::schema::Fields;
use crate::schema::answers::Asked;
use crate::schema::text::NOTHING;

/// The most values that are rebuilt.
const RUNS_MAX: usize = 2_000;

/// The most that is noted of a type.
const NODES_MAX: usize = 4_096;

/// The deepest that is looked into.
const LEVELS_MAX: usize = 64;

/// From so many equal parts on, a tuple is written as an array.
const ARRAY_MIN: usize = 5;

pub(super) fn fields_of<T: DeserializeOwned>() -> Fields {
    let mut trace = Trace::new();
    for _ in 0..RUNS_MAX {
        let before = trace.news;
        trace.begin_run();
        let run = || T::deserialize(Asked::root(&mut trace)).is_ok();
        // A type that panics is not asked again.
        let Ok(is_liked) = panic::catch_unwind(AssertUnwindSafe(run)) else {
            break;
        };
        if !is_liked {
            trace.blame();
        }
        trace.conclude();
        if trace.nodes[ROOT].state != State::Open || trace.news == before {
            break;
        }
    }
    trace.fields(ROOT)
}

pub(super) const ROOT: usize = 0;

/// What is known of a type.
pub(super) struct Trace {
    pub(super) nodes: Vec<Node>,
    /// The types that are being rebuilt, from the outside in, each with its node.
    pub(super) within: Vec<(&'static str, usize)>,
    /// The last node that got an answer of ours.
    answered: Option<usize>,
    /// Whether the run was ended because there was nothing to say.
    pub(super) is_cut: bool,
    /// Grows with whatever is learned.
    news: u64,
    /// How often what is known has been looked at as a whole.
    looks: u32,
}

pub(super) struct Node {
    pub(super) shape: Shape,
    pub(super) state: State,
    pub(super) level: usize,
    /// Which of the possible answers is tried.
    pub(super) answer: usize,
    /// Whether an answer has been liked.
    is_liked: bool,
    /// Whether there is no answer that is.
    is_hopeless: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// There is more to be seen.
    Open,
    /// All has been seen, and a value can be made.
    Done,
    /// No value can be made, so nothing more can be seen.
    Barred,
}

pub(super) enum Shape {
    Unknown,
    /// A kind with so many answers.
    Leaf(&'static str, usize),
    Optional(usize),
    List(usize),
    Map(usize, usize),
    Tuple(Vec<usize>),
    Array(usize, usize),
    Struct(Vec<(&'static str, usize)>, Names),
    OneOf(Vec<Variant>, Names),
    /// The same type as this node, which it is within.
    Above(usize),
}

/// Whether names are those of the parts in their places.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Names {
    Known,
    /// There are more names than parts: some parts have several (`#[serde(alias)]`), and it is not said which.
    Mixed,
}

#[derive(Clone, Copy)]
pub(super) struct Variant {
    pub(super) name: &'static str,
    pub(super) node: usize,
    /// The look with which a value of it could be made for the first time.
    pub(super) done_at: Option<u32>,
}

impl Trace {
    fn new() -> Self {
        let mut trace = Self {
            nodes: Vec::new(),
            within: Vec::new(),
            answered: None,
            is_cut: false,
            news: 0,
            looks: 0,
        };
        trace.add(0);
        trace
    }

    fn begin_run(&mut self) {
        self.within.clear();
        self.answered = None;
        self.is_cut = false;
    }

    /// Another node.
    fn add(&mut self, level: usize) -> usize {
        self.nodes.push(Node {
            shape: Shape::Unknown,
            state: State::Open,
            level,
            answer: 0,
            is_liked: false,
            is_hopeless: false,
        });
        self.news += 1;
        self.nodes.len() - 1
    }

    /// Notes what a node is, with so many parts; what it was noted as before stays. False if there is no room for it.
    pub(super) fn note(
        &mut self,
        node: usize,
        parts: usize,
        shape: impl FnOnce(&mut dyn Iterator<Item = usize>) -> Shape,
    ) -> bool {
        if !matches!(self.nodes[node].shape, Shape::Unknown) {
            return true;
        }
        let level = self.nodes[node].level + 1;
        if level > LEVELS_MAX || self.nodes.len() + parts > NODES_MAX {
            return false;
        }
        let parts: Vec<_> = (0..parts).map(|_| self.add(level)).collect();
        self.nodes[node].shape = shape(&mut parts.into_iter());
        self.news += 1;
        true
    }

    /// Of a structure or an enumeration there are only so many parts, though there are names for more.
    pub(super) fn shorten(&mut self, node: usize, count: usize) {
        match &mut self.nodes[node].shape {
            Shape::Struct(fields, names) => {
                fields.truncate(count);
                *names = Names::Mixed;
            }
            Shape::OneOf(variants, names) => {
                variants.truncate(count);
                *names = Names::Mixed;
            }
            _ => return,
        }
        self.news += 1;
    }

    /// A node is about to get its answer: which one.
    pub(super) fn answer(&mut self, node: usize) -> usize {
        self.answered = Some(node);
        self.nodes[node].answer
    }

    pub(super) fn like(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        self.news += u64::from(!node.is_liked);
        node.is_liked = true;
    }

    pub(super) fn give_up(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        self.news += u64::from(!node.is_hopeless);
        node.is_hopeless = true;
    }

    /// The run has failed: unless there was nothing to say, the last answer was not the right one.
    fn blame(&mut self) {
        let Some(node) = self.answered.filter(|_| !self.is_cut) else {
            return;
        };
        let Shape::Leaf(_, answers) = self.nodes[node].shape else {
            return;
        };
        self.nodes[node].answer += 1;
        self.news += 1;
        if self.nodes[node].answer >= answers {
            self.give_up(node);
        }
    }

    /// Looks at what has been seen as a whole, until nothing follows from anything.
    fn conclude(&mut self) {
        for _ in 0..LEVELS_MAX {
            self.looks += 1;
            let mut has_changed = false;
            // Parts come behind what they are parts of.
            for node in (0..self.nodes.len()).rev() {
                let state = self.state(node);
                let looks = self.looks;
                let states: Vec<_> = match &self.nodes[node].shape {
                    Shape::OneOf(variants, _) => {
                        let parts = variants.iter();
                        parts.map(|part| self.nodes[part.node].state).collect()
                    }
                    _ => Vec::new(),
                };
                if let Shape::OneOf(variants, _) = &mut self.nodes[node].shape {
                    for (variant, state) in variants.iter_mut().zip(states) {
                        if state == State::Done && variant.done_at.is_none() {
                            variant.done_at = Some(looks);
                            has_changed = true;
                        }
                    }
                }
                has_changed |= self.nodes[node].state != state;
                self.nodes[node].state = state;
            }
            self.news += u64::from(has_changed);
            if !has_changed {
                return;
            }
        }
    }

    fn state(&self, node: usize) -> State {
        let of = |node: &usize| self.nodes[*node].state;
        let all = |parts: &mut dyn Iterator<Item = State>| {
            parts.fold(State::Done, |all, part| match (all, part) {
                (State::Barred, _) | (_, State::Barred) => State::Barred,
                (State::Open, _) | (_, State::Open) => State::Open,
                _ => State::Done,
            })
        };
        let Node {
            shape,
            is_liked,
            is_hopeless,
            ..
        } = &self.nodes[node];
        if *is_hopeless {
            return State::Barred;
        }
        match shape {
            Shape::Unknown => State::Open,
            Shape::Leaf(..) if *is_liked => State::Done,
            Shape::Leaf(..) => State::Open,
            // It can be none, or empty.
            Shape::Optional(inner) | Shape::List(inner) => match of(inner) {
                State::Open => State::Open,
                _ => State::Done,
            },
            Shape::Map(key, value) => match all(&mut [of(key), of(value)].into_iter()) {
                State::Open => State::Open,
                _ => State::Done,
            },
            Shape::Tuple(parts) => all(&mut parts.iter().map(of)),
            Shape::Array(part, _) => of(part),
            Shape::Struct(fields, _) => all(&mut fields.iter().map(|(_, part)| of(part))),
            Shape::OneOf(variants, _) => {
                let states = variants.iter().map(|variant| of(&variant.node));
                let states: Vec<_> = states.collect();
                if states.contains(&State::Open) {
                    State::Open
                } else if states.contains(&State::Done) {
                    State::Done
                } else {
                    State::Barred
                }
            }
            Shape::Above(above) => match self.first_done(*above) {
                Some(_) => State::Done,
                None => State::Barred,
            },
        }
    }

    /// Of a node with variants, the one of which a value could be made first: it has no need of the others.
    pub(super) fn first_done(&self, node: usize) -> Option<usize> {
        let Shape::OneOf(variants, _) = &self.nodes[node].shape else {
            return None;
        };
        let done = variants.iter().enumerate();
        let done = done.filter_map(|(place, variant)| Some((variant.done_at?, place)));
        Some(done.min()?.1)
    }

    fn fields(&self, node: usize) -> Fields {
        let named = |parts: &mut dyn Iterator<Item = (&'static str, usize)>, names: Names| {
            let parts = parts.enumerate().map(|(place, (name, part))| {
                let name = match names {
                    Names::Known => name.to_owned(),
                    Names::Mixed => place.to_string(),
                };
                (name, self.fields(part))
            });
            parts.collect()
        };
        match &self.nodes[node].shape {
            Shape::Unknown => Fields::Unknown,
            Shape::Leaf(kind, _) => Fields::Kind((*kind).to_owned()),
            Shape::Optional(inner) => Fields::Optional(Box::new(self.fields(*inner))),
            Shape::List(inner) => Fields::List(Box::new(self.fields(*inner))),
            Shape::Map(key, value) => {
                Fields::Map(Box::new(self.fields(*key)), Box::new(self.fields(*value)))
            }
            Shape::Array(part, count) => Fields::Array(Box::new(self.fields(*part)), *count),
            Shape::Tuple(parts) if parts.is_empty() => Fields::Kind(NOTHING.to_owned()),
            Shape::Tuple(parts) => {
                let parts: Vec<_> = parts.iter().map(|part| self.fields(*part)).collect();
                let are_equal = parts.windows(2).all(|pair| pair[0] == pair[1]);
                if parts.len() >= ARRAY_MIN && are_equal {
                    return Fields::Array(Box::new(parts[0].clone()), parts.len());
                }
                Fields::Tuple(parts)
            }
            Shape::Struct(fields, names) => {
                Fields::Struct(named(&mut fields.iter().copied(), *names))
            }
            Shape::OneOf(variants, names) => {
                let mut variants = variants.iter().map(|variant| (variant.name, variant.node));
                Fields::OneOf(named(&mut variants, *names))
            }
            Shape::Above(above) => Fields::Above(self.nodes[node].level - self.nodes[*above].level),
        }
    }
}
