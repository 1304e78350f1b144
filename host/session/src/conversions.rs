//! Conversions between the types generated from the WIT package and those of this crate.

/// Implements [`From`] between this crate's types and those that `wasmtime::component::bindgen!` or
/// `wit_bindgen::generate!` generates from the package `task:checkpoint`. A macro works for both because
/// they generate the same names; the implementations must be in the crate that owns the generated types.
///
/// The argument is the path of the module that contains `types` and `checkpointer`, such as
/// `bindings::task::checkpoint`.
#[macro_export]
macro_rules! wit_conversions {
    ($($package:tt)+) => {
        impl From<$crate::GuestError> for $($package)+::types::Error {
            fn from(error: $crate::GuestError) -> Self {
                use $crate::GuestError;

                match error {
                    GuestError::Fenced => Self::Fenced,
                    GuestError::NotSingle(files) => Self::NotSingle(files),
                    GuestError::Corrupt(text) => Self::Corrupt(text),
                    GuestError::Unavailable(text) => Self::Unavailable(text),
                    GuestError::QuotaExceeded(text) => Self::QuotaExceeded(text),
                    GuestError::InvalidPath(text) => Self::InvalidPath(text),
                    GuestError::ReadOnly(text) => Self::ReadOnly(text),
                    GuestError::SchemaMismatch(text) => Self::SchemaMismatch(text),
                    GuestError::Other(text) => Self::Other(text),
                }
            }
        }

        impl From<$crate::storage::Saved> for $($package)+::types::Saved {
            fn from(saved: $crate::storage::Saved) -> Self {
                Self {
                    sequence: saved.sequence,
                    logical_bytes: saved.logical_bytes,
                    uploaded_bytes: saved.uploaded_bytes,
                }
            }
        }

        impl From<$crate::Given> for $($package)+::types::Checkpoint {
            fn from(given: $crate::Given) -> Self {
                let metadata = given.info.metadata;
                Self {
                    sequence: given.info.sequence,
                    attempt: given.info.attempt,
                    age: $crate::milliseconds(given.age),
                    annotations: metadata.annotations.into_iter().collect(),
                    schema: metadata.schema,
                }
            }
        }

        impl From<$($package)+::types::Existing> for $crate::storage::Existing {
            fn from(existing: $($package)+::types::Existing) -> Self {
                use $($package)+::types::Existing;

                match existing {
                    Existing::Refuse => Self::Refuse,
                    Existing::Replace => Self::Replace,
                }
            }
        }

        impl From<$crate::Contents> for $($package)+::checkpointer::Contents {
            fn from(contents: $crate::Contents) -> Self {
                Self {
                    bytes: contents.bytes.into(),
                    checkpoint: contents.checkpoint.into(),
                }
            }
        }

        impl From<$crate::Resume> for $($package)+::checkpointer::ResumePoint {
            fn from(resume: $crate::Resume) -> Self {
                use $($package)+::checkpointer::FallBack;
                use $crate::storage::ResumePoint;

                let checkpoint = |info| $crate::Given::new(info, resume.age).into();
                match resume.point {
                    ResumePoint::Fresh => Self::Fresh,
                    ResumePoint::Resumed(info) => Self::Resumed(checkpoint(info)),
                    ResumePoint::FellBack {
                        checkpoint: info,
                        damaged,
                        reason,
                    } => Self::FellBack(FallBack {
                        checkpoint: checkpoint(info),
                        damaged,
                        reason,
                    }),
                }
            }
        }

        impl From<$crate::Advice> for $($package)+::checkpointer::Advice {
            fn from(advice: $crate::Advice) -> Self {
                Self {
                    now: advice.now,
                    stopping: advice.stopping.map($crate::milliseconds),
                }
            }
        }

        impl From<$crate::Allowance> for $($package)+::checkpointer::Limits {
            fn from(allowance: $crate::Allowance) -> Self {
                let limits = allowance.limits;
                Self {
                    checkpoint_bytes: limits.checkpoint_bytes,
                    bytes_left: allowance.bytes_left,
                    entries: limits.entries,
                    path_bytes: limits.path_bytes as u64,
                    annotation_bytes: limits.annotation_bytes as u64,
                    saves_per_minute: limits.saves_per_minute,
                }
            }
        }

        impl From<$($package)+::checkpointer::SchemaChange> for $crate::storage::SchemaChange {
            fn from(change: $($package)+::checkpointer::SchemaChange) -> Self {
                use $($package)+::checkpointer::SchemaChange;

                match change {
                    SchemaChange::Refuse => Self::Refuse,
                    SchemaChange::StartFresh => Self::StartFresh,
                    SchemaChange::Allow => Self::Allow,
                }
            }
        }
    };
}

/// Converts a duration to milliseconds, the unit of the WIT package.
#[doc(hidden)]
pub fn milliseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
