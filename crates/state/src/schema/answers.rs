//! What a type is told that asks for a value.

use std::any::type_name;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use crate::schema::text::NOTHING;
use crate::schema::trace::{Names, ROOT, Shape, State, Trace, Variant};

/// Answers what one part of a type asks for.
pub(super) struct Asked<'a> {
    trace: &'a mut Trace,
    node: usize,
    /// Whether it is within a type that it is itself: nothing is to be seen here, a value is all that is wanted.
    again: usize,
}

/// A tuple of more parts than this is taken for an array.
const TUPLE_MAX: usize = 32;

/// Types within themselves whose values are made, deeper than it takes to make one.
const AGAIN_MAX: usize = 64;

/// Numbers, in the order in which they are tried.
const NUMBERS: [u8; 8] = [1, 0, 2, 4, 8, 16, 64, 100];

/// Texts that are tried.
const TEXTS: [&str; 12] = [
    "",
    "a",
    "1",
    "1970-01-01T00:00:00Z",
    "1970-01-01",
    "00:00:00",
    "1970-01-01T00:00:00",
    "127.0.0.1",
    "127.0.0.1:80",
    "00000000-0000-0000-0000-000000000001",
    "http://localhost/",
    "a@localhost.localdomain",
];

/// Lengths of bytes that are tried.
const LENGTHS: [usize; 8] = [0, 16, 4, 8, 32, 12, 20, 64];

/// There is no answer, or none that the type likes.
#[derive(Debug)]
pub(super) struct Disliked;

impl fmt::Display for Disliked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer is not liked")
    }
}

impl std::error::Error for Disliked {}

impl Error for Disliked {
    fn custom<M: fmt::Display>(_: M) -> Self {
        Self
    }
}

type Answer<T> = Result<T, Disliked>;

impl<'a> Asked<'a> {
    pub(super) fn root(trace: &'a mut Trace) -> Self {
        Self {
            trace,
            node: ROOT,
            again: 0,
        }
    }

    fn part(&mut self, node: usize) -> Asked<'_> {
        Asked {
            trace: self.trace,
            node,
            again: self.again,
        }
    }

    fn shape(&self) -> &Shape {
        &self.trace.nodes[self.node].shape
    }

    fn is_barred(&self, node: usize) -> bool {
        self.trace.nodes[node].state == State::Barred
    }

    /// Ends the run.
    fn cut<T>(&mut self) -> Answer<T> {
        self.trace.is_cut = true;
        Err(Disliked)
    }

    /// What does not say what it wants.
    fn hopeless<T>(mut self) -> Answer<T> {
        self.trace.give_up(self.node);
        self.cut()
    }

    fn leaf<T>(
        mut self,
        kind: &'static str,
        answers: usize,
        give: impl FnOnce(usize) -> Answer<T>,
    ) -> Answer<T> {
        let node = self.node;
        if !self.trace.note(node, 0, |_| Shape::Leaf(kind, answers)) {
            return self.cut();
        }
        if self.is_barred(node) {
            return self.cut();
        }
        let answer = self.trace.answer(node).min(answers - 1);
        let value = give(answer)?;
        self.trace.like(node);
        Ok(value)
    }

    /// Something of a type of its own, of which there may be another one inside.
    fn typed<V>(
        mut self,
        act: impl FnOnce(Asked<'_>) -> Answer<V>,
        name: &'static str,
    ) -> Answer<V> {
        if self.again == 0 {
            let within = self.trace.within.iter().rev();
            let above = within.into_iter().find(|(other, _)| *other == name);
            if let Some(above) = above
                .map(|(_, node)| *node)
                .filter(|node| *node != self.node)
            {
                let node = self.node;
                if !self.trace.note(node, 0, |_| Shape::Above(above)) {
                    return self.cut();
                }
            }
        }
        if let Shape::Above(above) = *self.shape() {
            self.node = above;
            self.again += 1;
            if self.again > AGAIN_MAX || self.trace.first_done(above).is_none() {
                return self.cut();
            }
            return act(self);
        }
        self.trace.within.push((name, self.node));
        let part = Asked {
            trace: self.trace,
            node: self.node,
            again: self.again,
        };
        let value = act(part)?;
        self.trace.within.pop();
        Ok(value)
    }

    fn tuple<'de, V: Visitor<'de>>(mut self, len: usize, visitor: V) -> Answer<V::Value> {
        let node = self.node;
        let noted = match len {
            0..=TUPLE_MAX => (self.trace).note(node, len, |parts| Shape::Tuple(parts.collect())),
            _ => self.trace.note(node, 1, |parts| match parts.next() {
                Some(part) => Shape::Array(part, len),
                None => Shape::Unknown,
            }),
        };
        if !noted {
            return self.cut();
        }
        let parts = match self.shape() {
            Shape::Tuple(parts) => parts.clone(),
            Shape::Array(part, len) => vec![*part; *len],
            _ => return self.cut(),
        };
        visitor.visit_seq(Parts::new(self, parts))
    }

    fn named<'de, V: Visitor<'de>>(
        mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Answer<V::Value> {
        let noted = self.trace.note(self.node, fields.len(), |parts| {
            Shape::Struct(fields.iter().copied().zip(parts).collect(), Names::Known)
        });
        let parts: Vec<_> = match self.shape() {
            Shape::Struct(fields, _) if noted => fields.iter().map(|(_, part)| *part).collect(),
            _ => return self.cut(),
        };
        let (node, count) = (self.node, parts.len());
        let mut parts = Parts::new(self, parts);
        let value = visitor.visit_seq(&mut parts)?;
        let left = parts.left.len();
        if left > 0 {
            parts.asked.trace.shorten(node, count - left);
        }
        Ok(value)
    }

    fn variants<'de, V: Visitor<'de>>(
        mut self,
        names: &'static [&'static str],
        visitor: V,
    ) -> Answer<V::Value> {
        let noted = self.trace.note(self.node, names.len(), |parts| {
            let variants = names.iter().zip(parts).map(|(name, node)| Variant {
                name,
                node,
                done_at: None,
            });
            Shape::OneOf(variants.collect(), Names::Known)
        });
        let chosen = match self.shape() {
            Shape::OneOf(variants, _) if noted => {
                let state = |variant: &Variant| self.trace.nodes[variant.node].state;
                let open = variants
                    .iter()
                    .position(|variant| state(variant) == State::Open);
                let open = open.filter(|_| self.again == 0);
                let chosen = open.or_else(|| self.trace.first_done(self.node));
                chosen.and_then(|place| Some((u32::try_from(place).ok()?, variants[place].node)))
            }
            _ => None,
        };
        let Some((number, node)) = chosen else {
            return self.cut();
        };
        let of = std::mem::replace(&mut self.node, node);
        visitor.visit_enum(Chosen {
            asked: self,
            of,
            number,
        })
    }
}

macro_rules! numbers {
    ($($method:ident $kind:literal $visit:ident $type:ty,)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Answer<V::Value> {
                self.leaf($kind, NUMBERS.len(), |answer| {
                    visitor.$visit(<$type>::from(NUMBERS[answer]))
                })
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = Disliked;

    /// Codecs differ in what they let a type see: this is what it shows to the codec of checkpoints.
    fn is_human_readable(&self) -> bool {
        false
    }

    numbers! {
        deserialize_i16 "i16" visit_i16 i16,
        deserialize_i32 "i32" visit_i32 i32,
        deserialize_i64 "i64" visit_i64 i64,
        deserialize_i128 "i128" visit_i128 i128,
        deserialize_u8 "u8" visit_u8 u8,
        deserialize_u16 "u16" visit_u16 u16,
        deserialize_u32 "u32" visit_u32 u32,
        deserialize_u64 "u64" visit_u64 u64,
        deserialize_u128 "u128" visit_u128 u128,
        deserialize_f32 "f32" visit_f32 f32,
        deserialize_f64 "f64" visit_f64 f64,
        deserialize_char "char" visit_char char,
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Answer<V::Value> {
        self.leaf("i8", NUMBERS.len(), |answer| {
            visitor.visit_i8(i8::try_from(NUMBERS[answer]).unwrap_or(i8::MAX))
        })
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Answer<V::Value> {
        self.leaf("bool", 2, |answer| visitor.visit_bool(answer == 1))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Answer<V::Value> {
        self.leaf("string", TEXTS.len(), |answer| {
            visitor.visit_str(TEXTS[answer])
        })
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Answer<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Answer<V::Value> {
        self.leaf("bytes", LENGTHS.len(), |answer| {
            visitor.visit_byte_buf(vec![0; LENGTHS[answer]])
        })
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Answer<V::Value> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Answer<V::Value> {
        self.leaf(NOTHING, 1, |_| visitor.visit_unit())
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Answer<V::Value> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Answer<V::Value> {
        let noted = (self.trace).note(self.node, 1, |parts| {
            parts.next().map_or(Shape::Unknown, Shape::Optional)
        });
        let inner = match self.shape() {
            Shape::Optional(inner) if noted => *inner,
            _ => return self.cut(),
        };
        if self.again > 0 || self.is_barred(inner) {
            return visitor.visit_none();
        }
        self.node = inner;
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Answer<V::Value> {
        let noted = (self.trace).note(self.node, 1, |parts| {
            parts.next().map_or(Shape::Unknown, Shape::List)
        });
        let element = match self.shape() {
            Shape::List(element) if noted => *element,
            _ => return self.cut(),
        };
        let is_empty = self.again > 0 || self.is_barred(element);
        let elements = if is_empty { Vec::new() } else { vec![element] };
        visitor.visit_seq(Parts::new(self, elements))
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Answer<V::Value> {
        let noted = (self.trace).note(self.node, 2, |parts| match (parts.next(), parts.next()) {
            (Some(key), Some(value)) => Shape::Map(key, value),
            _ => Shape::Unknown,
        });
        let (key, value) = match self.shape() {
            Shape::Map(key, value) if noted => (*key, *value),
            _ => return self.cut(),
        };
        let is_empty = self.again > 0 || self.is_barred(key) || self.is_barred(value);
        let entry = if is_empty {
            Vec::new()
        } else {
            vec![key, value]
        };
        visitor.visit_map(Parts::new(self, entry))
    }

    /// The codec writes a newtype like what is in it.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Answer<V::Value> {
        let name = type_name::<V>();
        self.typed(|asked| visitor.visit_newtype_struct(asked), name)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Answer<V::Value> {
        self.tuple(len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Answer<V::Value> {
        let name = type_name::<V>();
        self.typed(|asked| asked.tuple(len, visitor), name)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Answer<V::Value> {
        let name = type_name::<V>();
        self.typed(|asked| asked.named(fields, visitor), name)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Answer<V::Value> {
        let name = type_name::<V>();
        self.typed(|asked| asked.variants(variants, visitor), name)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Answer<V::Value> {
        self.hopeless()
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Answer<V::Value> {
        self.hopeless()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Answer<V::Value> {
        self.hopeless()
    }
}

/// The parts of something, one after the other.
struct Parts<'a> {
    asked: Asked<'a>,
    left: std::vec::IntoIter<usize>,
}

impl<'a> Parts<'a> {
    fn new(asked: Asked<'a>, parts: Vec<usize>) -> Self {
        Self {
            asked,
            left: parts.into_iter(),
        }
    }
}

impl<'de> SeqAccess<'de> for Parts<'_> {
    type Error = Disliked;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Answer<Option<T::Value>> {
        match self.left.next() {
            Some(part) => seed.deserialize(self.asked.part(part)).map(Some),
            None => Ok(None),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.len())
    }
}

impl<'de> MapAccess<'de> for Parts<'_> {
    type Error = Disliked;

    fn next_key_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Answer<Option<T::Value>> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Answer<T::Value> {
        self.next_element_seed(seed)?.ok_or(Disliked)
    }
}

/// A variant.
struct Chosen<'a> {
    asked: Asked<'a>,
    /// The node that it is a variant of.
    of: usize,
    number: u32,
}

impl<'a, 'de> EnumAccess<'de> for Chosen<'a> {
    type Error = Disliked;
    type Variant = Asked<'a>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Answer<(T::Value, Asked<'a>)> {
        let Self {
            mut asked,
            of,
            number,
        } = self;
        let deserializer: serde::de::value::U32Deserializer<Disliked> = number.into_deserializer();
        match seed.deserialize(deserializer) {
            Ok(variant) => Ok((variant, asked)),
            // It does not go by numbers.
            Err(_) if number == 0 => {
                asked.trace.give_up(of);
                asked.cut()
            }
            Err(_) => {
                asked.trace.shorten(of, number as usize);
                asked.cut()
            }
        }
    }
}

impl<'de> VariantAccess<'de> for Asked<'_> {
    type Error = Disliked;

    fn unit_variant(self) -> Answer<()> {
        self.leaf(NOTHING, 1, |_| Ok(()))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Answer<T::Value> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Answer<V::Value> {
        self.tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Answer<V::Value> {
        self.named(fields, visitor)
    }
}
