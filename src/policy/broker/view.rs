//! What a user is shown: own runs in full, of other users only counts and sizes.
//!
//! Made when somebody asks, and by going through all that runs: nothing is kept for it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Broker;
use super::client::{Client, InLine, Known, Lack, Phase};
use super::messages::{ClientId, UserId, Why};
use crate::model::view::{
    InsideView, JobState, JobView, Reason, RunView, UserView, View, WaitView, WaitsFor,
};
use crate::model::{AttemptId, Bytes, JobId};
use crate::policy::governor::Hold;
use crate::policy::tuning::{JOBS_SHOWN, USERS_SHOWN};

impl Broker {
    /// How things stand, for `user`.
    pub fn view(&self, now: Duration, user: UserId) -> View {
        let standing = self.standing();
        let limited = |bytes: Bytes| (bytes.0 != u64::MAX).then_some(bytes);
        let budget = limited(standing.budget);
        let (hold, held) = self.governor.holds();
        View {
            state: standing.state,
            reason: hold.map(Hold::told),
            budget,
            used: standing.used,
            reserved: standing.reserved,
            left: budget.and(limited(standing.left)),
            filling: self.governor.filling(),
            held,
            pressure: self.governor.pressure(now),
            runs: standing.clients as u64,
            running: standing.running as u64,
            frozen: standing.frozen as u64,
            waiting: standing.waiting as u64,
            users: self.view_users(now, user),
            own: self.view_runs(now, user),
        }
    }

    /// For how long a request had waited that was granted. `None` if it does not run.
    pub fn waited(&self, client: ClientId, id: AttemptId) -> Option<Duration> {
        let known = self.clients.get(&client)?.jobs.get(&id.job)?;
        let runs = matches!(known.phase, Phase::Running | Phase::Riding) && known.attempt == id.number;
        runs.then_some(known.waited)
    }

    /// What each user has, in no order.
    pub fn users(&self, now: Duration) -> BTreeMap<UserId, UserView> {
        let mut users: BTreeMap<UserId, UserView> = BTreeMap::new();
        for of in self.clients.values() {
            let sum = users.entry(of.who.user).or_insert(UserView { users: 1, ..UserView::default() });
            let (memory, frozen) = self.held(now, of);
            sum.runs += 1;
            sum.running += u64::from(of.permits);
            sum.frozen += frozen;
            sum.waiting += of.queue.len() as u64;
            sum.memory.0 += memory.0;
            sum.reserved.0 += of.memory.max(0.0) as u64;
        }
        users
    }

    /// The one who asks first, then who has most; those beyond what is shown as one.
    fn view_users(&self, now: Duration, user: UserId) -> Vec<UserView> {
        let mut users: Vec<UserView> =
            self.users(now).into_iter().map(|(id, has)| UserView { own: id == user, ..has }).collect();
        users.sort_by_key(|has| std::cmp::Reverse((has.own, has.reserved, has.running, has.waiting)));
        let rest = users.split_off(users.len().min(USERS_SHOWN));
        users.extend(rest.into_iter().reduce(|sum, has| UserView {
            own: false,
            users: sum.users + has.users,
            runs: sum.runs + has.runs,
            running: sum.running + has.running,
            frozen: sum.frozen + has.frozen,
            waiting: sum.waiting + has.waiting,
            memory: Bytes(sum.memory.0 + has.memory.0),
            reserved: Bytes(sum.reserved.0 + has.reserved.0),
        }));
        users
    }

    fn view_runs(&self, now: Duration, user: UserId) -> Vec<RunView> {
        let own = || self.clients.iter().filter(|(_, of)| of.who.user == user);
        let each = (JOBS_SHOWN / own().count().max(1)).max(1);
        own().map(|(client, of)| self.view_run(now, *client, of, each)).collect()
    }

    /// `most`: so many jobs are listed.
    fn view_run(&self, now: Duration, client: ClientId, of: &Client, most: usize) -> RunView {
        // Its place is found by comparing it with all others.
        let wait = (!of.queue.is_empty()).then(|| self.wait(now, client));
        let why = wait.map_or(Why::Turn, |wait| wait.why);
        let mut runs: Vec<(JobId, &Known)> = of.running().collect();
        runs.sort_by_key(|(job, known)| (known.since, *job));
        let running = runs.into_iter().map(|(job, known)| self.view_job(now, job, known));
        let waiting = (0..).zip(&of.queue).filter_map(|(place, request)| {
            let (job, waits) = (request.id().job, Some(waits_for(of, request, why)));
            Some(JobView { place: Some(place), waits, ..self.view_job(now, job, of.jobs.get(&job)?) })
        });
        let jobs: Vec<JobView> = running.chain(waiting).take(most).collect();
        let (memory, frozen) = self.held(now, of);
        let all = u64::from(of.permits) + of.queue.len() as u64;
        RunView {
            run: client.0,
            name: of.who.name.clone(),
            for_ms: ms(now.saturating_sub(of.since)),
            batch: !of.is_urgent(now),
            weight: of.account.weight(),
            parallel: of.who.parallel,
            lost: of.lost_since.is_some(),
            inside: of.who.inside.map(|(parent, job)| InsideView { run: parent.0, job }),
            ahead: wait.map(|wait| wait.ahead),
            waits: run_waits(of, why),
            running: u64::from(of.permits),
            frozen,
            waiting: of.queue.len() as u64,
            memory,
            reserved: Bytes(of.memory.max(0.0) as u64),
            unlisted: all - jobs.len() as u64,
            jobs,
        }
    }

    fn view_job(&self, now: Duration, job: JobId, known: &Known) -> JobView {
        let seen = self.governor.seen(now, known.number).filter(|_| known.phase != Phase::Riding);
        let runs = matches!(known.phase, Phase::Running | Phase::Riding);
        JobView {
            job,
            attempt: known.attempt,
            name: known.about.name.clone(),
            state: match known.phase {
                Phase::Riding => known.rides,
                _ => seen.map_or(JobState::Waiting, |seen| seen.state),
            },
            for_ms: ms(now.saturating_sub(known.since)),
            worked_ms: seen.filter(|_| runs).map(|seen| ms(seen.worked)),
            memory: seen.filter(|_| runs).map_or(Bytes(0), |seen| seen.memory),
            peak: seen.map_or(Bytes(0), |seen| seen.peak),
            expected: seen.map_or(Bytes(0), |_| self.governor.reserved_for(known.number)),
            limit: known.about.limit,
            cpus: seen
                .filter(|_| runs)
                .and_then(|seen| seen.cpus)
                .map(|cpus| (cpus.max(0.0) * 1000.0) as u64),
            evicted: seen.map_or(0, |seen| seen.evicted),
            place: None,
            waits: None,
        }
    }

    /// What the jobs of a client hold, and how many of them stand still.
    fn held(&self, now: Duration, of: &Client) -> (Bytes, u64) {
        let (mut memory, mut frozen) = (0, 0);
        for (_, known) in of.running() {
            let rides = known.phase == Phase::Riding;
            let seen = self.governor.seen(now, known.number).filter(|_| !rides);
            let state = seen.map_or(known.rides, |seen| seen.state);
            memory += seen.map_or(0, |seen| seen.memory.0);
            frozen += u64::from(matches!(state, JobState::Frozen | JobState::Pinned));
        }
        (Bytes(memory), frozen)
    }
}

impl Why {
    /// The same for people, and for those far away.
    pub fn told(self) -> WaitView {
        let of = |why| WaitView { why, reason: None };
        match self {
            Why::Held(hold) => WaitView { why: WaitsFor::Held, reason: Some(hold.told()) },
            Why::Turn => of(WaitsFor::Turn),
            Why::UserCap => of(WaitsFor::UserCap),
            Why::Recovering => of(WaitsFor::Recovering),
            Why::Overdue => of(WaitsFor::Overdue),
        }
    }
}

impl Hold {
    fn told(self) -> Reason {
        Reason { signal: self.signal, value: self.value.max(0.0) as u64, line: self.line.max(0.0) as u64 }
    }
}

/// What a run waits for: what the first of its jobs does that does not wait for its group alone. `None` if nothing waits.
fn run_waits(of: &Client, why: Why) -> Option<WaitView> {
    let grouped = |request: &&InLine| of.lack(request) == Some(Lack::Group);
    let first = of.queue.iter().find(|request| !grouped(request)).or(of.queue.front())?;
    Some(match of.lack(first) {
        Some(_) => WaitView { why: waits_for(of, first, why), reason: None },
        None => why.told(),
    })
}

fn waits_for(of: &Client, request: &InLine, why: Why) -> WaitsFor {
    match of.lack(request) {
        Some(Lack::Group) => WaitsFor::Group,
        Some(Lack::Places) => WaitsFor::Places,
        None => why.told().why,
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
