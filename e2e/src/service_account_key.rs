//! The key that signs the tokens of service accounts.

use anyhow::{Result, anyhow};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;

/// A P-256 key pair as PEM.
#[derive(Debug)]
pub(crate) struct ServiceAccountKey {
    /// PKCS #8.
    pub(crate) private: String,
    /// SubjectPublicKeyInfo. The API server derives no public key from a PKCS #8 file with an elliptic curve.
    pub(crate) public: String,
}

impl ServiceAccountKey {
    pub(crate) fn generate() -> Result<Self> {
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let failed = |_| anyhow!("cannot generate a service account key");
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).map_err(failed)?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref())
            .map_err(|_| anyhow!("cannot read the service account key that was just generated"))?;
        let public = pair.public_key().as_der().map_err(failed)?;
        Ok(Self { private: pem("PRIVATE KEY", document.as_ref()), public: pem("PUBLIC KEY", public.as_ref()) })
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}
