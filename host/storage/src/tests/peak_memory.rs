//! How much memory a save takes.

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime;

use super::peak::peak_of;
use super::{begin, memory, noise};
use crate::environment::Environment;
use crate::metadata::Metadata;

const MIB: usize = 1 << 20;

#[test]
fn new_bytes_between_bytes_that_repeat_do_not_keep_these_in_memory() {
    const REPEATS: u64 = 64;
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    let (_, location) = memory();
    let location = location.with_environment(Environment::on_one_thread());
    let repeated = Bytes::from(noise(0, MIB));
    let save = async {
        let attempt = Arc::new(begin(&location).await);
        let mut stream = attempt.write_stream(Metadata::default()).await.unwrap();
        for n in 1..=REPEATS {
            stream.write(repeated.clone()).await.unwrap();
            stream.write(noise(n, 16 << 10).into()).await.unwrap();
        }
        stream.commit().await.unwrap()
    };
    let (saved, peak) = peak_of(|| runtime.block_on(save));
    assert!(saved.uploaded_bytes < 8 * MIB as u64);
    // What is stored, once more in the storage of this test, and the batches that are being cut and hashed.
    assert!(peak < 32 * MIB, "{peak} bytes");
}
