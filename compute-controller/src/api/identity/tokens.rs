//! Tokens: what a user may do until when, signed, so that no API call needs the database to know its caller.
//!
//! ```text
//! token   = base64url(claims as JSON) "." base64url(HMAC-SHA256(secret, claims as JSON))
//! ```
//!
//! The secret lies in the state, so that a token of one site's API holds at all others. A signed token can't be taken back: a user who is disabled
//! keeps what was issued before until it expires, at most [`LIFETIME`] later.

use crate::clock::{self, Micros};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt;
use std::time::Duration;

/// How long a token holds.
pub const LIFETIME: Duration = Duration::from_secs(3600);

/// Longer ones are not looked at.
const MAX_TOKEN_BYTES: usize = 4096;

/// What a token says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Claims {
    pub user_id: String,
    pub user_name: String,
    pub project_id: Option<String>,
    pub project_name: Option<String>,
    pub is_admin: bool,
    pub issued_at: Micros,
    pub expires_at: Micros,
    /// Tells tokens apart in audits; says nothing about the token itself.
    pub audit_id: String,
    /// `password`, or `token` for one got with another.
    pub method: String,
}

/// Signs and verifies.
#[derive(Clone)]
pub struct Signer(Hmac<Sha256>);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// A signer with the cloud's secret.
    ///
    /// # Errors
    /// Where the secret is unusable.
    pub fn new(secret: &str) -> rome_core::Result<Self> {
        Hmac::new_from_slice(secret.as_bytes())
            .map(Self)
            .map_err(|_| rome_core::Error::internal("the secret that signs tokens is unusable"))
    }

    /// The token.
    ///
    /// # Errors
    /// Never for claims made by this program.
    pub fn sign(&self, claims: &Claims) -> rome_core::Result<String> {
        let payload =
            serde_json::to_vec(claims).map_err(|_| rome_core::Error::internal("claims can't be written as JSON"))?;
        let mut mac = self.0.clone();
        mac.update(&payload);
        let signature = mac.finalize().into_bytes();
        Ok(format!("{}.{}", URL_SAFE_NO_PAD.encode(&payload), URL_SAFE_NO_PAD.encode(signature)))
    }

    /// What the token says, where it is genuine and has not expired.
    pub fn verify(&self, token: &str) -> Option<Claims> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let (payload, signature) = token.split_once('.')?;
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let mut mac = self.0.clone();
        mac.update(&payload);
        // Compares in constant time.
        mac.verify_slice(&signature).ok()?;
        let claims: Claims = serde_json::from_slice(&payload).ok()?;
        (clock::now() < claims.expires_at).then_some(claims)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn claims(expires_at: Micros) -> Claims {
        Claims {
            user_id: "u".into(),
            user_name: "ann".into(),
            project_id: Some("p".into()),
            project_name: Some("lab".into()),
            is_admin: false,
            issued_at: 0,
            expires_at,
            audit_id: "a".into(),
            method: "password".into(),
        }
    }

    #[test]
    fn only_an_unchanged_unexpired_token_of_the_same_secret_holds() {
        let signer = Signer::new("secret").unwrap();
        let good = claims(clock::now() + 1_000_000_000);
        let token = signer.sign(&good).unwrap();
        assert_eq!(signer.verify(&token), Some(good.clone()));
        assert_eq!(Signer::new("other").unwrap().verify(&token), None);
        let forged = signer.sign(&Claims { is_admin: true, ..good }).unwrap();
        let (payload, _) = forged.split_once('.').unwrap();
        let (_, signature) = token.split_once('.').unwrap();
        assert_eq!(signer.verify(&format!("{payload}.{signature}")), None);
        assert_eq!(signer.verify(&signer.sign(&claims(clock::now() - 1)).unwrap()), None);
        for rubbish in ["", ".", "a.b", "!!!.???", &"x".repeat(10_000)] {
            assert_eq!(signer.verify(rubbish), None);
        }
    }
}
