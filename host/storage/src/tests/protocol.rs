//! The rules of the protocol, against a store that fails, loses answers and delivers late.

mod claims;
mod commits;
mod predecessors;
mod readers;
mod retention;
mod streams;
