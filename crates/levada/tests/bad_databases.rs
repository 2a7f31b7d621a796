//! Bad inputs of the PostgreSQL sink and of the adapters: what their users are told.

#![cfg(feature = "postgres")]

#[path = "bad_input/databases.rs"]
mod databases;
#[expect(dead_code, reason = "other tests look at more of the model")]
mod postgres_model;
