//! Figures that someone will want to change, with their origin.

use std::time::Duration;

/// Attempts whose groups are made ahead of need. Two hide the whole cost; more only keep more groups around.
pub const GROUPS_AHEAD: usize = 2;

/// The kernel tells how a process ended right after it has told its parent that it did: 394 of 394 were there at once.
pub const TOLD_WITHIN: Duration = Duration::from_millis(100);

/// So soon after a process was moved into a cgroup the next move does not wait for a grace period of RCU: measured, it takes
/// 5 to 60 us up to 15 ms after the last one, and 8 ms from 20 ms on.
pub const MOVES_STREAM: Duration = Duration::from_millis(5);

/// How long a process that the command left behind may take to go by itself before it counts as leaked: the
/// last of a pipeline is often on its way out when the shell has ended.
pub const LEAK_GRACE: Duration = Duration::from_millis(10);

/// So long after a build has held so many tokens of make's jobserver it is likely to take them again: make gives each
/// back between two commands.
pub const TOKENS_IDLE: Duration = Duration::from_secs(1);

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

/// Between the order to start and the exec so much may pass without being charged to the job's time: where hundreds
/// start at once they wait for their groups. An exec that hangs runs out of time after it.
pub const START_PATIENCE: Duration = Duration::from_secs(5);

/// The fastest that memory was seen to fill, bytes a second: one process touching new pages.
pub const FILL_RATE: u64 = 2 << 30;

/// Limits that the kernel does not hold are looked at no more often than this.
pub const SAMPLE_FASTEST: Duration = Duration::from_millis(10);

/// And no less often. 64 sleeping jobs cost 1.6 % of a core at 200 ms, half of that at this.
pub const SAMPLE_SLOWEST: Duration = Duration::from_millis(400);

/// And so often where the memory of all jobs together is near its ceiling.
pub const SAMPLE_NEAR: Duration = Duration::from_millis(30);

/// Without a governor: attempts of a job for which there was no room.
pub const MAX_EVICTIONS: u32 = 2;

/// What something outside has killed (the machine's OOM killer, systemd-oomd) runs again so often.
pub const MAX_FROM_OUTSIDE: u32 = 1;

// The governor's law. Where nothing else is said, the figures come from simulating the nine families of
// docs/design/governor.md.

/// How often the governor looks near the ceiling. At 20 ms suites took 2 % longer at the median, 7 % at p95.
pub const GOVERNOR_TICK: Duration = Duration::from_millis(10);

/// Two looks closer together than this tell nothing of a slope.
pub const SENSE_AT_LEAST: Duration = Duration::from_millis(4);

/// A job that has not grown for this part of its age has settled. 0.5 slows small suites, 0.15 kills more.
pub const SETTLED_AFTER: f64 = 0.25;

/// Standard deviations of what is to come that an admission leaves room for. Less is faster where memory is large and
/// slower where it is small: wide families 1.13 at 0.25 and 1.11 at -0.3 on average, the demonstration's mixes 1.06 and
/// 1.14.
pub const CAUTION: f64 = 0.1;

/// Of what running jobs will still take, so much is reserved: they do not all come to their peaks at the same time. Wide
/// median 1.051 at 0.8 and 1.040 at 0.7, with 3.7 and 5.2 evictions a case; 1.092 and 2.4 before.
pub const AT_ONCE: f64 = 0.8;

/// But all of it where the estimate is as certain as this part of it: jobs that are all alike do come to it. On a real
/// kernel 16 equal jobs took 1.21 of the ideal time without this, 1.00 with it.
pub const CERTAIN: f64 = 0.2;

/// Beyond the usual number a job starts where this part of the processors that it keeps busy is free: with all of it,
/// up to one of them idles. Wide median 1.126 with all, 1.091 with half.
pub const PROCESSORS_FREE: f64 = 0.5;

/// A job of which nothing is known and which still grows comes to this many times its size: for sizes of which no
/// scale is likelier than another the mean is proportional to the size.
pub const UNKNOWN_GROWTH: f64 = 1.7;

/// What is set aside for a job of which nothing is known, where many of them start at once. An ordinary test has less.
pub const UNKNOWN_SIZE: f64 = 256.0 * (1 << 20) as f64;

/// The same for a job that was evicted: times the size that it had then.
pub const EVICTED_GROWTH: f64 = 1.5;

/// What an older finished job tells, against the next newer one. At 0.9 the mean of the last ten decides, which is noise.
pub const FORGETTING: f64 = 0.97;

/// A bet is taken where it wins more than this part of what it may lose.
pub const BET: f64 = 0.7;

/// An imagined job that fits, in every bet: half of one (Laplace), so that a first large one does not decide all.
pub const HOPE: f64 = 0.5;

/// A job evicted so often runs alone. At 3 large jobs stand in line.
pub const ALONE_AFTER: u32 = 5;

/// An evicted job that has waited so long is not overtaken any more.
pub const EVICTED_PATIENCE: Duration = Duration::from_millis(500);

/// A job is frozen for at most as long as it has worked, and for this at least: waiting for longer costs more than
/// the work that an eviction loses (ski rental).
pub const SHORTEST_FREEZE: Duration = Duration::from_millis(100);

/// Candidates that are looked at in one step.
pub const CANDIDATES: usize = 60;

/// How often the governor looks where the ceiling is far.
pub const GOVERNOR_SLOWEST: Duration = Duration::from_millis(100);

/// And where nobody waits for anything. A look costs some 0.1 to 0.3 ms on a processor that has slept.
pub const GOVERNOR_AT_REST: Duration = Duration::from_millis(500);

/// A look comes after this part of the time in which the fastest hog would fill what is left.
pub const LOOKS_BEFORE_FULL: u32 = 10;

/// Memory as fast as this is kept free over the time to the next look, bytes a second.
pub const GUARD_RATE: f64 = 300.0 * (1 << 20) as f64;

/// What is kept free is at least this part of the budget, and at most that one.
pub const GUARD_LEAST: f64 = 0.005;
/// See [`GUARD_LEAST`].
pub const GUARD_MOST: f64 = 0.03;

/// Evicted so often, a job is no bet any more: 22 attempts of one job were seen without this.
pub const BETS_UNTIL: u32 = 2;

/// Each eviction makes the next one of the same job dearer by this.
pub const AGAIN: f64 = 3.0;

/// Pressure is measured over so long: shorter tells of a single hiccup.
pub const PRESSURE_WINDOW: Duration = Duration::from_secs(1);

/// So many pages a second that are read again right after they were given up are too many: at 50 us each, which is
/// what a good disk takes, somebody waits all of the time.
pub const REFAULTS: u64 = 20_000;

/// Processor use is measured over so long.
pub const CPU_WINDOW: Duration = Duration::from_millis(100);

/// A better state is shown only once it has lasted: a suite that just fits would change it with every job.
pub const STATE_LASTS: Duration = Duration::from_secs(1);

/// Nothing is decided by time across a gap like this between two looks: the machine was suspended, or we were
/// stopped.
pub const SUSPENDED: Duration = Duration::from_secs(5);

/// Growth by less than this and [`GROWN_LEAST`] is a trickle: a job that does no more has settled.
pub const GROWN: f64 = 1.02;
/// See [`GROWN`]: the kernel charges in batches of 64 pages a processor.
pub const GROWN_LEAST: f64 = (1 << 20) as f64;

/// What of a slope is still believed a look later, if the job did not grow: it may only have waited for a processor.
pub const SLOPE_FADES: f64 = 0.5;

/// So many finished jobs are remembered. What is older weighs less than a thousandth of the newest.
pub const REMEMBERED: usize = 400;

/// A job that stands still is believed to stay so, as if so many alike had: the first few that finish tell little of
/// late spikes. Wide median 1.067 at 2 and 1.060 at 4, with the same evictions.
pub const STAYS: f64 = 4.0;

/// So long before its time is up a first look is taken at an attempt: the diagnosis tells what it used since.
pub const GLANCE_BEFORE: Duration = Duration::from_secs(1);

/// A diagnosis that takes longer is not waited for. It stops by itself after 150 ms.
pub const DIAGNOSIS_PATIENCE: Duration = Duration::from_millis(500);

/// So long may it take to name and remove what an attempt left behind, beside processes.
pub const AFTERMATH_PATIENCE: Duration = Duration::from_secs(5);

/// Less than this part of a processor is no sign of life: a runtime's own timers and collectors use some thousandths.
pub const IDLE_CPU: f64 = 0.01;

/// An idle time-out is looked for so many times in its length: it comes at most a part of that late.
pub const IDLE_LOOKS: u32 = 20;
/// See [`IDLE_LOOKS`].
pub const IDLE_LOOK_SHORTEST: Duration = Duration::from_millis(10);
/// See [`IDLE_LOOKS`].
pub const IDLE_LOOK_LONGEST: Duration = Duration::from_secs(1);

/// Between looks at whether all of a job that has been asked to end has. Notices of `cgroup.events` come 10 ms late.
pub const GRACE_LOOK: Duration = Duration::from_millis(5);

// The broker's. Where nothing else is said, chosen for what they promise, and held by the tests of policy/broker.

/// Shares are level over about so long: what somebody has lacked for longer is not made up for. Some lengths of a job.
pub const SHARE_CREDIT: Duration = Duration::from_secs(5);

/// What somebody holds counts as if it were kept for so long still: who holds less is served before who has had less.
pub const SHARE_AHEAD: Duration = Duration::from_secs(1);

/// The first in line is overtaken by whoever fits for so long, and by nobody after that: small jobs fill memory,
/// and a large one of another user would never find its gap.
pub const OVERTAKEN_FOR: Duration = Duration::from_secs(2);

/// A user with nothing running whose first request was refused for so long has room made for it, if others have more
/// than their share. Before that some job has mostly ended by itself; jobs of minutes would keep it out for as long.
pub const HUNGRY_FOR: Duration = Duration::from_secs(1);

/// A batch run that nothing was granted to for so long counts as an interactive one, until its next grant.
pub const BATCH_AGES: Duration = Duration::from_secs(30);

/// How long a client may take to do what it is asked to, and then the broker's own freeze, before it is killed.
pub const CLIENT_PATIENCE: Duration = Duration::from_secs(2);

/// How long a client whose connection is lost, and which still lives, may take to come back. A restart takes a tenth.
pub const LOST_PATIENCE: Duration = Duration::from_secs(5);

/// How long a new broker waits for those that ran under the last one to tell what still runs. They come back within
/// 100 ms where the machine is not overloaded.
pub const RECOVERY_PATIENCE: Duration = Duration::from_secs(2);

/// Requests of one client that wait at once: as many as are looked at in a step, four times over.
pub const CLIENT_REQUESTS: usize = 4 * CANDIDATES;

/// A client is told no more often what it may count on, and why it waits.
pub const TELL_EVERY: Duration = Duration::from_secs(1);

/// And no more often how things stand: it changes with each look at the worst, a hundred times a second.
pub const STAND_EVERY: Duration = Duration::from_millis(100);

/// A run whose broker is gone starts nothing for so long, and then decides by itself: a restart takes a tenth.
pub const BY_ITSELF_AFTER: Duration = Duration::from_secs(1);

/// For so long a run that goes by itself counts on its broker to come back: what needs more than its share until then is
/// tried again and not given up.
pub const BROKER_BACK: Duration = Duration::from_secs(60);

/// A run whose request was not taken asks again after so long, if nothing happens before.
pub const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A run that is to say what its jobs hold does so this often near the ceiling: as often as the law looks there.
pub const SAID_NEAR: Duration = Duration::from_millis(10);

/// So many kins are remembered before those are forgotten that nobody has and that teach nothing any more.
pub const KINS: usize = 2 * REMEMBERED;

/// So many users are told apart where users are shown; the others are summed up. More fill a page without telling more.
pub const USERS_SHOWN: usize = 50;

/// So many jobs a user is shown, of all runs together; the others are counted. A line of the protocol holds about as many.
pub const JOBS_SHOWN: usize = 200;
