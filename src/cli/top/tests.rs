//! What keys do, and what is on the screen.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::app::{App, Wish};
use crate::broker::protocol::{Of, OfRun, Status};
use crate::model::view::{JobState, JobView};
use crate::model::{Bytes, JobId};

/// The line of the protocol's fixtures, with so many jobs: the first is pinned, the last waits.
fn status(jobs: u32) -> Status {
    let lines = include_str!("../../broker/fixtures/to-run.jsonl");
    let line = lines.lines().find(|line| line.starts_with(r#"{"type":"status""#)).unwrap();
    let mut status: Status = serde_json::from_str(line).unwrap();
    let run = &mut status.view.own[0];
    let [running, waiting] = &run.jobs[..] else { panic!("two jobs") };
    let job = |number: u32| {
        let (state, of) = match number {
            0 => (JobState::Pinned, running),
            last if last + 1 == jobs => (JobState::Waiting, waiting),
            _ => (JobState::Running, running),
        };
        let (job, name) = (JobId(number), format!("test_{number}"));
        JobView { job, name, state, attempt: 1, memory: Bytes::mib(u64::from(number)), ..of.clone() }
    };
    run.jobs = (0..jobs).map(job).collect();
    run.unlisted = 0;
    status
}

fn press(app: &mut App, code: KeyCode) -> Option<Wish> {
    app.press(KeyEvent::new(code, KeyModifiers::NONE))
}

fn keys(app: &mut App, keys: &str) -> Vec<Wish> {
    keys.chars().filter_map(|key| press(app, KeyCode::Char(key))).collect()
}

fn text(app: &mut App, width: usize, height: usize) -> String {
    let rows = app.screen(width, height);
    assert_eq!(rows.len(), height);
    assert!(rows.iter().all(|row| row.line.width() <= width.max(30)));
    let text = |row: &super::app::Row| {
        let mark = if row.chosen { ">" } else { "" };
        format!("{mark}{}", row.line.plain()).trim_end().to_owned()
    };
    rows.iter().map(text).collect::<Vec<_>>().join("\n")
}

fn of(job: u32) -> OfRun {
    OfRun { run: 3, of: Of { job: JobId(job), attempt: 1 } }
}

#[test]
fn at_80_columns() {
    let mut app = App::new(status(30));
    press(&mut app, KeyCode::Down);
    insta::assert_snapshot!(text(&mut app, 80, 24));
}

#[test]
fn on_a_small_screen() {
    let mut app = App::new(status(30));
    press(&mut app, KeyCode::End);
    insta::assert_snapshot!(text(&mut app, 40, 12));
}

#[test]
fn help_fits_on_a_page() {
    let mut app = App::new(status(3));
    assert_eq!(keys(&mut app, "?"), []);
    insta::assert_snapshot!(text(&mut app, 80, 24));
    assert_eq!(keys(&mut app, "m"), [], "back, and nothing else");
    assert!(text(&mut app, 80, 24).contains("by run"));
}

#[test]
fn whatever_the_size_there_are_so_many_lines_and_what_is_chosen_is_among_them() {
    let mut app = App::new(status(40));
    for key in [KeyCode::Down, KeyCode::End, KeyCode::PageUp, KeyCode::Up, KeyCode::Home, KeyCode::PageDown] {
        press(&mut app, key);
        for (width, height) in [(1, 1), (20, 3), (30, 8), (40, 12), (80, 24), (80, 5), (200, 60)] {
            let text = text(&mut app, width, height);
            assert!(height < 8 || text.contains("\n>"), "{width}x{height}:\n{text}");
        }
    }
}

#[test]
fn a_job_is_frozen_and_let_go_on() {
    let mut app = App::new(status(4));
    assert_eq!(keys(&mut app, "f"), [], "none is chosen");
    assert!(text(&mut app, 80, 24).contains("choose a job first"));
    press(&mut app, KeyCode::Down);
    assert_eq!(keys(&mut app, "f"), [Wish::Unpin(of(0))]);
    press(&mut app, KeyCode::Down);
    assert_eq!(keys(&mut app, "f"), [Wish::Pin(of(1))]);
    press(&mut app, KeyCode::End);
    assert_eq!(keys(&mut app, "fk"), [], "it waits");
    assert!(text(&mut app, 80, 24).contains("it does not run yet"));
}

#[test]
fn nothing_is_killed_by_one_key() {
    let mut app = App::new(status(4));
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Down);
    assert_eq!(keys(&mut app, "k"), []);
    assert!(text(&mut app, 80, 24).contains("kill test_1? y: yes, any other key: no"));
    assert!(text(&mut app, 40, 24).contains("kill test_1? y/n"));
    assert_eq!(keys(&mut app, "k"), [], "that is another key");
    assert_eq!(keys(&mut app, "y"), [], "and nothing is asked any more");
    assert_eq!(keys(&mut app, "ky"), [Wish::Kill(of(1))]);
}

#[test]
fn what_is_chosen_stays_chosen_when_it_moves() {
    let mut app = App::new(status(10));
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Down);
    assert_eq!(keys(&mut app, "mf"), [Wish::Pin(of(1))], "sorted by memory it is nearly the last");
    let mut fewer = status(10);
    fewer.view.own[0].jobs.retain(|job| job.job != JobId(1));
    app.stand(fewer);
    assert_eq!(keys(&mut app, "r"), []);
    let wishes = keys(&mut app, "f");
    assert!(matches!(wishes[..], [Wish::Pin(_) | Wish::Unpin(_)]), "another one in its place: {wishes:?}");
    app.stand(status(0));
    assert_eq!(keys(&mut app, "fky"), []);
}

#[test]
fn keys_of_control() {
    let mut app = App::new(status(2));
    let control = |app: &mut App, key| app.press(KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL));
    assert_eq!(control(&mut app, 'c'), Some(Wish::Quit));
    assert_eq!(control(&mut app, 'z'), Some(Wish::Suspend));
    assert_eq!(control(&mut app, 'f'), None);
    assert_eq!((keys(&mut app, "q "), keys(&mut app, "x")), (vec![Wish::Quit, Wish::Refresh], vec![]));
}

#[test]
fn a_broker_that_is_gone_is_told_until_it_is_back() {
    let mut app = App::new(status(2));
    app.lose("the broker has ended the connection".into());
    assert!(text(&mut app, 80, 24).contains("has ended the connection; trying again"));
    keys(&mut app, "m");
    assert!(text(&mut app, 80, 24).contains("trying again"));
    app.stand(status(2));
    assert!(!text(&mut app, 80, 24).contains("trying again"));
}
