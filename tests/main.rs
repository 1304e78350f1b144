//! Tests that span crates: real guests, real servers, faults, the command line.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

mod background;
mod bounded;
mod bytes;
mod cleaning;
mod cli_errors;
mod composed;
mod composed_p3;
mod damage;
mod embedding;
mod faults;
mod fencing;
mod hostile;
mod import;
mod inputs;
mod kill;
mod limits;
mod locations;
mod operator;
mod outputs;
mod p3;
mod plugins;
mod predecessors;
mod s3_server;
mod schema;
mod servers;
mod signals;
mod stores;
mod streams;
mod task_files;
mod trees;
mod waiting;
mod wit;
