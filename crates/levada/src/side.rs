//! Declaring the side outputs of a process.

use std::rc::Rc;

use levada_core::Place;
use levada_graph::NodeId;
use levada_operators::{SideOutput, SidePorts};

use crate::job::Building;
use crate::stream::Stream;

/// One [`SideOutput`], or a tuple of up to four.
pub trait SideOutputs: Sized + sealed::Sealed {
    /// The streams that are written through them.
    type Streams;

    #[doc(hidden)]
    fn declare(builder: &mut SideBuilder) -> (Self, Self::Streams);
}

/// Adds side outputs to a node.
pub struct SideBuilder {
    inner: Rc<Building>,
    node: NodeId,
    place: Place,
    ports: SidePorts,
}

impl SideBuilder {
    pub(crate) fn new(inner: Rc<Building>, node: NodeId, place: Place) -> Self {
        Self {
            inner,
            node,
            place,
            ports: SidePorts::default(),
        }
    }

    pub(crate) fn into_ports(self) -> SidePorts {
        self.ports
    }
}

impl<T: Send + 'static> SideOutputs for SideOutput<T> {
    type Streams = Stream<T>;

    fn declare(builder: &mut SideBuilder) -> (Self, Stream<T>) {
        let stream: Stream<T> = builder.inner.add_output(builder.node, builder.place);
        builder.ports.add::<T>();
        (Self::new(builder.node.0, stream.port.output), stream)
    }
}

macro_rules! tuple {
    ($($name:ident),+) => {
        impl<$($name: SideOutputs),+> SideOutputs for ($($name,)+) {
            type Streams = ($($name::Streams,)+);

            #[expect(non_snake_case, reason = "the type parameters name the values")]
            fn declare(builder: &mut SideBuilder) -> (Self, Self::Streams) {
                $(let $name = $name::declare(builder);)+
                (($($name.0,)+), ($($name.1,)+))
            }
        }

        impl<$($name: SideOutputs),+> sealed::Sealed for ($($name,)+) {}
    };
}

tuple!(A, B);
tuple!(A, B, C);
tuple!(A, B, C, D);

mod sealed {
    pub trait Sealed {}

    impl<T> Sealed for levada_operators::SideOutput<T> {}
}
