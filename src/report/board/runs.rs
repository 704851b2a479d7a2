//! The runs of the one who asks, and what they wait for.

use console::measure_text_width;

use super::line::{Line, Paint, cut, left, right};
use super::words::{run_waits, time};
use crate::model::view::{RunView, View};

/// Of a name that has to be cut so much is shown before anything else is.
const SHORTEST_NAME: usize = 12;

/// Columns up to the name, which has the rest.
struct Columns {
    memory: bool,
    time: bool,
    waits: bool,
}

impl Columns {
    fn of(width: usize) -> Columns {
        Columns { memory: width >= 50, time: width >= 60, waits: width >= 78 }
    }

    fn cells(&self, cells: [String; 6]) -> String {
        let [run, running, waiting, memory, time, waits] = cells;
        let mut text = format!("{} {} {}", right(&run, 4), right(&running, 7), right(&waiting, 7));
        let columns = [(self.memory, right(&memory, 8)), (self.time, right(&time, 6))];
        for (_, cell) in columns.iter().filter(|(shown, _)| *shown) {
            text += &format!(" {cell}");
        }
        if self.waits {
            text += &format!("  {}", left(&waits, 22));
        }
        text + "  "
    }
}

/// A table of them, of at most so many lines. Nothing where there is none.
pub fn lines(view: &View, width: usize, most: usize) -> Vec<Line> {
    let runs = &view.own;
    if runs.is_empty() {
        return Vec::new();
    }
    let columns = Columns::of(width);
    let title =
        columns.cells(["RUN", "RUNNING", "WAITING", "MEMORY", "TIME", "WAITS FOR"].map(str::to_owned));
    let shown = if runs.len() + 1 > most { most.saturating_sub(2) } else { runs.len() };
    let mut lines = vec![Line::of(Paint::Bold, cut(&format!("{title}NAME"), width))];
    lines.extend(runs.iter().take(shown).map(|run| line(run, &columns, width)));
    if shown < runs.len() {
        lines.push(Line::of(Paint::Dim, format!("     {} more", runs.len() - shown)));
    }
    lines
}

fn line(run: &RunView, columns: &Columns, width: usize) -> Line {
    let waits = run.waits.map_or(String::new(), |wait| run_waits(wait, run.ahead.unwrap_or(0)));
    let cells = columns.cells([
        run.run.to_string(),
        run.running.to_string(),
        run.waiting.to_string(),
        run.memory.to_string(),
        time(run.for_ms),
        waits,
    ]);
    let mut notes = Vec::new();
    if run.lost {
        notes.push("lost".to_owned());
    }
    if run.batch {
        notes.push("batch".to_owned());
    }
    if let Some(around) = run.inside {
        notes.push(format!("in run {}", around.run));
    }
    let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
    let room = width.saturating_sub(cells.len());
    // A name of which nothing is left is not worth its notes.
    let beside = room.saturating_sub(notes.len());
    let (room, notes) = if beside < SHORTEST_NAME.min(measure_text_width(&run.name)) {
        (room, String::new())
    } else {
        (beside, notes)
    };
    Line::of(Paint::Plain, cells).then(Paint::Plain, cut(&run.name, room)).then(Paint::Dim, notes)
}
