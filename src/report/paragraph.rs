//! What happened in one paragraph: which limit, what peak, which line of which profile set it, what to change.

use std::time::Duration;

use super::left;
use crate::model::event::{AttemptFinished, Event};
use crate::model::profile::Origin;
use crate::model::{Cause, Enforcement, Exit, Isolation, LimitName, Outcome, Profile, Verdict};

/// signal(7).
const SIGKILL: i32 = 9;

/// Held back for less than this, nobody waited for the processor.
const WORTH_TELLING: Duration = Duration::from_millis(100);

/// Puts what happened into words, once for all reports.
#[derive(Debug)]
pub struct Words {
    profile: Profile,
    /// What the first event said.
    isolation: Option<Isolation>,
}

impl Words {
    /// Of a run by this profile.
    pub fn new(profile: &Profile) -> Words {
        Words { profile: profile.clone(), isolation: None }
    }

    /// What happened, if the event is the end of an attempt that did not simply pass.
    pub fn of(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::RunStarted(started) => {
                self.isolation = Some(started.isolation.clone());
                None
            }
            Event::AttemptFinished(attempt) => explain(attempt, self.isolation.as_ref()?, &self.profile),
            _ => None,
        }
    }
}

/// Explains an attempt that did not simply pass. `None` if there is nothing to explain.
fn explain(attempt: &AttemptFinished, isolation: &Isolation, profile: &Profile) -> Option<String> {
    let teller = Teller { attempt, isolation, profile };
    let mut sentences = match attempt.outcome {
        Outcome::Oom => teller.oom(),
        Outcome::Pids => teller.pids(),
        Outcome::Timeout => teller.timeout(),
        Outcome::Evicted => teller.evicted(),
        Outcome::SpawnFailed => teller.spawn_failed(),
        Outcome::Signaled => teller.signaled(),
        Outcome::Exited => teller.exited(),
    };
    if let Some(test) = attempt.test.as_ref().filter(|_| !sentences.is_empty()) {
        sentences.insert(1, format!("It was at {test}."));
    }
    sentences.extend(teller.left_behind());
    sentences.extend(teller.tried_again());
    (!sentences.is_empty()).then(|| sentences.join(" "))
}

struct Teller<'a> {
    attempt: &'a AttemptFinished,
    isolation: &'a Isolation,
    profile: &'a Profile,
}

impl Teller<'_> {
    fn oom(&self) -> Vec<String> {
        if self.attempt.cause == Cause::Budget {
            return vec![
                format!(
                    "oom: it needed more, with all that it started, than {}{}.",
                    self.budget(),
                    self.peak()
                ),
                "Give the budget more (memory_max under budget: in the profile, or a smaller reserve), or make it need less."
                    .into(),
            ];
        }
        let limit = self.attempt.limits.memory_max.map_or("max".into(), |limit| limit.to_string());
        let who = match self.isolation.memory_max {
            Enforcement::Sampled => "sandtest killed it when it measured more than its memory_max",
            _ if self.attempt.evidence.sampled_over.is_some() => {
                "it hung where the kernel would kill nothing of it, so sandtest killed it, at its own memory_max"
            }
            _ if self.attempt.spawn_error.is_some() => "it can't even be started within its memory_max",
            _ => "the kernel OOM-killed it at its own memory_max",
        };
        vec![
            format!("oom: {who} of {limit} ({}){}.", self.set_by("job.memory_max", "--memory"), self.peak()),
            format!(
                "Give it more ({}), or make it need less.",
                self.ways("job.memory_max", "--memory", "memory_max")
            ),
        ]
    }

    fn pids(&self) -> Vec<String> {
        let limit = self.attempt.limits.pids_max.map_or("max".into(), |limit| limit.to_string());
        if self.attempt.cause == Cause::Budget {
            let budget = self.profile.budget.pids_max.map_or("max".into(), |budget| budget.to_string());
            let set_by = self.set_by("budget.pids_max", "the profile");
            return vec![format!(
                "pids: it needed more processes and threads, with all that it started, than all jobs together may have, {budget} ({set_by})."
            )];
        }
        let set_by = self.set_by("job.pids_max", "--pids");
        let first = match (self.isolation.pids_max, self.attempt.evidence.pids_max_events) {
            (Enforcement::Sampled, _) => {
                format!(
                    "pids: sandtest killed it when it counted more processes and threads than its pids_max of {limit} ({set_by})."
                )
            }
            (_, refused) => {
                let times = match refused {
                    Some(1) => "once".into(),
                    Some(count) => format!("{count} times"),
                    None => "at least once".into(),
                };
                format!(
                    "pids: the kernel refused a new process or thread {times}: pids_max is {limit} ({set_by})."
                )
            }
        };
        let ways = self.ways("job.pids_max", "--pids", "pids_max");
        vec![first, format!("Threads count too. Give it more ({ways}).")]
    }

    fn timeout(&self) -> Vec<String> {
        match self.attempt.cause {
            Cause::Idle => return self.idle(),
            Cause::RunTimeout => return vec![self.run_timeout()],
            _ => {}
        }
        let limit = self.attempt.timeout.map_or("its time".into(), short);
        let used = self
            .attempt
            .evidence
            .cpu_time
            .map(|cpu| format!(", in which it used {} of processor time", short(cpu)));
        let mut told = vec![format!(
            "timeout: it was stopped after {limit} ({}){}.",
            self.set_by("job.timeout", "--timeout"),
            used.unwrap_or_default()
        )];
        let throttled = self.attempt.evidence.cpu_throttled.unwrap_or_default();
        if throttled > WORTH_TELLING {
            let set_by = self.set_by("job.cpu_max", "--cpus");
            told.push(format!("Its cpu_max ({set_by}) held it back for {} of that.", short(throttled)));
        }
        told.push(format!("Give it longer ({}).", self.ways("job.timeout", "--timeout", "timeout")));
        told
    }

    fn idle(&self) -> Vec<String> {
        let limit = self.attempt.idle_timeout.map_or("its idle time".into(), short);
        // Of output that is passed through nothing is known.
        let wrote = if self.attempt.output.is_some() { " and wrote nothing" } else { "" };
        vec![
            format!(
                "timeout: it was stopped since it used no processor{wrote} for {limit} ({}).",
                self.set_by("job.idle_timeout", "--idle-timeout")
            ),
            format!(
                "Give it longer ({}) if it may be so quiet.",
                self.ways("job.idle_timeout", "--idle-timeout", "idle_timeout")
            ),
        ]
    }

    fn run_timeout(&self) -> String {
        let limit = self.profile.run_timeout.map_or("its time".into(), short);
        format!(
            "timeout: the time of the whole run, {limit}, was up ({}).",
            self.set_by("run_timeout", "--run-timeout")
        )
    }

    fn tried_again(&self) -> Option<String> {
        let delay = self.attempt.retry_in?;
        let after = if delay.is_zero() { String::new() } else { format!(" in {}", short(delay)) };
        Some(format!("It is tried again{after}."))
    }

    /// What all jobs together could have: the profile's figure, or the less that the machine had left.
    fn budget(&self) -> String {
        let by = self.set_by("budget.memory_max", "the profile");
        match (self.profile.budget.memory_max, self.attempt.evidence.budget_max) {
            (budget, Some(had)) if budget.is_none_or(|budget| had < budget) => {
                let most = budget
                    .map_or(String::new(), |budget| format!(", less than the {budget} of the budget ({by})"));
                format!("the {had} that was left for all jobs of this run then{most}")
            }
            (budget, _) => {
                let budget = budget.map_or("max".into(), |budget| budget.to_string());
                format!("the budget of all jobs together, {budget} ({by})")
            }
        }
    }

    fn evicted(&self) -> Vec<String> {
        let driven = self.attempt.driver.is_some();
        if self.attempt.cause == Cause::Filled {
            return vec![
                format!("evicted: it ran alone and met the end of {}{}.", self.budget(), self.peak()),
                "No process holds the rest: files in tmpfs or shared memory that earlier jobs left, most likely.".into(),
            ];
        }
        let again = match self.attempt.verdict {
            None => "It runs again.",
            Some(_) if driven => "To the command that started it, it has failed.",
            Some(_) if self.must_not_run_twice() => "It must not run twice (restartable: no).",
            Some(_) => "It has been tried often enough.",
        };
        let evidence = &self.attempt.evidence;
        let some = |count: Option<u64>| count.is_some_and(|count| count > 0);
        let (for_memory, for_tasks) = (some(evidence.oom_kill), some(evidence.pids_max_events));
        if self.attempt.cause == Cause::Budget && !for_memory && !for_tasks {
            let held = evidence.memory_peak.map_or(String::new(), |peak| format!(", it held {peak}"));
            let why = "of all that ran it had the least work to lose";
            return vec![format!("evicted to make room: {why}{held}."), again.into()];
        }
        let first = match self.attempt.cause {
            Cause::Broker => {
                let why = "the broker killed it, since this run did not do in time what it was asked to";
                return vec![format!("evicted: {why} (was it stopped?)."), again.into()];
            }
            Cause::Outside if some(evidence.oomd_ooms) => {
                "evicted: an OOM daemon (systemd-oomd) killed it for want of memory on this machine.".into()
            }
            Cause::Budget if !for_memory => format!(
                "evicted: all jobs together had as many processes and threads as they may ({}), not this job alone.",
                self.set_by("budget.pids_max", "the profile")
            ),
            _ if !for_memory => "evicted: it was refused new processes or threads by a limit above sandtest's group.".into(),
            // What would show by running it alone is not known of it.
            Cause::Budget if self.must_not_run_twice() => format!(
                "evicted: it and what ran beside it, or had left memory behind, came to more than {}{}.",
                self.budget(),
                self.peak()
            ),
            Cause::Budget => format!(
                "evicted: all jobs together came to more than {}, not this job alone.",
                self.budget()
            ),
            _ => "evicted: the kernel killed it for want of memory outside of this run: the machine's, or a limit above sandtest's group.".into(),
        };
        let hint = "Fewer jobs at once (-j) or a smaller reserve leave each of them more.";
        vec![first, again.into(), hint.into()]
    }

    fn must_not_run_twice(&self) -> bool {
        self.attempt.verdict.is_some() && self.attempt.driver.is_none() && self.attempt.attempt.id.number == 1
    }

    fn spawn_failed(&self) -> Vec<String> {
        let message =
            self.attempt.spawn_error.as_ref().map_or("it could not be started", |error| &error.message);
        vec![format!("not started: {message}.")]
    }

    fn signaled(&self) -> Vec<String> {
        let number = match self.attempt.exit {
            Some(Exit::Signal(number)) => number,
            // No child of ours: what we did to it is all that is known.
            _ if self.attempt.driver.is_some() && !self.attempt.evidence.unkillable => SIGKILL,
            _ => return vec!["lost: it could not be killed and its end was not seen.".into()],
        };
        let why = match self.attempt.cause {
            Cause::Interrupted => Some("interrupted: ended by {} when the run was asked to end."),
            Cause::ByHand => Some("killed by hand (sandtest top)."),
            Cause::Abandoned => {
                Some("abandoned: killed with {}, since the command that had started it was over.")
            }
            Cause::CommandTimeout => {
                Some("stopped: ended by {}, since the time of the command that had started it was up.")
            }
            Cause::MaxFail => {
                Some("ended by {}, since others had failed and the run was to end (--max-fail).")
            }
            _ => None,
        };
        if let Some(why) = why {
            return vec![why.replace("{}", &signal_name(number))];
        }
        let mut told = vec![format!("signaled: {} ended it.", signal_name(number))];
        if number == SIGKILL && self.attempt.evidence.oom_kill == Some(0) {
            told.push("No OOM kill was counted in its cgroup, so somebody sent it.".into());
        }
        told
    }

    fn exited(&self) -> Vec<String> {
        match self.attempt.exit {
            Some(Exit::Code(0)) => vec![],
            None if self.attempt.evidence.unkillable => vec![],
            // No child of ours, and an older kernel.
            None => vec!["unseen: only its driver saw how it ended (the kernel told nobody else).".into()],
            Some(Exit::Code(code)) => vec![format!("exited with code {code}{}.", self.peak())],
            Some(Exit::Signal(number)) => vec![format!("signaled: {} ended it.", signal_name(number))],
        }
    }

    fn left_behind(&self) -> Vec<String> {
        let evidence = &self.attempt.evidence;
        // Half of all suites do this, and it is nothing to anyone: the summary counts them.
        let counts = self.attempt.failed || self.attempt.retry_in.is_some();
        let rubbish = !counts && evidence.left_only_rubbish();
        let mut told = if rubbish { Vec::new() } else { left::sentences(evidence) };
        if evidence.unkillable {
            told.push(
                "unkillable: a process of it is in an uninterruptible sleep; its slot is not used again."
                    .into(),
            );
        }
        told
    }

    fn peak(&self) -> String {
        self.attempt.evidence.memory_peak.map_or(String::new(), |peak| format!("; its peak was {peak}"))
    }

    /// How to change a key: a rule that sets it beats the profile.
    fn ways(&self, key: &str, option: &str, name: &str) -> String {
        match self.attempt.origins.get(key) {
            // Raised for what it is said to need.
            Some(Origin { line: 0, .. }) => format!("memory: on its line or in its rule, or {option}"),
            Some(_) => format!("{option}, or {name} in that rule"),
            None => format!("{option}, or {name} under job: in the profile"),
        }
    }

    /// Who set a key: a line of a file, or an option.
    fn set_by(&self, key: &str, otherwise: &str) -> String {
        match self.attempt.origins.get(key).or_else(|| self.profile.origins.get(key)) {
            Some(Origin { line: 0, text, .. }) => format!("set by {text}"),
            Some(origin) => format!("set by {origin}"),
            None => format!("set by {otherwise}"),
        }
    }
}

/// What an attempt failed of, in a word or two.
pub fn in_a_word(attempt: &AttemptFinished, verdict: Verdict) -> String {
    match (attempt.outcome, attempt.exit) {
        _ if verdict == Verdict::Flaky => "flaky".into(),
        _ if verdict == Verdict::Unseen => "unseen".into(),
        (Outcome::Oom, _) => "oom".into(),
        (Outcome::Pids, _) => "pids".into(),
        (Outcome::Timeout, _) => "timeout".into(),
        (Outcome::Evicted, _) => "evicted".into(),
        (Outcome::SpawnFailed, _) => "spawn-failed".into(),
        (_, Some(Exit::Code(0))) => "leak".into(),
        (_, Some(Exit::Code(code))) => format!("exit code {code}"),
        (_, Some(Exit::Signal(number))) => signal_name(number),
        (_, None) => "lost".into(),
    }
}

/// The first sentence of what was told, without its stop.
pub fn first_sentence(told: &str) -> &str {
    let line = told.lines().next().unwrap_or_default();
    line.split_once(". ").map_or(line.trim_end_matches('.'), |(first, _)| first)
}

/// A duration in the unit that reads best.
pub fn short(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match duration.as_secs() {
        0 if duration < Duration::from_millis(100) => format!("{:.1}ms", seconds * 1000.0),
        0 => format!("{:.0}ms", seconds * 1000.0),
        1..=99 => format!("{seconds:.2}s"),
        100..=3599 => format!("{}m {:02}s", duration.as_secs() / 60, duration.as_secs() % 60),
        _ => format!("{}h {:02}m", duration.as_secs() / 3600, duration.as_secs() / 60 % 60),
    }
}

/// `SIGKILL` for 9 (signal(7), x86 and most others).
pub fn signal_name(number: i32) -> String {
    const NAMES: [&str; 32] = [
        "",
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    let name =
        usize::try_from(number).ok().and_then(|number| NAMES.get(number)).filter(|name| !name.is_empty());
    name.map_or_else(|| format!("signal {number}"), |name| (*name).to_owned())
}

/// The limits that nobody holds and those that are only measured, in words; `None` if the kernel holds all.
pub fn not_held(isolation: &Isolation) -> Option<String> {
    let list = |names: Vec<LimitName>| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    let (sampled, none) = (isolation.held_by(Enforcement::Sampled), isolation.held_by(Enforcement::None));
    let parts = [(sampled, "measured by sandtest, not held by the kernel"), (none, "not enforced")];
    let told: Vec<String> = parts
        .into_iter()
        .filter(|(names, _)| !names.is_empty())
        .map(|(names, how)| {
            format!("{} {} {how}", list(names.clone()), if names.len() == 1 { "is" } else { "are" })
        })
        .collect();
    (!told.is_empty()).then(|| told.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_the_unit_that_reads_best() {
        for (ms, wanted) in
            [(3, "3.0ms"), (340, "340ms"), (1500, "1.50s"), (125_000, "2m 05s"), (7_260_000, "2h 01m")]
        {
            assert_eq!(short(Duration::from_millis(ms)), wanted);
        }
    }

    #[test]
    fn signals_have_names() {
        assert_eq!(signal_name(11), "SIGSEGV");
        assert_eq!(signal_name(40), "signal 40");
        assert_eq!(signal_name(-1), "signal -1");
    }
}
