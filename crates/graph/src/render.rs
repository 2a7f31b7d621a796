//! A plan as text, as a graph for Graphviz, and as JSON.

mod dot;
mod json;
mod text;
