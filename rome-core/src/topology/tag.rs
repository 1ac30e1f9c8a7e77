//! Identifiers that carry their birth site: UUIDs of version 8, ordered by time.
//!
//! ```text
//! 48 bits  milliseconds since 1970
//!  4 bits  version 8
//! 12 bits  the number of the home, below 4096
//!  2 bits  variant
//! 16 bits  a check of everything else, by which other UUIDs of version 8 are told apart
//! 46 bits  random
//! ```

use super::HomeNo;
use uuid::Uuid;

/// Homes with greater numbers give identifiers without a tag.
const MAX_TAGGED: u16 = 1 << 12;

const RANDOM_BITS: u32 = 46;

/// A new identifier that is born at a home, at a time in milliseconds, with these random bits (46 of them count).
pub fn tagged(home: HomeNo, millis: u64, random: u64) -> Uuid {
    let random = random & ((1 << RANDOM_BITS) - 1);
    let custom_a = u128::from(millis & ((1 << 48) - 1));
    let custom_b = u128::from(home.0 % MAX_TAGGED);
    let check = u128::from(check(millis, home, random));
    let bits = custom_a << 80 | 8 << 76 | custom_b << 64 | 0b10 << 62 | check << RANDOM_BITS | u128::from(random);
    Uuid::from_u128(bits)
}

/// The home that an identifier was born at; `None` where it carries none.
pub fn birth_home(id: &Uuid) -> Option<HomeNo> {
    let bits = id.as_u128();
    if bits >> 76 & 0xf != 8 || bits >> 62 & 0b11 != 0b10 {
        return None;
    }
    let millis = u64::try_from(bits >> 80).ok()?;
    let home = HomeNo(u16::try_from(bits >> 64 & 0xfff).ok()?);
    let random = u64::try_from(bits & ((1 << RANDOM_BITS) - 1)).ok()?;
    let found = u16::try_from(bits >> RANDOM_BITS & 0xffff).ok()?;
    (found == check(millis, home, random)).then_some(home)
}

fn check(millis: u64, home: HomeNo, random: u64) -> u16 {
    // Fibonacci hashing of each part: not to keep anybody from forging one, which would only misplace his own row.
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = [millis, u64::from(home.0), random]
        .iter()
        .fold(GOLDEN, |sum, part| (sum ^ part).wrapping_mul(GOLDEN).rotate_left(29));
    u16::try_from(mixed >> 48).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_knows_its_home_and_its_time() {
        let mut before = Uuid::nil();
        for number in 0..1_000_u64 {
            let home = HomeNo((number % 4_096) as u16);
            let id = tagged(home, 1_700_000_000_000 + number, number.wrapping_mul(0x1234_5678_9abc_def1));
            assert_eq!((birth_home(&id), id.get_version_num()), (Some(home), 8));
            assert!(id > before);
            before = id;
        }
    }

    #[test]
    fn other_identifiers_carry_none() {
        let other = (0..100_000_u64).filter(|number| {
            let noise = u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64
                | u128::from(number.wrapping_mul(0xd6e8_feb8_6659_fd93));
            birth_home(&uuid::Builder::from_custom_bytes(noise.to_be_bytes()).into_uuid()).is_some()
        });
        assert!(other.count() < 20, "one in 65,536 by chance");
        assert_eq!(birth_home(&Uuid::from_u128(u128::MAX)), None);
        assert_eq!(birth_home(&Uuid::nil()), None);
    }
}
