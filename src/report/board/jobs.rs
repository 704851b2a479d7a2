//! The jobs of the one who asks, in the order that is asked for.

use std::cmp::Reverse;

use super::line::{Line, Paint, cut, left, right};
use super::words::{self, ordinal, time, waits};
use crate::model::AttemptId;
use crate::model::view::{JobState, JobView, RunView, View};

/// Which attempt of which run a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Number of the run.
    pub run: u32,
    /// Which of its attempts.
    pub id: AttemptId,
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The oldest run, and in it the oldest job; those that wait last.
    Run,
    /// What holds most.
    Memory,
    /// What keeps the most processors busy.
    Cpu,
    /// What has run or waited for the longest.
    Time,
    /// What stands still or ends, then what runs, then what waits.
    State,
    /// Names, by the alphabet.
    Name,
}

impl Order {
    /// What it is by, in a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Order::Run => "run",
            Order::Memory => "memory",
            Order::Cpu => "cpu",
            Order::Time => "time",
            Order::State => "state",
            Order::Name => "name",
        }
    }
}

/// Jobs, line by line.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// What the columns are.
    pub title: Line,
    /// A line each.
    pub rows: Vec<(Key, Line)>,
    /// How many more there are that were not told.
    pub rest: Option<Line>,
}

/// A table of so many columns.
pub fn table(view: &View, order: Order, width: usize) -> Table {
    let columns = Columns::of(width, view.own.len() > 1);
    let mut jobs: Vec<(&RunView, &JobView)> =
        view.own.iter().flat_map(|run| run.jobs.iter().map(move |job| (run, job))).collect();
    sort(&mut jobs, order);
    let unlisted: u64 = view.own.iter().map(|run| run.unlisted).sum();
    let key = |run: &RunView, job: &JobView| Key { run: run.run, id: job.id() };
    Table {
        title: columns.title(width),
        rows: jobs.into_iter().map(|(run, job)| (key(run, job), columns.line(run, job, width))).collect(),
        rest: (unlisted > 0).then(|| Line::of(Paint::Dim, format!("{unlisted} more are not listed"))),
    }
}

fn sort(jobs: &mut [(&RunView, &JobView)], order: Order) {
    // All of these sorts are stable: among equals the order of runs stays.
    match order {
        Order::Run => {}
        Order::Memory => jobs.sort_by_key(|(_, job)| Reverse(job.memory)),
        Order::Cpu => jobs.sort_by_key(|(_, job)| Reverse(job.cpus)),
        Order::Time => jobs.sort_by_key(|(_, job)| Reverse(job.for_ms)),
        Order::State => jobs.sort_by_key(|(_, job)| rank(job.state)),
        Order::Name => jobs.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name)),
    }
}

fn rank(state: JobState) -> u8 {
    match state {
        JobState::Dying => 0,
        JobState::Stopping => 1,
        JobState::Frozen => 2,
        JobState::Pinned => 3,
        JobState::Starting => 4,
        JobState::Running => 5,
        JobState::Waiting => 6,
    }
}

/// A job's name, with the number of its attempt from the second on.
pub fn name(job: &JobView, room: usize) -> String {
    let name = if job.name.is_empty() { format!("job {}", job.job.0) } else { job.name.clone() };
    match job.attempt {
        0 | 1 => cut(&name, room),
        attempt => {
            let again = format!(" ({})", ordinal(attempt));
            cut(&name, room.saturating_sub(again.len())) + &again
        }
    }
}

/// Title, width, and what is in it.
type Column = (&'static str, usize, fn(&JobView) -> String);

/// Which of them there is room for.
struct Columns {
    run: bool,
    /// Memory, peak, limit, processors.
    sizes: Vec<Column>,
    time: bool,
}

impl Columns {
    fn of(width: usize, runs: bool) -> Columns {
        let all: [(usize, Column); 4] = [
            (0, ("MEMORY", 8, |job| job.memory.to_string())),
            (78, ("PEAK", 8, |job| job.peak.to_string())),
            (70, ("LIMIT", 8, |job| job.limit.map_or("-".to_owned(), |limit| limit.to_string()))),
            (60, ("CPU", 5, |job| job.cpus.map_or("-".to_owned(), |cpus| format!("{}%", cpus.div_ceil(10))))),
        ];
        let sizes = all.into_iter().filter(|(from, _)| width >= *from).map(|(_, column)| column).collect();
        Columns { run: runs && width >= 50, sizes, time: width >= 46 }
    }

    fn title(&self, width: usize) -> Line {
        let mut text = if self.run { right("RUN", 4) + " " } else { String::new() };
        text += &left("STATE", 8);
        for (title, room, _) in &self.sizes {
            text += &format!(" {}", right(title, *room));
        }
        if self.time {
            text += &format!(" {}", right("TIME", 6));
        }
        Line::of(Paint::Bold, cut(&(text + "  JOB"), width))
    }

    fn line(&self, run: &RunView, job: &JobView, width: usize) -> Line {
        let mut line = Line::default();
        if self.run {
            line.push(Paint::Dim, right(&run.run.to_string(), 4) + " ");
        }
        line.push(paint(job.state), left(words::state(job.state), 8));
        if job.state == JobState::Waiting {
            let room = self.sizes.iter().map(|(_, room, _)| room + 1).sum::<usize>() - 1;
            line.push(Paint::Dim, format!(" {}", left(&wait(run, job, room), room)));
        } else {
            let cells: String =
                self.sizes.iter().map(|(_, room, cell)| format!(" {}", right(&cell(job), *room))).collect();
            line.push(Paint::Plain, cells);
        }
        if self.time {
            line.push(Paint::Plain, format!(" {}", right(&time(job.for_ms), 6)));
        }
        let room = width.saturating_sub(line.width() + 2);
        line.then(Paint::Plain, format!("  {}", name(job, room)))
    }
}

fn paint(state: JobState) -> Paint {
    match state {
        JobState::Running => Paint::Good,
        JobState::Starting => Paint::Plain,
        JobState::Frozen => Paint::Held,
        JobState::Pinned => Paint::Hand,
        JobState::Stopping | JobState::Dying => Paint::Bad,
        JobState::Waiting => Paint::Dim,
    }
}

/// What it waits for, as far as there is room to say so.
fn wait(run: &RunView, job: &JobView, room: usize) -> String {
    let Some(why) = job.waits else { return String::new() };
    let (short, what) = waits(why, run.waits.and_then(|wait| wait.reason));
    let size = if job.expected.0 > 0 { format!(" ({})", job.expected) } else { String::new() };
    let place = match job.place.unwrap_or(0) {
        0 => ", next".to_owned(),
        before => format!(", {before} before"),
    };
    let in_words = [format!("for {what}{size}{place}"), format!("for {what}{place}"), format!("for {what}")];
    in_words.into_iter().find(|text| text.len() <= room).unwrap_or_else(|| short.to_owned())
}
