//! Tests of the client against a cluster in memory that applies writes by the real rules.

mod wires;
mod fake;
mod batches;
mod reads;
mod writes;
