//! Who has how much, where there are several users. Of others only counts and sizes are known.

use super::line::{Line, Paint, left, right};
use crate::model::Bytes;
use crate::model::view::{UserView, View};

/// A table of users; where there are more than `most`, the last line is their sum. Nothing where there is only the one who asks.
pub fn lines(view: &View, width: usize, most: usize) -> Vec<Line> {
    let mut users = view.users.clone();
    if users.iter().all(|user| user.own) {
        return Vec::new();
    }
    let shown = if users.len() > most { most.saturating_sub(1) } else { users.len() };
    let rest = users.split_off(shown);
    users.extend(rest.into_iter().reduce(sum));
    let with_runs = width >= 48;
    let with_memory = width >= 36;
    let with_expected = width >= 60;
    let mut title = left("USER", 10);
    let mut head = |shown: bool, text: &str, room: usize| {
        if shown {
            title += &format!(" {}", right(text, room));
        }
    };
    head(with_runs, "RUNS", 5);
    head(true, "RUNNING", 7);
    head(true, "WAITING", 7);
    head(with_memory, "MEMORY", 8);
    head(with_expected, "EXPECTED", 8);
    let row = |user: &UserView| {
        let name = match (user.own, user.users) {
            (true, _) => "you".to_owned(),
            (false, 1) => "another".to_owned(),
            (false, users) => format!("{users} others"),
        };
        let mut text = left(&name, 10);
        let mut cell = |shown: bool, value: String, room: usize| {
            if shown {
                text += &format!(" {}", right(&value, room));
            }
        };
        cell(with_runs, user.runs.to_string(), 5);
        cell(true, user.running.to_string(), 7);
        cell(true, user.waiting.to_string(), 7);
        cell(with_memory, user.memory.to_string(), 8);
        cell(with_expected, user.reserved.to_string(), 8);
        Line::of(Paint::Plain, text)
    };
    [Line::of(Paint::Bold, title)].into_iter().chain(users.iter().map(row)).collect()
}

fn sum(a: UserView, b: UserView) -> UserView {
    UserView {
        own: false,
        users: a.users + b.users,
        runs: a.runs + b.runs,
        running: a.running + b.running,
        frozen: a.frozen + b.frozen,
        waiting: a.waiting + b.waiting,
        memory: Bytes(a.memory.0 + b.memory.0),
        reserved: Bytes(a.reserved.0 + b.reserved.0),
    }
}
