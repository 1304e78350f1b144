//! The hashes that AWS signatures need, in pure Rust.

use hmac::{Hmac, KeyInit, Mac};
use object_store::client::{
    CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, Signer, SigningAlgorithm,
};
use object_store::{Error, Result};
use sha2::{Digest, Sha256};

/// SHA-256 and HMAC-SHA-256.
#[derive(Debug)]
pub(crate) struct Sha2;

impl CryptoProvider for Sha2 {
    fn digest(&self, algorithm: DigestAlgorithm) -> Result<Box<dyn DigestContext>> {
        match algorithm {
            DigestAlgorithm::Sha256 => Ok(Box::new(Hashing {
                hasher: Sha256::new(),
                hash: Vec::new(),
            })),
            _ => Err(unknown()),
        }
    }

    fn hmac(&self, algorithm: DigestAlgorithm, secret: &[u8]) -> Result<Box<dyn HmacContext>> {
        let hasher = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| unknown())?;
        match algorithm {
            DigestAlgorithm::Sha256 => Ok(Box::new(Hashing {
                hasher,
                hash: Vec::new(),
            })),
            _ => Err(unknown()),
        }
    }

    fn sign(&self, _algorithm: SigningAlgorithm, _pem: &[u8]) -> Result<Box<dyn Signer>> {
        Err(unknown())
    }
}

fn unknown() -> Error {
    Error::NotSupported {
        source: "this component signs requests only with HMAC-SHA-256".into(),
    }
}

struct Hashing<H> {
    hasher: H,
    hash: Vec<u8>,
}

impl DigestContext for Hashing<Sha256> {
    fn update(&mut self, data: &[u8]) {
        Digest::update(&mut self.hasher, data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.hash = self.hasher.finalize_reset().to_vec();
        Ok(&self.hash)
    }
}

impl HmacContext for Hashing<Hmac<Sha256>> {
    fn update(&mut self, data: &[u8]) {
        Mac::update(&mut self.hasher, data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.hash = self.hasher.clone().finalize().into_bytes().to_vec();
        Ok(&self.hash)
    }
}
