//! Figures that someone will want to change, with their origin.

use std::time::Duration;

/// Attempts whose groups are made ahead of need. Two hide the whole cost; more only keep more groups around.
pub const GROUPS_AHEAD: usize = 2;

/// How long a process that the command left behind may take to go by itself before it counts as leaked: the
/// last of a pipeline is often on its way out when the shell has ended.
pub const LEAK_GRACE: Duration = Duration::from_millis(10);

/// Two requests to end within this are one: timeout(1) and shells signal their child and then its whole group.
pub const SAME_REQUEST: Duration = Duration::from_millis(300);

/// How long what was killed may take to go. An uninterruptible sleep (a dead disk, a frozen file system) can
/// last for ever; the slot is then retired and the run goes on.
pub const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// A group that keeps running out of memory with nothing killed for so long is killed: its processes carry
/// oom_score_adj -1000 and would spin at the limit for ever.
pub const STUCK_OOM: Duration = Duration::from_secs(1);

/// A spawn that takes longer is looked at: a child short of memory before its exec spins where no OOM killer takes
/// it. Spawns take a millisecond, in an emulated guest a hundred.
pub const STUCK_SPAWN: Duration = Duration::from_millis(500);

/// The fastest that memory was seen to fill, bytes a second: one process touching new pages.
pub const FILL_RATE: u64 = 2 << 30;

/// Limits that the kernel does not hold are looked at no more often than this.
pub const SAMPLE_FASTEST: Duration = Duration::from_millis(10);

/// And no less often. 64 sleeping jobs cost 1.6 % of a core at 200 ms, half of that at this.
pub const SAMPLE_SLOWEST: Duration = Duration::from_millis(400);

/// Attempts of a job that was ended for a reason that is not its own.
pub const MAX_EVICTIONS: u32 = 2;
