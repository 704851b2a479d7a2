//! What `top` shows and what keys mean: no terminal, no broker, no clock.
//!
//! ```text
//!            ?                      any key
//! table ──────────▶ help ─────────────────────────▶ table
//!   │ k                              y
//!   └──────────▶ to be killed? ───────────────────▶ the broker is asked, table
//!                      └─ any other key ──────────▶ table
//! ```

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::broker::protocol::{Of, OfRun, Status};
use crate::model::view::{JobState, JobView};
use crate::report::board::jobs::{Key, Order, Table, name, table};
use crate::report::board::line::{Line, Paint, cut};
use crate::report::board::{NARROWEST, head, runs, users};

/// What is wanted of those outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To end.
    Quit,
    /// To stand in the background (Ctrl-Z).
    Suspend,
    /// To ask the broker again now.
    Refresh,
    /// To let a job stand still.
    Pin(OfRun),
    /// To let it go on.
    Unpin(OfRun),
    /// To kill it.
    Kill(OfRun),
}

/// A line of the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What is in it.
    pub line: Line,
    /// Whether it is the one that keys are about.
    pub chosen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Table,
    Help,
    Kill(Key),
}

/// All that is on the screen.
#[derive(Debug)]
pub struct App {
    status: Status,
    order: Order,
    mode: Mode,
    /// The job that keys are about, and its place in the table.
    chosen: Option<(Key, usize)>,
    /// The first job that is on the screen.
    first: usize,
    /// What was said last to the user.
    note: Option<String>,
    /// Why the broker can't be asked now.
    gone: Option<String>,
    /// So many jobs were on the screen.
    page: usize,
}

/// A page is not higher than this where it shows only what matters most.
const LOW: usize = 16;

const HELP: &[(&str, &str)] = &[
    ("up, down", "choose a job; PgUp, PgDn, Home, End"),
    ("r m c t s n", "sort by run, memory, cpu, time, state, name"),
    ("f", "let the job stand still, or go on again"),
    ("k", "kill it: it fails, and does not run again"),
    ("space", "ask the broker now"),
    ("? h", "this page"),
    ("q Ctrl-C", "leave"),
];

const STATES: &[(&str, &str)] = &[
    ("GREEN", "nothing is held"),
    ("YELLOW", "starts are held"),
    ("ORANGE", "jobs stand still"),
    ("RED", "jobs are evicted, and run again"),
    ("frozen", "stands still for want of memory"),
    ("pinned", "stands still since you want that"),
    ("memory", "= is held, - is expected to be"),
];

impl App {
    /// Begins with this.
    pub fn new(status: Status) -> App {
        App {
            status,
            order: Order::Run,
            mode: Mode::Table,
            chosen: None,
            first: 0,
            note: None,
            gone: None,
            page: 1,
        }
    }

    /// The broker has answered.
    pub fn stand(&mut self, status: Status) {
        self.status = status;
        self.gone = None;
        self.follow();
    }

    /// The broker can't be asked: what is shown is old.
    pub fn lose(&mut self, why: String) {
        self.gone = Some(why);
    }

    /// Tells the user something, until the next key.
    pub fn tell(&mut self, note: impl Into<String>) {
        self.note = Some(note.into());
    }

    /// A key was pressed.
    pub fn press(&mut self, key: KeyEvent) -> Option<Wish> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        self.note = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c' | 'd') => Some(Wish::Quit),
                KeyCode::Char('z') => Some(Wish::Suspend),
                KeyCode::Char('l') => Some(Wish::Refresh),
                _ => None,
            };
        }
        match std::mem::replace(&mut self.mode, Mode::Table) {
            Mode::Table => self.press_in_table(key.code),
            Mode::Help if key.code == KeyCode::Char('q') => Some(Wish::Quit),
            Mode::Help => None,
            Mode::Kill(of) if key.code == KeyCode::Char('y') => Some(Wish::Kill(of_run(of))),
            Mode::Kill(_) => None,
        }
    }

    fn press_in_table(&mut self, key: KeyCode) -> Option<Wish> {
        match key {
            KeyCode::Char('q') => return Some(Wish::Quit),
            KeyCode::Char(' ') => return Some(Wish::Refresh),
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Char('r') => self.sort(Order::Run),
            KeyCode::Char('m') => self.sort(Order::Memory),
            KeyCode::Char('c') => self.sort(Order::Cpu),
            KeyCode::Char('t') => self.sort(Order::Time),
            KeyCode::Char('s') => self.sort(Order::State),
            KeyCode::Char('n') => self.sort(Order::Name),
            KeyCode::Up => self.choose(|at, _| at.map_or(0, |at| at.saturating_sub(1))),
            KeyCode::Down => self.choose(|at, _| at.map_or(0, |at| at + 1)),
            KeyCode::PageUp => self.choose(|at, page| at.unwrap_or(0).saturating_sub(page)),
            KeyCode::PageDown => self.choose(|at, page| at.unwrap_or(0) + page),
            KeyCode::Home => self.choose(|_, _| 0),
            KeyCode::End => self.choose(|_, _| usize::MAX),
            KeyCode::Char('f') => return self.freeze(),
            KeyCode::Char('k') => self.ask_to_kill(),
            _ => {}
        }
        None
    }

    fn sort(&mut self, order: Order) {
        self.order = order;
        self.first = 0;
        self.follow();
    }

    /// `which`: from the place that is chosen, and from how many there are on the screen.
    fn choose(&mut self, which: impl Fn(Option<usize>, usize) -> usize) {
        let rows = self.table(usize::from(u16::MAX)).rows;
        let at = which(self.chosen.map(|(_, at)| at), self.page.max(1)).min(rows.len().saturating_sub(1));
        self.chosen = rows.get(at).map(|(key, _)| (*key, at));
    }

    /// The job that was chosen may have moved, or be gone: then it is the one in its place.
    fn follow(&mut self) {
        let Some((key, at)) = self.chosen else { return };
        let rows = self.table(usize::from(u16::MAX)).rows;
        let at = rows.iter().position(|(other, _)| *other == key).unwrap_or(at);
        let at = at.min(rows.len().saturating_sub(1));
        self.chosen = rows.get(at).map(|(key, _)| (*key, at));
    }

    fn freeze(&mut self) -> Option<Wish> {
        let (key, state, _) = self.chosen_job()?;
        match state {
            JobState::Waiting => self.tell("it does not run yet"),
            JobState::Pinned => return Some(Wish::Unpin(of_run(key))),
            _ => return Some(Wish::Pin(of_run(key))),
        }
        None
    }

    fn ask_to_kill(&mut self) {
        match self.chosen_job() {
            Some((_, JobState::Waiting, _)) => self.tell("it does not run yet"),
            Some((key, ..)) => self.mode = Mode::Kill(key),
            None => {}
        }
    }

    /// Says so if there is none.
    fn chosen_job(&mut self) -> Option<(Key, JobState, String)> {
        let found = self.chosen.and_then(|(key, _)| {
            let job = self.find(key)?;
            Some((key, job.state, name(job, 40)))
        });
        if found.is_none() {
            self.tell("choose a job first: up, down");
        }
        found
    }

    fn find(&self, key: Key) -> Option<&JobView> {
        let run = self.status.view.own.iter().find(|run| run.run == key.run)?;
        run.jobs.iter().find(|job| job.id() == key.id)
    }

    /// What a job is called on the screen.
    pub fn name(&self, of: OfRun) -> String {
        let key = Key { run: of.run, id: of.of.id() };
        self.find(key).map_or_else(|| "the job".to_owned(), |job| name(job, 40))
    }

    fn table(&self, width: usize) -> Table {
        table(&self.status.view, self.order, width)
    }

    /// The screen: no more lines than `height`, none wider than `width`.
    pub fn screen(&mut self, width: usize, height: usize) -> Vec<Row> {
        let (columns, room) = (width.max(NARROWEST), height.saturating_sub(1));
        let mut rows = match self.mode {
            Mode::Help => help(columns),
            Mode::Table | Mode::Kill(_) => self.board(columns, room),
        };
        rows.truncate(room);
        rows.resize_with(room, || plain(Line::default()));
        rows.push(plain(self.bottom(columns)));
        rows.truncate(height);
        rows
    }

    fn board(&mut self, width: usize, room: usize) -> Vec<Row> {
        let view = &self.status.view;
        let low = room < LOW;
        let mut lines = if low { head::short(view, width) } else { head::lines(&self.status, width) };
        // Half of what is left belongs to the jobs, at least.
        let left = room.saturating_sub(lines.len()) / 2;
        let of_users = if low { Vec::new() } else { users::lines(view, width, (left / 3).max(2)) };
        let used = if of_users.is_empty() { 0 } else { of_users.len() + 1 };
        let of_runs =
            if low { Vec::new() } else { runs::lines(view, width, left.saturating_sub(used).max(3)) };
        for part in [of_users, of_runs] {
            if !part.is_empty() {
                lines.push(Line::default());
                lines.extend(part);
            }
        }
        let mut rows: Vec<Row> = lines.into_iter().map(plain).collect();
        let jobs = self.table(width);
        if jobs.rows.is_empty() {
            return rows;
        }
        if !low {
            rows.push(plain(Line::default()));
        }
        rows.push(plain(jobs.title));
        self.page = room.saturating_sub(rows.len() + usize::from(jobs.rest.is_some()));
        self.scroll(jobs.rows.len());
        let chosen = self.chosen.map(|(key, _)| key);
        let row = |(key, line): (Key, Line)| Row { line, chosen: chosen == Some(key) };
        rows.extend(jobs.rows.into_iter().map(row).skip(self.first).take(self.page));
        rows.extend(jobs.rest.map(plain));
        rows
    }

    /// What is chosen is on the screen.
    fn scroll(&mut self, rows: usize) {
        if let Some((_, at)) = self.chosen {
            self.first = self.first.min(at).max((at + 1).saturating_sub(self.page));
        }
        self.first = self.first.min(rows.saturating_sub(self.page));
    }

    fn bottom(&self, width: usize) -> Line {
        let gone = self.gone.as_ref().map(|why| format!("{why}; trying again"));
        let (paint, text) = match (self.mode, self.note.as_ref().or(gone.as_ref())) {
            (Mode::Kill(key), _) => {
                let keys = if width < 60 { "? y/n" } else { "? y: yes, any other key: no" };
                let room = width.saturating_sub("kill ".len() + keys.len());
                let name = self.find(key).map_or_else(|| "the job".to_owned(), |job| name(job, room));
                (Paint::Bad, format!("kill {name}{keys}"))
            }
            (_, Some(note)) => (Paint::Bold, note.clone()),
            (Mode::Help, None) => (Paint::Dim, "any key: back".to_owned()),
            (Mode::Table, None) => {
                let order = self.order.as_str();
                let long = format!("q quit  ? help  r m c t s n sort (by {order})  f freeze  k kill");
                let short = format!("q quit  ? help  (by {order})");
                (Paint::Dim, if long.len() <= width { long } else { short })
            }
        };
        Line::of(paint, cut(&text, width))
    }
}

fn help(width: usize) -> Vec<Row> {
    let table = |lines: &[(&str, &str)]| {
        let line = |(key, meaning): &(&str, &str)| {
            Line::of(Paint::Plain, cut(&format!("  {key:<12} {meaning}"), width))
        };
        lines.iter().map(line).collect::<Vec<Line>>()
    };
    let mut lines = vec![Line::of(Paint::Bold, "keys")];
    lines.extend(table(HELP));
    lines.push(Line::default());
    lines.push(Line::of(Paint::Bold, "words"));
    lines.extend(table(STATES));
    lines.into_iter().map(plain).collect()
}

fn plain(line: Line) -> Row {
    Row { line, chosen: false }
}

fn of_run(key: Key) -> OfRun {
    OfRun { run: key.run, of: Of { job: key.id.job, attempt: key.id.number } }
}
