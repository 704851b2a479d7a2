//! What an attempt left beside processes, which are gone by now.
//!
//! ```text
//! its TMPDIR ── as new? ── yes ──▶ serves again
//!                 │ no: what is in it is named and removed           } aside, and only
//! shared memory, mounts ── anything new? ── told at the right end    } where there is something
//! what its group is still charged ── more than any group? ── shared memory of it
//! ```

use super::attempt::Shared;
use super::live::Live;
use super::outlast::Ripe;
use super::temporary::Lent;
use crate::model::{AttemptId, Bytes, Leftovers};
use crate::policy::tuning::AFTERMATH_PATIENCE;

/// Finds it, and removes what was the attempt's own. `killed`: we ended it ourselves, so the files that it had no time
/// to remove don't count.
pub(super) async fn find(
    shared: &Shared,
    id: AttemptId,
    live: &Live,
    scratch: Option<Lent>,
    killed: bool,
    memory_peak: Option<Bytes>,
) -> Leftovers {
    let marked = scratch.and_then(Lent::give_back);
    let ripe = shared.outlast.borrow_mut().ended(id);
    let mut left = Leftovers::default();
    if marked.is_some() || ripe.is_some() {
        shared.exited(id);
        let aside = tokio::task::spawn_blocking(move || {
            (marked.and_then(Lent::remove), ripe.map(Ripe::left).unwrap_or_default())
        });
        // Who uses an object is asked of all processes, and one that hangs may hang who looks at it: then nothing is
        // told, and the end of the run removes the files.
        let found = tokio::time::timeout(AFTERMATH_PATIENCE, aside).await;
        (left.files, left.objects) = found.ok().and_then(Result::ok).unwrap_or_default();
    }
    left.files = left.files.filter(|files| !killed || files.kept.is_some());
    // Last: files in a tmpfs that were just removed are charged no more.
    left.memory = live.group.memory_left(memory_peak);
    left
}
