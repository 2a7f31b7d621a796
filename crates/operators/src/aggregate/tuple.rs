//! Several aggregates side by side.

use crate::aggregate::Aggregate;

macro_rules! tuple {
    ($($name:ident $index:tt),+) => {
        impl<T, $($name: Aggregate<T>),+> Aggregate<T> for ($($name,)+) {
            type Accumulator = ($($name::Accumulator,)+);
            type Out = ($($name::Out,)+);

            fn create(&self) -> Self::Accumulator {
                ($(self.$index.create(),)+)
            }

            fn add(&self, accumulator: &mut Self::Accumulator, record: &T) {
                $(self.$index.add(&mut accumulator.$index, record);)+
            }

            fn merge(&self, into: &mut Self::Accumulator, other: Self::Accumulator) {
                $(self.$index.merge(&mut into.$index, other.$index);)+
            }

            fn finish(&self, accumulator: Self::Accumulator) -> Self::Out {
                ($(self.$index.finish(accumulator.$index),)+)
            }
        }
    };
}

tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
