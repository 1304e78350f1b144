//! Conversions from the types of the bindings, the same for both versions of the import.

use std::time::Duration;

use crate::{Advice, Checkpoint, Contents, Error, FallBack, ResumePoint};

macro_rules! conversions {
    ($($package:tt)+) => {
        impl From<$($package)+::types::Checkpoint> for Checkpoint {
            fn from(given: $($package)+::types::Checkpoint) -> Self {
                Self {
                    sequence: given.sequence,
                    attempt: given.attempt,
                    age: Duration::from_millis(given.age),
                    annotations: given.annotations,
                    schema: given.schema,
                }
            }
        }

        impl From<$($package)+::checkpointer::Contents> for Contents {
            fn from(given: $($package)+::checkpointer::Contents) -> Self {
                Self {
                    bytes: given.bytes,
                    checkpoint: given.checkpoint.into(),
                }
            }
        }

        impl From<$($package)+::checkpointer::ResumePoint> for ResumePoint {
            fn from(given: $($package)+::checkpointer::ResumePoint) -> Self {
                use $($package)+::checkpointer::ResumePoint as Given;

                match given {
                    Given::Fresh => Self::Fresh,
                    Given::Resumed(checkpoint) => Self::Resumed(checkpoint.into()),
                    Given::FellBack(past) => Self::FellBack(FallBack {
                        checkpoint: past.checkpoint.into(),
                        damaged: past.damaged,
                        reason: past.reason,
                    }),
                }
            }
        }

        impl From<$($package)+::checkpointer::Advice> for Advice {
            fn from(given: $($package)+::checkpointer::Advice) -> Self {
                Self {
                    now: given.now,
                    stopping: given.stopping.map(Duration::from_millis),
                }
            }
        }

        impl From<$($package)+::types::Error> for Error {
            fn from(error: $($package)+::types::Error) -> Self {
                use $($package)+::types::Error as Given;

                match error {
                    Given::Fenced => Self::Fenced,
                    Given::NotSingle(count) => Self::NotSingle(count),
                    Given::Corrupt(text) => Self::Corrupt(text),
                    Given::Unavailable(text) => Self::Unavailable(text),
                    Given::QuotaExceeded(text) => Self::QuotaExceeded(text),
                    Given::InvalidPath(text) => Self::InvalidPath(text),
                    Given::ReadOnly(text) => Self::ReadOnly(text),
                    Given::SchemaMismatch(text) => Self::SchemaMismatch(text),
                    Given::Other(text) => Self::Other(text),
                }
            }
        }
    };
}

conversions!(crate::bindings::task::checkpoint);
#[cfg(feature = "p3")]
conversions!(crate::p3::bindings::task::checkpoint);
