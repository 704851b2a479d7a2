//! What Prometheus reads. Names by its rules: base units, `_total` for what only rises, one prefix.
//!
//! Counters are told what happened, gauges are set from the broker's [`Standing`] when somebody reads. Labels have few
//! values: verdicts, states, resources, and at most [`MOST_USERS`] users. docs/metrics.md has a line for each.
//!
//! - [`users`]: what single users have
//! - [`register`]: each kind of metric, made and registered

mod register;
mod users;

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::{
    CounterVec, Encoder, Gauge, GaugeVec, Histogram, IntCounter, IntCounterVec, Registry, TextEncoder,
};

use crate::model::governor::{Action, Decision, State};
use crate::model::reading::{Stall, Stalls};
use crate::model::view::UserView;
use crate::model::{Bytes, Outcome, Verdict};
use crate::policy::broker::{Hand, Standing, UserId};
use register::{counters, gauge, gauges, histogram, int_counter, int_counters};
pub use users::MOST_USERS;
use users::Users;

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const VERDICTS: [(Verdict, &str); 6] = [
    (Verdict::Pass, "pass"),
    (Verdict::Fail, "fail"),
    (Verdict::Flaky, "flaky"),
    (Verdict::Leak, "leak"),
    (Verdict::Infra, "infra"),
    (Verdict::Unseen, "unseen"),
];

const OUTCOMES: [(Outcome, &str); 7] = [
    (Outcome::Exited, "exited"),
    (Outcome::Signaled, "signaled"),
    (Outcome::Oom, "oom"),
    (Outcome::Pids, "pids"),
    (Outcome::Timeout, "timeout"),
    (Outcome::Evicted, "evicted"),
    (Outcome::SpawnFailed, "spawn-failed"),
];

const HANDS: [(Hand, &str); 3] = [(Hand::Pin, "pin"), (Hand::Unpin, "unpin"), (Hand::Kill, "kill")];

const STATES: [State; 4] = [State::Green, State::Yellow, State::Orange, State::Red];

/// From a grant in the same step to one that a job of half an hour was waited for.
const WAITS: [f64; 14] =
    [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 1800.0];

/// From a spawn with its group at hand to one on a machine that hardly moves.
const SETUPS: [f64; 12] = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0];

/// Why there are no metrics: a bug of ours, since all names are written down here.
#[derive(Debug, thiserror::Error)]
#[error("a metric can't be registered, or written")]
pub struct MetricsError(#[from] prometheus::Error);

/// All metrics of one broker, in a registry of its own.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    jobs: IntCounterVec,
    attempts: IntCounterVec,
    running: Gauge,
    waiting: Gauge,
    frozen: Gauge,
    held: Gauge,
    clients: Gauge,
    permits: Gauge,
    granted: IntCounter,
    holds: IntCounter,
    evictions: IntCounter,
    freezes: IntCounter,
    enforced: IntCounter,
    by_hand: IntCounterVec,
    state: GaugeVec,
    budget: Gauge,
    used: Gauge,
    reserved: Gauge,
    headroom: Gauge,
    stalled: CounterVec,
    admission: Histogram,
    setup: Histogram,
    users: Users,
    /// What was read last of each counter that the kernel counts.
    stalls: Stalls,
}

impl Metrics {
    /// A registry with all of them, at nothing.
    ///
    /// # Errors
    /// [`MetricsError`] if two have one name, or one is not a name.
    pub fn new() -> Result<Metrics, MetricsError> {
        let registry = Registry::new();
        let r = &registry;
        let build = gauges(r, "sandtest_build_info", "1 for the version of the program.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        let metrics = Metrics {
            jobs: int_counters(r, "sandtest_jobs_total", "Jobs that are done, by verdict.", &["verdict"])?,
            attempts: int_counters(
                r,
                "sandtest_attempts_total",
                "Attempts that have ended, by outcome.",
                &["outcome"],
            )?,
            running: gauge(r, "sandtest_jobs_running", "Jobs that run now, frozen ones too.")?,
            waiting: gauge(r, "sandtest_jobs_waiting", "Jobs that wait for a permit now.")?,
            frozen: gauge(r, "sandtest_jobs_frozen", "Jobs that stand still now.")?,
            held: gauge(
                r,
                "sandtest_jobs_held",
                "Jobs that wait although there is a place for them, or that the governor froze.",
            )?,
            clients: gauge(r, "sandtest_runs", "Runs that are there now, lost ones too.")?,
            permits: gauge(
                r,
                "sandtest_permits",
                "Permits that are held now, those for jobs that ride in another's room too.",
            )?,
            granted: int_counter(r, "sandtest_permits_granted_total", "Permits that were granted.")?,
            holds: int_counter(r, "sandtest_holds_total", "Times that the governor held starts.")?,
            evictions: int_counter(
                r,
                "sandtest_evictions_total",
                "Attempts that were evicted to make room.",
            )?,
            freezes: int_counter(r, "sandtest_freezes_total", "Times that the governor froze an attempt.")?,
            enforced: int_counter(
                r,
                "sandtest_enforcements_total",
                "Times that the broker did what a run had not done in time.",
            )?,
            by_hand: int_counters(
                r,
                "sandtest_orders_by_hand_total",
                "Times that users had a job of their own frozen, thawed or killed.",
                &["order"],
            )?,
            state: gauges(
                r,
                "sandtest_governor_state",
                "1 for the state that the governor is in, 0 for the others.",
                &["state"],
            )?,
            budget: gauge(
                r,
                "sandtest_budget_bytes",
                "What all jobs together may use now; infinite without a limit.",
            )?,
            used: gauge(r, "sandtest_used_bytes", "What all jobs hold now, without page cache.")?,
            reserved: gauge(r, "sandtest_reserved_bytes", "What all jobs that run are expected to come to.")?,
            headroom: gauge(
                r,
                "sandtest_headroom_bytes",
                "What is left before something is evicted; infinite without a limit.",
            )?,
            stalled: counters(
                r,
                "sandtest_pressure_stall_seconds_total",
                "Time in which some or all tasks waited for a resource (PSI).",
                &["scope", "resource", "kind"],
            )?,
            admission: histogram(
                r,
                "sandtest_admission_wait_seconds",
                "Time from a request to its permit.",
                &WAITS,
            )?,
            setup: histogram(r, "sandtest_setup_seconds", "Time from a permit to the exec.", &SETUPS)?,
            users: Users::new(r)?,
            stalls: Stalls::default(),
            registry,
        };
        // All that can be counted is there from the beginning: a counter that appears at 1 shows no increase.
        VERDICTS.iter().for_each(|(_, name)| drop(metrics.jobs.with_label_values(&[name])));
        OUTCOMES.iter().for_each(|(_, name)| drop(metrics.attempts.with_label_values(&[name])));
        HANDS.iter().for_each(|(_, name)| drop(metrics.by_hand.with_label_values(&[name])));
        metrics.stands(&State::Green);
        Ok(metrics)
    }

    /// A job is done.
    pub fn job_done(&self, verdict: Verdict) {
        if let Some((_, name)) = VERDICTS.iter().find(|(known, _)| *known == verdict) {
            self.jobs.with_label_values(&[name]).inc();
        }
    }

    /// An attempt has ended.
    pub fn attempt_ended(&self, outcome: Outcome) {
        if let Some((_, name)) = OUTCOMES.iter().find(|(known, _)| *known == outcome) {
            self.attempts.with_label_values(&[name]).inc();
        }
    }

    /// A permit was granted, after so long.
    pub fn granted(&self, waited: Duration) {
        self.granted.inc();
        self.admission.observe(waited.as_secs_f64());
    }

    /// The same, where several users are served.
    pub fn granted_to(&mut self, user: UserId, waited: Duration) {
        self.users.granted(user, waited);
    }

    /// Between a permit and the exec there was so much time.
    pub fn set_up(&self, took: Duration) {
        self.setup.observe(took.as_secs_f64());
    }

    /// The governor has decided something.
    pub fn decided(&self, decision: &Decision) {
        match decision.action {
            Action::Hold => self.holds.inc(),
            Action::Freeze => self.freezes.inc(),
            Action::Evict => self.evictions.inc(),
            Action::Release | Action::Thaw => {}
        }
    }

    /// A user wanted something of a job of its own, and had it.
    pub fn did_by_hand(&self, hand: Hand) {
        if let Some((_, name)) = HANDS.iter().find(|(known, _)| *known == hand) {
            self.by_hand.with_label_values(&[name]).inc();
        }
    }

    /// The broker did what a run had not done in time.
    pub fn enforced(&self) {
        self.enforced.inc();
    }

    /// How much goes on now.
    pub fn stand(&self, standing: &Standing) {
        let count = |count: usize| count as f64;
        self.running.set(count(standing.running));
        self.waiting.set(count(standing.waiting));
        self.frozen.set(count(standing.frozen));
        self.held.set(count(standing.held));
        self.clients.set(count(standing.clients));
        self.permits.set(count(standing.permits));
        self.budget.set(bytes(standing.budget));
        self.used.set(bytes(standing.used));
        self.reserved.set(bytes(standing.reserved));
        // Without a limit there is no line before which something could be left.
        let limited = standing.budget.0 != u64::MAX;
        self.headroom.set(if limited { bytes(standing.left) } else { f64::INFINITY });
        self.stands(&standing.state);
    }

    /// What each user has, where several are served.
    pub fn users(&mut self, users: &BTreeMap<UserId, UserView>) {
        self.users.stand(users);
    }

    /// What the kernel counts of who waited for what, as it was read.
    pub fn stalled(&mut self, stalls: &Stalls) {
        let scopes = [
            ("system", self.stalls.system, stalls.system),
            ("jobs", self.stalls.run, stalls.run),
            ("editor", self.stalls.editor, stalls.editor),
        ];
        for (scope, before, now) in scopes {
            // At first sight what was counted before is not ours to tell.
            let (Some(before), Some(now)) = (before, now) else { continue };
            for (resource, kind, of) in STALLS {
                let more = of(&now).saturating_sub(of(&before));
                self.stalled.with_label_values(&[scope, resource, kind]).inc_by(more.as_secs_f64());
            }
        }
        self.stalls = *stalls;
    }

    /// All of them, in Prometheus' text format.
    ///
    /// # Errors
    /// [`MetricsError`] if one of them can't be written.
    pub fn text(&self) -> Result<Vec<u8>, MetricsError> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    fn stands(&self, state: &State) {
        for other in STATES {
            self.state.with_label_values(&[other.as_str()]).set(f64::from(u8::from(other == *state)));
        }
    }
}

/// One of the times of a [`Stall`], with its labels.
type StallOf = (&'static str, &'static str, fn(&Stall) -> Duration);

const STALLS: [StallOf; 5] = [
    ("memory", "some", |stall| stall.memory_some),
    ("memory", "full", |stall| stall.memory_full),
    ("cpu", "some", |stall| stall.cpu_some),
    ("io", "some", |stall| stall.io_some),
    ("io", "full", |stall| stall.io_full),
];

fn bytes(bytes: Bytes) -> f64 {
    if bytes.0 == u64::MAX { f64::INFINITY } else { bytes.0 as f64 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::governor::Signal;

    fn standing() -> Standing {
        Standing {
            state: State::Orange,
            clients: 3,
            running: 12,
            frozen: 2,
            held: 5,
            permits: 13,
            waiting: 40,
            budget: Bytes::gib(8),
            used: Bytes::gib(6),
            reserved: Bytes::gib(7),
            left: Bytes::mib(512),
        }
    }

    fn user(number: u32, running: u64, mib: u64) -> (UserId, UserView) {
        let (memory, reserved) = (Bytes::mib(mib), Bytes::mib(2 * mib));
        (UserId(number), UserView { running, waiting: 1, memory, reserved, ..UserView::default() })
    }

    fn decision(action: Action) -> Decision {
        Decision {
            action,
            attempt: None,
            state: State::Red,
            signal: Signal::Memory,
            value: 0,
            line: 0,
            left: Bytes(0),
            budget: Bytes(0),
            filling: Bytes(0),
            held: 0,
        }
    }

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.text().unwrap()).unwrap()
    }

    #[test]
    fn all_of_it_as_prometheus_reads_it() {
        let mut metrics = Metrics::new().unwrap();
        metrics.stand(&standing());
        metrics.job_done(Verdict::Pass);
        metrics.job_done(Verdict::Flaky);
        metrics.attempt_ended(Outcome::Oom);
        metrics.granted(Duration::from_millis(3));
        metrics.set_up(Duration::from_micros(300));
        metrics.granted_to(UserId(1000), Duration::from_millis(3));
        for action in [Action::Hold, Action::Freeze, Action::Evict, Action::Release] {
            metrics.decided(&decision(action));
        }
        metrics.did_by_hand(Hand::Kill);
        metrics.users(&BTreeMap::from([user(1000, 7, 4096), user(1001, 5, 3072)]));
        let waited = |ms| Stall { memory_some: Duration::from_millis(ms), ..Stall::default() };
        for ms in [5000, 5250] {
            metrics.stalled(&Stalls { run: Some(waited(ms)), ..Stalls::default() });
        }
        insta::assert_snapshot!(text(&metrics));
    }

    #[test]
    fn every_metric_is_in_the_manual_and_no_other_is() {
        let mut metrics = Metrics::new().unwrap();
        metrics.users(&BTreeMap::from([user(1, 1, 1)]));
        metrics.stalled(&Stalls { system: Some(Stall::default()), ..Stalls::default() });
        metrics.stalled(&Stalls { system: Some(Stall::default()), ..Stalls::default() });
        let text = text(&metrics);
        let named = |line: &'static str| line.strip_prefix("| `")?.split(['`', '{']).next();
        let manual: BTreeSet<&str> =
            include_str!("../../docs/metrics.md").lines().filter_map(named).collect();
        let there: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        assert_eq!(manual, there);
    }

    /// The naming rules, as promtool has them.
    #[test]
    fn names_are_as_prometheus_wants_them() {
        let mut metrics = Metrics::new().unwrap();
        metrics.users(&BTreeMap::from([user(1, 1, 1)]));
        let text = text(&metrics);
        let mut kinds = 0;
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(name.starts_with("sandtest_"), "{name}");
                assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
                for unit in ["_ms", "_milliseconds", "_mib", "_percent", "_kb", "_count", "_sum", "_bucket"] {
                    assert!(!name.contains(unit), "{name}");
                }
                kinds += 1;
            } else if let Some(help) = line.strip_prefix("# HELP ") {
                assert!(help.split_once(' ').is_some_and(|(_, help)| help.ends_with('.')), "{help}");
            }
        }
        assert!(kinds >= 15, "{kinds}");
    }

    #[test]
    fn users_without_end_are_one_and_those_who_are_gone_are_none() {
        let mut metrics = Metrics::new().unwrap();
        let lines = |metrics: &Metrics, of: &str| {
            text(metrics).lines().filter(|line| line.starts_with(&format!("sandtest_user_{of}{{"))).count()
        };
        metrics.users(&(0..5000).map(|number| user(number, 1, 1)).collect());
        assert_eq!(lines(&metrics, "jobs_running"), MOST_USERS + 1);
        assert!(text(&metrics).contains("sandtest_user_jobs_running{user=\"other\"} 4950"));
        (0..5000).for_each(|number| metrics.granted_to(UserId(number), Duration::from_secs(1)));
        assert!(text(&metrics).contains("sandtest_user_permits_granted_total{user=\"other\"} 4950"));
        metrics.users(&BTreeMap::from([user(7, 1, 1)]));
        assert_eq!(lines(&metrics, "jobs_running"), 1);
        assert_eq!(lines(&metrics, "permits_granted_total"), MOST_USERS + 1, "what was counted stays");
    }

    #[test]
    fn without_a_limit_there_is_no_number_for_it() {
        let metrics = Metrics::new().unwrap();
        metrics.stand(&Standing { budget: Bytes(u64::MAX), left: Bytes(0), ..standing() });
        // As the crate writes it. Prometheus reads it in any case (strconv.ParseFloat).
        assert!(text(&metrics).contains("sandtest_budget_bytes inf\n"));
        assert!(text(&metrics).contains("sandtest_headroom_bytes inf\n"));
    }
}
