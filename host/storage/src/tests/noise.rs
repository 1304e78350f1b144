//! Bytes that look random. Benchmarks and the tests in other crates include this file too.

/// Bytes that do not compress. The same seed always gives the same bytes.
pub(crate) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}
