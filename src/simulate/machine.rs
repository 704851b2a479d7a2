//! A machine in virtual time: memory, processors, swap, an editor, a neighbour, and the attempts that run on it.
//!
//! ```text
//! memory = other + editor + neighbour - swapped + run                     page cache fills what is free
//! run at its cap        ─▶ the kernel kills the largest of the run        (budget)
//! job at its own limit  ─▶ the kernel kills it                            (own)
//! memory full           ─▶ swap, slowly ─▶ the kernel kills by oom_score  (outside; or the editor)
//! ```
//!
//! Between two events everything moves in straight lines, so it goes from event to event and meets each crossing
//! exactly. Who waits for memory in the kernel (its cap is full and the victim still dies) makes no progress.

use std::time::Duration;

use super::curve::Curve;
use super::job::{Death, Live, Plan, State};
use super::random::Random;
use crate::model::reading::{JobReading, Reading, Stall, Stalls};
use crate::model::{AttemptId, Bytes, Evidence, Exit};
use crate::policy::scheduler::{End, Input};

/// What a machine is made of. Sizes in bytes, times in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Hardware {
    /// RAM.
    pub memory: f64,
    /// Logical processors.
    pub cpus: u32,
    /// Kernel and whatever else never changes.
    pub other: f64,
    /// The editor, oom_score_adj 300.
    pub editor: Curve,
    /// Some other program, oom_score_adj 0.
    pub neighbour: Curve,
    /// Where memory goes when there is none left.
    pub swap: Swap,
    /// Whether the kernel tells who waits.
    pub psi: bool,
    /// Looks come late by up to this.
    pub late: f64,
    /// A freeze takes from this to that.
    pub freeze: (f64, f64),
    /// Kills take up to so many times longer than the kernel at its best.
    pub kill: f64,
}

/// Where memory goes when there is none left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Swap {
    /// Nowhere.
    None,
    /// To a disk of this size.
    Disk(f64),
    /// Compressed to a third, into memory.
    Zram(f64),
}

impl Swap {
    fn size(self) -> f64 {
        match self {
            Swap::None => 0.0,
            Swap::Disk(size) | Swap::Zram(size) => size,
        }
    }

    /// Part of a swapped byte that comes free.
    fn gain(self) -> f64 {
        if matches!(self, Swap::Zram(_)) { 1.0 - 1.0 / 3.0 } else { 1.0 }
    }

    /// Bytes a second.
    fn rate(self) -> f64 {
        if matches!(self, Swap::Zram(_)) { 1.5 * GIB } else { 0.25 * GIB }
    }
}

pub(super) const MIB: f64 = (1 << 20) as f64;
pub(super) const GIB: f64 = (1u64 << 30) as f64;

/// Sizes nearer to a line than this are at it.
const AT_LINE: f64 = 64.0;
/// A process is given back so fast, bytes a second.
const FREED: f64 = 20.0 * GIB;
/// And it takes at least so long.
const DEATH: f64 = 0.002;
/// From the order to start until exec.
const BIRTH: (f64, f64) = (0.0005, 0.002);
/// Of the editor and the neighbour this part can be swapped out.
const SWAPPABLE: f64 = 0.8;

/// What the machine had to suffer.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tolls {
    /// The whole machine was out of memory: the law has failed.
    pub machine_out: u32,
    /// And the editor paid for it.
    pub editor_killed: u32,
    /// Kills in the run because its cap was full.
    pub budget_kills: u32,
    /// Seconds that jobs were frozen.
    pub frozen: f64,
    /// Seconds of work that kills have undone.
    pub lost: f64,
    /// The most that was swapped out.
    pub swapped: f64,
}

/// The machine as it is now.
#[derive(Debug)]
pub struct Machine {
    pub(super) hardware: Hardware,
    pub(super) plans: Vec<Plan>,
    pub(super) live: Vec<Live>,
    pub(super) now: f64,
    /// The run's `memory.max`.
    pub(super) cap: f64,
    pub(super) swapped: f64,
    /// Memory of the run that nobody can take back: of all that live, in their order.
    run: f64,
    /// Page cache of the run, those that have ended too.
    cache: f64,
    /// Their own time: they stand still while memory is out.
    editor_age: f64,
    neighbour_age: f64,
    pub(super) editor_lives: bool,
    pub(super) neighbour_lives: bool,
    stalls: Waits,
    random: Random,
    /// What it had to suffer.
    pub tolls: Tolls,
}

#[derive(Debug, Default)]
struct Waits {
    memory_some: f64,
    memory_full: f64,
    editor_cpu: f64,
    editor_memory: f64,
}

/// How things move until the next event.
struct Flow {
    /// Part of full speed at which whatever grows goes; of the run, and of the others.
    for_run: f64,
    throttle: f64,
    /// Growth of the run, and of the whole machine, bytes a second.
    run: f64,
    whole: f64,
    swapping: bool,
}

impl Flow {
    /// Part of its share at which an attempt goes: only who grows waits for memory.
    fn speed(&self, live: &Live) -> f64 {
        if live.slope() > 0.0 { self.for_run } else { 1.0 }
    }
}

impl Machine {
    /// A machine at time 0 on which nothing of the run lives yet.
    pub fn new(hardware: Hardware, plans: Vec<Plan>, budget: Option<f64>, seed: u64) -> Machine {
        Machine {
            hardware,
            plans,
            live: Vec::new(),
            now: 0.0,
            cap: budget.unwrap_or(f64::INFINITY),
            swapped: 0.0,
            run: 0.0,
            cache: 0.0,
            editor_age: 0.0,
            neighbour_age: 0.0,
            editor_lives: true,
            neighbour_lives: true,
            stalls: Waits::default(),
            random: Random::new(seed),
            tolls: Tolls::default(),
        }
    }

    /// The time.
    pub fn now(&self) -> f64 {
        self.now
    }

    /// How late the next look comes.
    pub fn lateness(&mut self) -> f64 {
        if self.hardware.late > 0.0 { self.random.between(0.0, self.hardware.late) } else { 0.0 }
    }

    /// Starts an attempt.
    pub fn start(&mut self, id: AttemptId) {
        let at = self.now + self.random.between(BIRTH.0, BIRTH.1);
        self.live.push(Live::new(id, &self.plans[id.job.0 as usize], at));
    }

    /// Lets it stand still, soon.
    pub fn freeze(&mut self, id: AttemptId) {
        let (soonest, latest) = self.hardware.freeze;
        let at = self.now + self.random.between(soonest, latest);
        if let Some(live) = self.find(id)
            && live.state == State::Running
        {
            live.state = State::Freezing { at };
        }
    }

    /// Lets it go on.
    pub fn thaw(&mut self, id: AttemptId) {
        if let Some(live) = self.find(id)
            && matches!(live.state, State::Freezing { .. } | State::Frozen)
        {
            live.state = State::Running;
        }
        self.share();
    }

    /// Kills it.
    pub fn kill(&mut self, id: AttemptId) {
        if let Some(at) = self.live.iter().position(|live| live.id == id) {
            self.die(at, Death::Ordered);
        }
    }

    /// Sets the run's `memory.max`.
    pub fn set_cap(&mut self, cap: f64) {
        self.cap = cap;
    }

    /// Goes on until something happens that the law is told, at most until `until`.
    pub fn advance(&mut self, until: f64) -> Vec<Input> {
        loop {
            let flow = self.flow();
            let next = self.next_event(&flow, until).max(self.now);
            self.pass(next - self.now, &flow);
            self.now = next;
            let happened = self.settle();
            if !happened.is_empty() || self.now >= until {
                return happened;
            }
        }
    }

    /// What the sensors say now.
    pub fn reading(&self) -> Reading {
        let bytes = |size: f64| Bytes(size.max(0.0) as u64);
        let (run, free) = (self.run(), self.free().max(0.0));
        let time = Duration::from_secs_f64;
        let job = |live: &Live| JobReading {
            id: live.id,
            memory: bytes(live.memory),
            cpu: Some(time(live.cpu_time)),
        };
        let waits = &self.stalls;
        let system = Stall {
            memory_some: time(waits.memory_some),
            memory_full: time(waits.memory_full),
            ..Stall::default()
        };
        let editor = Stall {
            memory_some: time(waits.editor_memory),
            cpu_some: time(waits.editor_cpu),
            ..Stall::default()
        };
        let stalls = match self.hardware.psi {
            true => Stalls { system: Some(system), run: None, editor: Some(editor) },
            false => Stalls::default(),
        };
        Reading {
            usage: bytes(run),
            charged: bytes(run + self.cache.min(free).min((self.cap - run).max(0.0))),
            available: Some(bytes(free)),
            jobs: self.live.iter().map(job).collect(),
            stalls,
            cap: self.cap.is_finite().then(|| bytes(self.cap)),
            refaults: None,
            high: None,
        }
    }

    /// Attempts that live.
    pub fn count(&self) -> usize {
        self.live.len()
    }

    /// Of them, those that stand still.
    pub fn frozen(&self) -> usize {
        self.live.iter().filter(|live| matches!(live.state, State::Freezing { .. } | State::Frozen)).count()
    }

    /// Memory of the run that nobody can take back.
    pub fn run(&self) -> f64 {
        self.run
    }

    fn count_run(&mut self) {
        self.run = self.live.iter().map(|live| live.memory).sum();
    }

    /// The editor's memory.
    pub fn editor(&self) -> f64 {
        if self.editor_lives { self.hardware.editor.at(self.editor_age) } else { 0.0 }
    }

    /// The neighbour's memory.
    pub fn neighbour(&self) -> f64 {
        if self.neighbour_lives { self.hardware.neighbour.at(self.neighbour_age) } else { 0.0 }
    }

    /// What nobody needs, page cache counted as free.
    pub fn free(&self) -> f64 {
        let rest = self.hardware.other + self.editor() + self.neighbour();
        self.hardware.memory - rest - self.run() + self.swapped * self.hardware.swap.gain()
    }

    fn find(&mut self, id: AttemptId) -> Option<&mut Live> {
        self.live.iter_mut().find(|live| live.id == id)
    }

    /// It stops working at once; its memory comes back later.
    pub(super) fn die(&mut self, at: usize, death: Death) {
        let slowness = self.random.between(1.0, self.hardware.kill.max(1.0));
        let live = &mut self.live[at];
        if live.is_dying() {
            return;
        }
        live.state = State::Dying { at: self.now + (DEATH + live.memory / FREED) * slowness, death };
        self.tolls.lost += live.progress;
        self.share();
    }

    /// Shares the processors among those that work: nobody gets more than it needs, nobody less than an even share.
    fn share(&mut self) {
        let (live, plans) = (&mut self.live, &self.plans);
        let plan = |live: &Live| &plans[live.id.job.0 as usize];
        let mut left = f64::from(self.hardware.cpus);
        let mut weight: f64 =
            live.iter().filter(|live| live.works()).map(|live| f64::from(plan(live).processes)).sum();
        let wanted: f64 = live.iter().filter(|live| live.works()).map(|live| plan(live).cpus).sum();
        if wanted <= left {
            live.iter_mut().for_each(|live| live.share = 1.0);
            return;
        }
        let mut order: Vec<usize> = (0..live.len()).filter(|at| live[*at].works()).collect();
        let each = |at: &usize| plan(&live[*at]).cpus / f64::from(plan(&live[*at]).processes);
        order.sort_by(|a, b| each(a).total_cmp(&each(b)));
        for at in order {
            let Plan { processes, cpus, .. } = *plan(&live[at]);
            let given = (left * f64::from(processes) / weight).min(cpus);
            live[at].share = given / cpus;
            left -= given;
            weight -= f64::from(processes);
        }
    }

    fn plan(&self, live: &Live) -> &Plan {
        &self.plans[live.id.job.0 as usize]
    }

    fn flow(&self) -> Flow {
        let machine_waits = self.dies_of(Death::Outside);
        let run_waits = machine_waits || self.dies_of(Death::Budget);
        let outside = self.outside_growth();
        let growth = self.live.iter().map(Live::slope).sum::<f64>() + outside;
        let swapping = growth > 0.0 && self.free() <= AT_LINE && self.can_swap();
        let swap = self.hardware.swap;
        let throttle = match () {
            () if machine_waits => 0.0,
            () if swapping => (swap.rate() * swap.gain() / growth).min(1.0),
            () => 1.0,
        };
        let for_run = if run_waits { 0.0 } else { throttle };
        let flow = Flow { for_run, throttle, run: 0.0, whole: 0.0, swapping };
        let run = self.live.iter().map(|live| live.slope() * flow.speed(live)).sum();
        Flow { run, whole: run + outside * throttle, ..flow }
    }

    fn outside_growth(&self) -> f64 {
        let editor = if self.editor_lives { self.hardware.editor.slope(self.editor_age) } else { 0.0 };
        let neighbour =
            if self.neighbour_lives { self.hardware.neighbour.slope(self.neighbour_age) } else { 0.0 };
        editor + neighbour
    }

    pub(super) fn can_swap(&self) -> bool {
        self.swapped + AT_LINE < self.hardware.swap.size().min(SWAPPABLE * (self.editor() + self.neighbour()))
    }

    fn next_event(&self, flow: &Flow, until: f64) -> f64 {
        let mut soonest = until - self.now;
        let mut in_time = |time: f64| {
            if time < soonest {
                soonest = time.max(0.0);
            }
        };
        for live in &self.live {
            in_time(live.next_change() - self.now);
            let plan = self.plan(live);
            let speed = flow.speed(live) * live.share;
            if !live.works() || speed <= 0.0 {
                continue;
            }
            in_time((plan.duration.min(live.stretch.to) - live.progress) / speed);
            if let Some(limit) = plan.limit {
                in_time(until_full(limit - live.memory, live.stretch.slope * speed));
            }
        }
        in_time(until_full(self.cap - self.run(), flow.run));
        if flow.throttle > 0.0 {
            in_time((self.hardware.editor.next_bend(self.editor_age) - self.editor_age) / flow.throttle);
            in_time(
                (self.hardware.neighbour.next_bend(self.neighbour_age) - self.neighbour_age) / flow.throttle,
            );
        }
        match flow.swapping {
            // In pieces: what can be swapped changes with the editor.
            true => in_time(0.005),
            false => in_time(until_full(self.free(), flow.whole)),
        }
        self.now + soonest
    }

    fn pass(&mut self, time: f64, flow: &Flow) {
        let (mut busy, plans) = (0.0, &self.plans);
        let mut read = 0.0;
        for live in &mut self.live {
            let plan = &plans[live.id.job.0 as usize];
            match live.state {
                State::Running | State::Freezing { .. } => {
                    let progress = time * flow.speed(live) * live.share;
                    live.progress += progress;
                    live.cpu_time += progress * plan.cpus;
                    live.stretch.follow(&plan.memory, live.progress);
                    live.memory = live.stretch.at(live.progress);
                    live.peak = live.peak.max(live.memory);
                    read += plan.cache * progress / plan.duration;
                    busy += plan.cpus;
                }
                State::Frozen => self.tolls.frozen += time,
                State::Starting { .. } | State::Dying { .. } => {}
            }
        }
        self.count_run();
        self.cache = (self.cache + read).min(self.hardware.memory);
        self.editor_age += time * flow.throttle;
        self.neighbour_age += time * flow.throttle;
        if flow.swapping {
            self.swapped += flow.whole.max(0.0) * time / self.hardware.swap.gain();
            self.tolls.swapped = self.tolls.swapped.max(self.swapped);
        }
        let waited = time * (1.0 - flow.throttle);
        self.stalls.memory_some += if flow.swapping { time } else { waited };
        self.stalls.memory_full += waited;
        self.stalls.editor_memory += waited;
        let crowded = (1.0 - f64::from(self.hardware.cpus) / f64::max(busy, 1e-9)).max(0.0);
        self.stalls.editor_cpu += 0.3 * crowded * time;
    }

    /// Takes the events of this moment.
    fn settle(&mut self) -> Vec<Input> {
        let mut happened = Vec::new();
        let (mut at, mut changed) = (0, false);
        while at < self.live.len() {
            let worked = self.live[at].works();
            match self.settle_one(at) {
                Some(input @ Input::Ended(_)) => {
                    self.live.remove(at);
                    self.count_run();
                    happened.push(input);
                    changed = true;
                }
                other => {
                    happened.extend(other);
                    changed |= self.live[at].works() != worked;
                    at += 1;
                }
            }
        }
        self.kill_where_memory_is_out();
        if changed {
            self.share();
        }
        happened
    }

    fn settle_one(&mut self, at: usize) -> Option<Input> {
        let now = self.now;
        let live = &mut self.live[at];
        let plan = &self.plans[live.id.job.0 as usize];
        match live.state {
            State::Starting { at } if at <= now => {
                live.state = State::Running;
                return Some(Input::Started(live.id));
            }
            State::Dying { at, death } if at <= now => {
                return Some(ended(live, plan, Exit::Signal(9), Some(death)));
            }
            State::Freezing { at } if at <= now => live.state = State::Frozen,
            _ => {}
        }
        if live.works() && live.progress >= plan.duration - 1e-9 {
            return Some(ended(live, plan, Exit::Code(0), None));
        }
        if live.works() && plan.limit.is_some_and(|limit| live.memory > limit - AT_LINE) {
            self.die(at, Death::Own);
        }
        None
    }

    fn kill_where_memory_is_out(&mut self) {
        if self.cap - self.run() > AT_LINE && self.free() > AT_LINE {
            return;
        }
        let flow = self.flow();
        let over = |left: f64, growth: f64| left < -AT_LINE || (left <= AT_LINE && growth > 0.0);
        if over(self.cap - self.run(), flow.run) {
            self.kill_in_run();
        }
        if !flow.swapping && over(self.free(), flow.whole) {
            self.kill_anywhere();
        }
    }
}

/// How long until nothing is left, if it shrinks by this.
fn until_full(left: f64, growth: f64) -> f64 {
    if growth > 0.0 && left.is_finite() { (left / growth).max(0.0) } else { f64::INFINITY }
}

fn ended(live: &Live, plan: &Plan, exit: Exit, death: Option<Death>) -> Input {
    let count = |which| Some(u64::from(death == Some(which)));
    let by_kernel = matches!(death, Some(Death::Budget | Death::Own | Death::Outside));
    let read = plan.cache * live.progress / plan.duration;
    let evidence = Evidence {
        memory_peak: Some(Bytes((live.peak + read) as u64)),
        oom_kill: Some(u64::from(by_kernel)),
        oom_own: count(Death::Own),
        oom_budget: count(Death::Budget),
        cpu_time: Some(Duration::from_secs_f64(live.cpu_time)),
        ..Evidence::default()
    };
    Input::Ended(Box::new(End { id: live.id, exit: Some(exit), spawn_error: None, evidence }))
}
