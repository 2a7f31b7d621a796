//! What a value owns on the heap, estimated by what serde is shown of it.
//!
//! Strings and sequences are counted as allocations of their own, with what the allocator adds, and with the room that they
//! leave when they have grown by pushing. Of a long sequence some elements stand for all, so that a long one costs little
//! to look at. What serde is not shown (a cache, a shared value) is not counted.

use std::{fmt, mem, ptr};

use serde::ser::{self, Serialize, SerializeMap, SerializeSeq, Serializer};

/// What a value owns, and what it was to find out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HeapSize {
    /// Bytes outside of the value itself.
    pub bytes: u64,
    /// Parts that were looked at; elements that were passed over count for a part of one.
    pub steps: u64,
}

/// Estimates what a value owns on the heap.
///
/// ```
/// use levada_core::heap::heap_size;
///
/// assert_eq!(heap_size(&7u64).bytes, 0);
/// assert!(heap_size(&"a".repeat(1_000)).bytes >= 1_000);
/// assert!(heap_size(&vec![7u64; 1_000]).bytes >= 8_000);
/// ```
pub fn heap_size<T: Serialize>(value: &T) -> HeapSize {
    let mut count = Count::default();
    // What a value that cannot be encoded has shown until then is counted; it is refused where it is encoded.
    let _ = count.show(value);
    // What does not lie in the value, and is no string or sequence either, is in a box.
    let boxed = count.inline.saturating_sub(size_of::<T>() as u64);
    HeapSize {
        bytes: count.heap + boxed,
        steps: count.steps,
    }
}

/// Elements of a sequence that are all looked at.
const ELEMENTS_EXACT: usize = 32;

/// Elements that are passed over for the price of a part.
const PASSED_PER_STEP: u64 = 256;

/// A string or vector itself: pointer, capacity, length.
const HANDLE: u64 = 24;

/// Bytes of an allocation for so many, as common allocators make it.
fn chunk(bytes: u64) -> u64 {
    if bytes == 0 {
        return 0;
    }
    (bytes + 8).next_multiple_of(16).max(32)
}

#[derive(Default)]
struct Count {
    /// Bytes that lie in the value that is being shown.
    inline: u64,
    /// Bytes in allocations.
    heap: u64,
    steps: u64,
    /// Where that lies.
    shown: Shown,
}

/// A value that is being shown: the innermost one that is known.
#[derive(Clone, Copy, Default)]
struct Shown {
    begin: usize,
    bytes: usize,
    /// None if nothing is known of it.
    align: Option<usize>,
}

impl Shown {
    fn new<T: ?Sized>(value: &T) -> Self {
        // What is a text itself is the end of some pointer.
        if size_of::<&T>() > size_of::<usize>() {
            return Self::default();
        }
        Self {
            begin: ptr::from_ref(value).addr(),
            bytes: size_of_val(value),
            align: Some(align_of_val(value)),
        }
    }

    /// Whether what it has shown lies in it: it is there, or there is no room for a pointer to it.
    fn contains(&self, bytes: &[u8]) -> bool {
        let end = self.begin + self.bytes;
        self.has_no_pointer() || (self.begin..end).contains(&bytes.as_ptr().addr())
    }

    fn has_no_pointer(&self) -> bool {
        self.align.is_some_and(|align| align < align_of::<usize>())
    }
}

impl Count {
    /// Looks at a value, or at one in the value that is being shown.
    fn show<T: Serialize + ?Sized>(&mut self, value: &T) -> fmt::Result {
        let around = mem::replace(&mut self.shown, Shown::new(value));
        let counted = value.serialize(&mut *self);
        self.shown = around;
        counted
    }

    fn scalar(&mut self, bytes: u64) {
        self.inline += bytes;
        self.steps += 1;
    }

    /// A string or a sequence of bytes.
    fn block(&mut self, bytes: usize, lies_in_value: bool) {
        if lies_in_value {
            self.scalar(bytes.min(self.shown.bytes) as u64);
            return;
        }
        self.scalar(HANDLE);
        self.heap += chunk(bytes as u64);
    }
}

/// The elements of a sequence or a map.
struct Elements<'a> {
    outer: &'a mut Count,
    /// Those that are looked at.
    inner: Count,
    /// Whether a map makes room for them.
    is_map: bool,
    /// One in so many is looked at.
    stride: u64,
    seen: u64,
    looked: u64,
}

impl<'a> Elements<'a> {
    fn new(outer: &'a mut Count, length: Option<usize>, is_map: bool) -> Self {
        Self {
            outer,
            inner: Count::default(),
            is_map,
            stride: (length.unwrap_or(0) / ELEMENTS_EXACT).max(1) as u64,
            seen: 0,
            looked: 0,
        }
    }

    /// Whether the next element is looked at.
    fn next(&mut self) -> bool {
        let is_looked_at = self.seen.is_multiple_of(self.stride);
        self.seen += 1;
        self.looked += u64::from(is_looked_at);
        is_looked_at
    }

    fn finish(self) {
        let outer = self.outer;
        outer.scalar(HANDLE);
        if self.looked == 0 {
            return;
        }
        let of_all = |sum: u64| u128::from(sum) * u128::from(self.seen) / u128::from(self.looked);
        let inline = if self.is_map {
            // A bit more than the entries of a hash table; a tree is not far from it.
            let places = (self.seen * 8 / 7 + 1).next_power_of_two();
            (self.inner.inline / self.looked + 1) * places
        } else {
            let each = self.inner.inline / self.looked;
            each * self.seen.next_power_of_two().max(4)
        };
        let owned = u64::try_from(of_all(self.inner.heap)).unwrap_or(u64::MAX / 4);
        outer.heap += chunk(inline) + owned;
        outer.steps += self.inner.steps + (self.seen - self.looked) / PASSED_PER_STEP;
    }
}

impl<'a> Serializer for &'a mut Count {
    type Ok = ();
    type Error = fmt::Error;
    type SerializeSeq = Elements<'a>;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Elements<'a>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, _: bool) -> fmt::Result {
        self.scalar(1);
        Ok(())
    }

    fn serialize_i8(self, _: i8) -> fmt::Result {
        self.scalar(1);
        Ok(())
    }

    fn serialize_i16(self, _: i16) -> fmt::Result {
        self.scalar(2);
        Ok(())
    }

    fn serialize_i32(self, _: i32) -> fmt::Result {
        self.scalar(4);
        Ok(())
    }

    fn serialize_i64(self, _: i64) -> fmt::Result {
        self.scalar(8);
        Ok(())
    }

    fn serialize_i128(self, _: i128) -> fmt::Result {
        self.scalar(16);
        Ok(())
    }

    fn serialize_u8(self, _: u8) -> fmt::Result {
        self.scalar(1);
        Ok(())
    }

    fn serialize_u16(self, _: u16) -> fmt::Result {
        self.scalar(2);
        Ok(())
    }

    fn serialize_u32(self, _: u32) -> fmt::Result {
        self.scalar(4);
        Ok(())
    }

    fn serialize_u64(self, _: u64) -> fmt::Result {
        self.scalar(8);
        Ok(())
    }

    fn serialize_u128(self, _: u128) -> fmt::Result {
        self.scalar(16);
        Ok(())
    }

    fn serialize_f32(self, _: f32) -> fmt::Result {
        self.scalar(4);
        Ok(())
    }

    fn serialize_f64(self, _: f64) -> fmt::Result {
        self.scalar(8);
        Ok(())
    }

    fn serialize_char(self, _: char) -> fmt::Result {
        self.scalar(4);
        Ok(())
    }

    fn serialize_str(self, text: &str) -> fmt::Result {
        self.block(text.len(), self.shown.contains(text.as_bytes()));
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> fmt::Result {
        self.block(bytes.len(), self.shown.contains(bytes));
        Ok(())
    }

    fn serialize_none(self) -> fmt::Result {
        self.steps += 1;
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> fmt::Result {
        self.show(value)
    }

    fn serialize_unit(self) -> fmt::Result {
        self.steps += 1;
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> fmt::Result {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> fmt::Result {
        self.scalar(1);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> fmt::Result {
        self.show(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> fmt::Result {
        self.show(value)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Elements<'a>, fmt::Error> {
        Ok(Elements::new(self, length, false))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Elements<'a>, fmt::Error> {
        Ok(Elements::new(self, length, true))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> fmt::Result {
        self.block(value.to_string().len(), self.shown.has_no_pointer());
        Ok(())
    }
}

impl SerializeSeq for Elements<'_> {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> fmt::Result {
        if self.next() {
            self.inner.show(value)?;
        }
        Ok(())
    }

    fn end(self) -> fmt::Result {
        self.finish();
        Ok(())
    }
}

impl SerializeMap for Elements<'_> {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> fmt::Result {
        if self.next() {
            self.inner.show(key)?;
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> fmt::Result {
        // That of the key before it, if that was looked at.
        if (self.seen - 1).is_multiple_of(self.stride) {
            self.inner.show(value)?;
        }
        Ok(())
    }

    fn end(self) -> fmt::Result {
        self.finish();
        Ok(())
    }
}

/// What has a fixed number of parts lies in the value.
macro_rules! parts {
    ($($part:ident::$method:ident $(($name:ty))?)*) => {$(
        impl ser::$part for &mut Count {
            type Ok = ();
            type Error = fmt::Error;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $(_: $name,)?
                value: &T,
            ) -> fmt::Result {
                self.show(value)
            }

            fn end(self) -> fmt::Result {
                Ok(())
            }
        }
    )*};
}

parts! {
    SerializeTuple::serialize_element
    SerializeTupleStruct::serialize_field
    SerializeTupleVariant::serialize_field
    SerializeStruct::serialize_field(&'static str)
    SerializeStructVariant::serialize_field(&'static str)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn check<T: Serialize>(value: &T, least: u64, most: u64) {
        let bytes = heap_size(value).bytes;
        assert!(
            (least..=most).contains(&bytes),
            "{bytes}, not from {least} to {most}"
        );
    }

    #[test]
    fn what_lies_in_the_value_is_not_counted() {
        check(&(1u64, 'a', [1u8; 16], Some(1.0)), 0, 0);
        check(&String::new(), 0, 0);
        check(&Vec::<u64>::new(), 0, 0);
    }

    #[test]
    fn strings_vectors_maps_and_boxes_are() {
        check(&"abc".to_owned(), 3, 32);
        check(&vec!["x".repeat(100); 1_000], 124_000, 160_000);
        check(&vec![vec![1u32; 10]; 10], 640, 1_200);
        let map: BTreeMap<u64, String> = (0..1_000).map(|n| (n, n.to_string())).collect();
        check(&map, 1_000 * (8 + 24 + 3), 1_000 * 3 * (8 + 24 + 32));
        check(&Box::new([7u64; 32]), 248, 272);
    }

    /// As the crates `uuid` and `chrono` show theirs.
    struct Id([u8; 16]);

    struct Date {
        days: i32,
        nanos: u32,
    }

    impl Serialize for Id {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&self.0)
        }
    }

    impl Serialize for Date {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(&format_args!("{} days and {} ns", self.days, self.nanos))
        }
    }

    #[test]
    fn texts_and_bytes_that_lie_in_the_value_are_not_counted_either() {
        let date = || Date { days: 7, nanos: 9 };
        check(&Id([7; 16]), 0, 0);
        check(&Some(date()), 0, 0);
        check(&(7u64, date(), Id([7; 16])), 0, 0);
        check(&[Some(date()), None, Some(date())], 0, 0);
        // But what is only pointed to is.
        check(&Some("x".repeat(100).into_boxed_str()), 100, 136);
        check(&Some("x".repeat(100)), 100, 128);
    }

    #[test]
    fn a_long_sequence_costs_little_to_look_at() {
        let long = vec![7u64; 1_000_000];
        let size = heap_size(&long);
        assert!(
            size.bytes >= 8_000_000 && size.bytes < 16_000_000,
            "{size:?}"
        );
        assert!(size.steps < 5_000, "{size:?}");
    }
}
