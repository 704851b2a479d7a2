//! Whose broker it is, its state and why, memory against the budget, pressure, how many run and wait.

use super::line::{Line, Paint, cut, wrap};
use super::words::time;
use crate::model::Bytes;
use crate::model::governor::State;
use crate::model::view::{Scope, Status, View};
use crate::report::governor;

/// Labels stand in so many columns, as those of a run's report do, and two blanks behind them.
const LABEL: usize = 8;
const INDENT: usize = LABEL + 2;

/// A blank at which no line ends.
const NO_BREAK: &str = "\u{a0}";

/// A bar that is shorter says too little.
const SHORTEST_BAR: usize = 12;

/// The head of a page of so many columns.
pub fn lines(status: &Status, width: usize) -> Vec<Line> {
    let view = &status.view;
    let whose = match status.scope {
        Scope::User => "for your runs alone",
        Scope::System => "for all users of this machine",
    };
    let about = format!("{whose}, sandtest {}, up {}", status.program, time(status.up_ms));
    let mut lines = labelled("broker", Paint::Plain, &about, width);
    lines.extend(labelled(&view.state.as_str().to_uppercase(), paint(view.state), &sentence(view), width));
    lines.extend(memory("memory", view, width));
    lines.extend(labelled("pressure", Paint::Plain, &pressure(view), width));
    lines.extend(labelled("jobs", Paint::Plain, &counts(view), width));
    lines
}

/// What matters most of it in a line or two, for a page that is not high.
pub fn short(view: &View, width: usize) -> Vec<Line> {
    let word = view.state.as_str().to_uppercase();
    let mut lines = memory(&word, view, width);
    if view.state != State::Green {
        lines.push(
            Line::of(Paint::Plain, " ".repeat(INDENT))
                .then(Paint::Plain, cut(&sentence(view), width.saturating_sub(INDENT))),
        );
    }
    lines
}

/// The paint of a state.
fn paint(state: State) -> Paint {
    match state {
        State::Green => Paint::Good,
        State::Yellow | State::Orange => Paint::Held,
        State::Red => Paint::Bad,
    }
}

fn labelled(label: &str, paint: Paint, text: &str, width: usize) -> Vec<Line> {
    let mut label = format!("{label:>LABEL$}  ");
    wrap(text, width.saturating_sub(INDENT))
        .into_iter()
        .map(|part| {
            let label = std::mem::replace(&mut label, " ".repeat(INDENT));
            Line::of(paint, label).then(Paint::Plain, part.replace(NO_BREAK, " "))
        })
        .collect()
}

fn sentence(view: &View) -> String {
    // A worse state is shown for a second longer than it lasts.
    if view.held > 0 {
        return governor::sentence(&view.decision(), None);
    }
    match (view.budget, view.left) {
        (Some(budget), Some(left)) => format!("nothing is held: {left} left of {budget}"),
        _ => "nothing is held".to_owned(),
    }
}

/// ```text
/// memory  [=========-----......] 6.5 of 8 GiB, 7.5 GiB expected
///          used      expected
/// ```
fn memory(label: &str, view: &View, width: usize) -> Vec<Line> {
    let label_paint = if label == "memory" { Paint::Plain } else { paint(view.state) };
    let expected = match view.reserved > view.used {
        true => format!(", {} expected", view.reserved),
        false => String::new(),
    };
    let Some(budget) = view.budget else {
        let text = format!("{} used, without a limit{expected}", view.used);
        return labelled(label, label_paint, &text, width);
    };
    let text = format!("{} of {budget}{expected}", view.used);
    let frame = INDENT + "[]".len();
    let beside = width.saturating_sub(frame + 1 + text.len());
    let below = beside < SHORTEST_BAR;
    let room = if below { width.saturating_sub(frame) } else { beside.min(40) };
    let part = |bytes: Bytes| {
        let share = bytes.0 as f64 / budget.0.max(1) as f64;
        ((share * room as f64).round() as usize).min(room)
    };
    let used = part(view.used);
    let expected = part(view.reserved).saturating_sub(used);
    let bar = Line::of(label_paint, format!("{label:>LABEL$}  "))
        .then(Paint::Plain, "[")
        .then(paint(view.state), "=".repeat(used))
        .then(Paint::Dim, "-".repeat(expected))
        .then(Paint::Plain, " ".repeat(room - used - expected) + "]");
    if below {
        let mut lines = vec![bar];
        lines.extend(labelled("", Paint::Plain, &text, width));
        lines
    } else {
        vec![bar.then(Paint::Plain, format!(" {text}"))]
    }
}

/// Who waits for what, and for which part of the time.
fn pressure(view: &View) -> String {
    let all = &view.pressure;
    let whose = [(all.system, "this machine"), (all.jobs, "the jobs"), (all.editor, "the editor")];
    let mut parts = Vec::new();
    for (stalled, who) in whose {
        let Some(stalled) = stalled else { continue };
        let percent = |thousandths: u64| thousandths.div_ceil(10);
        let (memory, cpu, io) =
            (percent(stalled.memory_some), percent(stalled.cpu_some), percent(stalled.io_some));
        let of = |percent, what| format!("{percent}{NO_BREAK}%{NO_BREAK}{what}");
        parts.push(format!("{who} {}, {}, {}", of(memory, "memory"), of(cpu, "cpu"), of(io, "disk")));
    }
    if parts.is_empty() { "not measured now".to_owned() } else { parts.join("; ") }
}

fn counts(view: &View) -> String {
    let runs = if view.runs == 1 { "run" } else { "runs" };
    let of = |count, what| format!("{count}{NO_BREAK}{what}");
    let frozen = if view.frozen > 0 { format!(" ({})", of(view.frozen, "frozen")) } else { String::new() };
    let (running, waiting) = (of(view.running, "running"), of(view.waiting, "waiting"));
    format!("{running}{frozen}, {waiting}, of {}", of(view.runs, runs))
}
