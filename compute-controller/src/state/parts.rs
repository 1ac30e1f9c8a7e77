//! Work on many rows in as few transactions as the store takes.

use rome_core::{Result, SqlState};
use std::sync::Arc;

/// Runs `work`, one transaction, on all items; where the store finds that too large, on each half of them, and so on. What the parts gave, in order.
///
/// # Errors
/// The first error that halving does not help against. Parts that came before it are done.
pub async fn in_parts<T, R, F, W>(items: Vec<T>, work: F) -> Result<Vec<R>>
where
    T: Clone,
    F: Fn(Arc<[T]>) -> W,
    W: Future<Output = Result<R>>,
{
    let mut waiting: Vec<Arc<[T]>> = vec![items.into()];
    let mut done = Vec::new();
    while let Some(part) = waiting.pop() {
        match work(Arc::clone(&part)).await {
            Ok(result) => done.push(result),
            Err(error) if error.state() == SqlState::PROGRAM_LIMIT_EXCEEDED && part.len() > 1 => {
                let (first, second) = part.split_at(part.len() / 2);
                waiting.push(second.into());
                waiting.push(first.into());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rome_core::Error;

    #[tokio::test]
    async fn halves_until_it_fits_and_keeps_the_order() {
        let at_most_three = |part: Arc<[u8]>| async move {
            if part.len() > 3 {
                Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "too large"))
            } else {
                Ok(part.to_vec())
            }
        };
        let parts = in_parts((0..10).collect(), at_most_three).await.unwrap();
        assert_eq!(parts.concat(), (0..10).collect::<Vec<u8>>());
        let never = |_: Arc<[u8]>| async { Err::<(), _>(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "too large")) };
        assert!(in_parts(vec![1, 2], never).await.is_err());
    }
}
