//! Ledgers closed with a site that is gone for good, so that a new site of its name is not taken for it: what had gone between it and another
//! stays in the other's ledger, as gone between that one and nobody ([`NOBODY`]).

use super::rows::LEDGER;
use crate::database::{Database, DatabaseExt, Queryable};
use crate::error::{Error, Result, SqlState};

/// The peer of closed lines: the name of no site.
const NOBODY: &str = "";
/// Lines that are closed in one transaction.
const LINES_AT_ONCE: usize = 50;

/// Closes what the ledgers of all sites have with a site that is gone. Where there are no escrowed counters it does nothing; it does no harm to
/// do it again.
///
/// # Errors
/// 08006 where a site can't be reached: do it again.
pub(in crate::database) async fn close_ledgers(db: &dyn Database, gone: &str) -> Result<()> {
    let find = format!("SELECT site, counter, entry, total FROM {LEDGER} WHERE peer = $1 LIMIT {LINES_AT_ONCE}");
    let add = format!(
        "INSERT INTO {LEDGER} (site, counter, peer, entry, total) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (site, counter, peer, entry) DO UPDATE SET total = {LEDGER}.total + excluded.total"
    );
    let remove = format!("DELETE FROM {LEDGER} WHERE site = $1 AND counter = $2 AND peer = $3 AND entry = $4");
    let mut attempts = db.retry_policy().start();
    loop {
        let tx = db.begin().await?;
        let closed = async {
            let lines: Vec<(String, String, String, i64)> = tx.query_as((find.as_str(), [gone.into()])).await?;
            for (site, counter, entry, total) in &lines {
                let (site, counter, entry) = (site.as_str(), counter.as_str(), entry.as_str());
                let line = [site.into(), counter.into(), NOBODY.into(), entry.into(), (*total).into()];
                tx.execute((add.as_str(), line)).await?;
                let line = [site.into(), counter.into(), gone.into(), entry.into()];
                tx.execute((remove.as_str(), line)).await?;
            }
            Ok::<_, Error>(lines.len())
        }
        .await;
        match super::ledger::finish(tx, closed, &mut attempts).await {
            Ok(Some(0)) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.state() == SqlState::UNDEFINED_TABLE => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
