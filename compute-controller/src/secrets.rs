//! Passwords and random secrets. Nothing in here is ever logged, and errors never quote what they were given.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore;
use rome_core::{Error, Result};

/// The longest password that is hashed, in bytes; the API refuses longer ones before they cost anything.
pub const MAX_PASSWORD_BYTES: usize = 4096;

/// Hashes a password with Argon2id and a random salt, in PHC form. Slow on purpose: call it where blocking is allowed.
///
/// # Errors
/// Where the password is longer than [`MAX_PASSWORD_BYTES`].
pub fn hash_password(password: &str) -> Result<String> {
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(Error::internal("the password is too long"));
    }
    let hash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|_| Error::internal("the password can't be hashed"))?;
    Ok(hash.to_string())
}

/// Whether this is the password of that hash. Slow on purpose: call it where blocking is allowed.
pub fn verify_password(password: &str, hash: &str) -> bool {
    if password.len() > MAX_PASSWORD_BYTES {
        return false;
    }
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// `bytes` random bytes in URL-safe base64.
pub fn random_text(bytes: usize) -> String {
    let mut buffer = vec![0; bytes];
    rand::rng().fill_bytes(&mut buffer);
    URL_SAFE_NO_PAD.encode(buffer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_alone() {
        let hash = hash_password("open sesame").unwrap();
        assert!(hash.starts_with("$argon2id$"));
        assert!(verify_password("open sesame", &hash));
        assert!(!verify_password("open barley", &hash));
        assert!(!verify_password("open sesame", "no hash"));
        assert!(hash_password(&"x".repeat(MAX_PASSWORD_BYTES + 1)).is_err());
    }
}
