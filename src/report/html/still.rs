//! What is there without a script: what happened in one line, the counts, and the failures.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::collected::{Collected, Head};
use super::page::escaped;
use super::rows::{Attempt, Came, Job};
use crate::model::Verdict;
use crate::report::ending::UNSEEN;
use crate::report::governor;
use crate::report::paragraph::{first_sentence, short};

/// Failures that are shown at once; the others wait for a click.
const AT_ONCE: usize = 10;

/// Bytes for failures in this place: all of them stand among the jobs.
const MOST: usize = 192 << 10;

/// Of what a failed one wrote, this much of the end.
const LAST: usize = 1 << 10;

/// Kinds of failure that are counted by name.
const KINDS: usize = 4;

/// For the browser's tab.
pub fn title(run: &Collected) -> String {
    let id = run.head.as_ref().map_or("", |head| &head.run);
    format!("{} \u{b7} sandtest {id}", heading(run).1)
}

/// Whether it is well, and in how many jobs.
fn heading(run: &Collected) -> (&'static str, String) {
    let (tally, end) = (run.tally(), run.end);
    let not_run = end.map_or(0, |end| end.not_run);
    // A command may have brought some along.
    let done = tally.passed + tally.failed + tally.unseen;
    let jobs = run.head.as_ref().map_or(0, |head| head.jobs as u64).max(done + not_run);
    match (tally.failed, end) {
        (_, None) => ("open", format!("{} of {} done", done, counted(jobs, "job"))),
        (0, Some(end)) if end.interrupted => {
            ("open", format!("Interrupted: {} of {} passed", tally.passed, counted(jobs, "job")))
        }
        (0, _) if not_run > 0 => {
            ("open", format!("{} of {} passed, {not_run} not run", tally.passed, counted(jobs, "job")))
        }
        (0, _) if tally.unseen > 0 => {
            ("open", format!("{} of {} passed, {} unseen", tally.passed, counted(jobs, "job"), tally.unseen))
        }
        (0, _) if jobs == 0 => ("open", "There were no jobs to run".into()),
        (0, _) if jobs == 1 => ("good", "The one job passed".into()),
        (0, _) => ("good", format!("All {} passed", counted(jobs, "job"))),
        (failed, _) => ("bad", format!("{} of {} failed", grouped(failed), counted(jobs, "job"))),
    }
}

/// One line that says what happened.
fn happened(run: &Collected) -> String {
    let mut told = Vec::new();
    match run.end {
        None => {
            let running = run.running().len() as u64;
            let running = if running > 0 {
                format!(", with {} in mid-run", counted(running, "job"))
            } else {
                String::new()
            };
            told.push(format!(
                "Written while the run went on{running}; if it has ended since, it was killed."
            ));
        }
        Some(end) if end.interrupted && run.tally().failed > 0 => {
            told.push("The run was asked to end early.".into())
        }
        Some(_) => {}
    }
    let mut kinds = BTreeMap::<&str, u64>::new();
    for job in &run.failed {
        *kinds.entry(word(job)).or_default() += 1;
    }
    if !kinds.is_empty() {
        let mut kinds: Vec<(&str, u64)> = kinds.into_iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let others: u64 = kinds.iter().skip(KINDS).map(|(_, count)| count).sum();
        let mut parts: Vec<String> = kinds
            .iter()
            .take(KINDS)
            .map(|(kind, count)| format!("{} \u{d7} {kind}", grouped(*count)))
            .collect();
        parts.extend((others > 0).then(|| format!("{} otherwise", grouped(others))));
        told.push(format!("Failed: {}.", parts.join(", ")));
    }
    let flaky = run.tally().flaky;
    told.extend((flaky > 0).then(|| format!("{flaky} flaky: failed first and passed later.")));
    let unseen = run.tally().unseen;
    told.extend((unseen > 0).then(|| format!("{} {UNSEEN}.", grouped(unseen))));
    let not_run = run.end.map_or(0, |end| end.not_run);
    told.extend((not_run > 0).then(|| format!("{not_run} never ran, because the run ended before.")));
    if let Some(summary) =
        run.end.and_then(|end| end.governed).and_then(|governed| governor::summary(&governed))
    {
        let summary = summary.strip_prefix("governor: ").unwrap_or(&summary);
        told.push(format!("The governor: {summary}."));
    } else if run.end.is_some_and(|end| end.governed.is_some() && end.passed + end.failed > 0) {
        told.push("The governor had nothing to hold back.".into());
    }
    let left = run.end.map_or(0, |end| end.leaked);
    told.extend((left > 0).then(|| {
        let were = if left == 1 { "process was" } else { "processes were" };
        format!("{} {were} left behind, and killed.", grouped(left))
    }));
    told.join(" ")
}

/// The head: what happened, counts, and under which terms.
pub fn head(run: &Collected) -> String {
    let (mood, heading) = heading(run);
    let mark = match mood {
        "good" => "\u{2713}",
        "bad" => "\u{d7}",
        _ => "\u{2026}",
    };
    let mut html = format!(
        "<h1 class=\"{mood}\"><span class=\"mark\" aria-hidden=\"true\">{mark}</span>{}</h1>\n<p class=\"happened\">{}</p>\n",
        escaped(&heading),
        escaped(&happened(run))
    );
    let tally = run.tally();
    let missing = run
        .head
        .as_ref()
        .map_or(0, |head| head.jobs as u64)
        .saturating_sub(tally.passed + tally.failed + tally.unseen);
    let (not_done, missing) = run.end.map_or(("not done", missing), |end| ("not run", end.not_run));
    let counts = [
        ("passed", tally.passed, "pass"),
        ("failed", tally.failed, "fail"),
        ("flaky", tally.flaky, "flaky"),
        ("unseen", tally.unseen, "infra"),
        ("evictions", tally.evictions, "evicted"),
        (not_done, missing, "infra"),
    ];
    html += "<dl class=\"counts\">\n";
    for (name, count, class) in counts {
        let class = if count == 0 { "none" } else { class };
        html += &format!("<div class=\"{class}\"><dt>{name}</dt><dd>{}</dd></div>\n", grouped(count));
    }
    html += &format!("<div><dt>wall time</dt><dd>{}</dd></div>\n</dl>\n", short(run.wall()));
    if let Some(head) = &run.head {
        html += &facts(head);
    }
    html
}

fn facts(head: &Head) -> String {
    let facts = [
        ("run", head.run.clone()),
        ("name", head.name.clone()),
        ("profile", head.profile.clone()),
        ("isolation", head.isolation.clone()),
        ("budget", head.budget.map_or("no limit".into(), |budget| budget.to_string())),
        ("at once", head.parallel.to_string()),
        ("began", DateTime::<Utc>::from(head.date).format("%Y-%m-%d %H:%M:%S UTC").to_string()),
    ];
    let mut html = "<dl class=\"facts\">\n".to_owned();
    for (name, value) in facts {
        html += &format!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escaped(&value));
    }
    html += "</dl>\n";
    for note in &head.notes {
        html += &format!("<p class=\"note\">{}</p>\n", escaped(note));
    }
    html
}

/// What failed, in the order in which it ended.
pub fn failures(run: &Collected) -> String {
    if run.failed.is_empty() {
        return String::new();
    }
    let mut items = Vec::new();
    let mut bytes = 0;
    for job in &run.failed {
        let item = failure(job);
        bytes += item.len();
        if bytes > MOST {
            break;
        }
        items.push(item);
    }
    let mut html = "<section id=\"failures\"><h2>What failed</h2>\n<ol class=\"failures\">\n".to_owned();
    html.extend(items.iter().take(AT_ONCE).map(String::as_str));
    html += "</ol>\n";
    let (shown, all) = (items.len(), run.tally().failed as usize);
    if shown > AT_ONCE {
        html += &format!(
            "<details class=\"more\"><summary>{} more</summary><ol class=\"failures\">\n",
            shown - AT_ONCE
        );
        html.extend(items.iter().skip(AT_ONCE).map(String::as_str));
        html += "</ol></details>\n";
    }
    if shown < all {
        html += &format!(
            "<p class=\"note\">and {}, listed among the jobs</p>\n",
            counted((all - shown) as u64, "more failure")
        );
    }
    html + "</section>\n"
}

fn failure(job: &Job) -> String {
    // Of a flaky one that counts as failed, the last that did fail.
    let last =
        job.attempts.iter().rev().find(|attempt| attempt.came != Came::Pass && attempt.came != Came::Evicted);
    let last = last.or(job.attempts.last());
    let wall =
        last.map_or(String::new(), |attempt| short(std::time::Duration::from_secs_f64(attempt.wall / 1e3)));
    let told = last.map_or("", |attempt| attempt.told.as_str());
    format!(
        "<li data-job=\"{}\"><details><summary><span class=\"badge fail\">{}</span><span class=\"name\">{}</span>\
         <span class=\"said\">{}</span><span class=\"wall\">{wall}</span></summary><div class=\"body\">{}</div></details></li>\n",
        job.id,
        escaped(word(job)),
        escaped(&job.name),
        escaped(first_sentence(told)),
        last.map_or(String::new(), body),
    )
}

/// What it failed of, in a word or two.
fn word(job: &Job) -> &str {
    if job.verdict == Verdict::Flaky {
        return "flaky";
    }
    let how = job.attempts.iter().rev().find(|attempt| !attempt.how.is_empty());
    how.map_or("failed", |attempt| attempt.how.as_str())
}

fn body(attempt: &Attempt) -> String {
    let mut html = String::new();
    if !attempt.told.is_empty() {
        html += &format!("<p>{}</p>", escaped(&attempt.told));
    }
    if !attempt.seen.is_empty() {
        html += &format!("<pre class=\"seen\">{}</pre>", escaped(&attempt.seen));
    }
    if let Some(output) = &attempt.output {
        let end = if output.tail.is_empty() { &output.head } else { &output.tail };
        let mut from = end.len().saturating_sub(LAST);
        while !end.is_char_boundary(from) {
            from += 1;
        }
        if !end[from..].trim().is_empty() {
            // A browser takes a newline at the beginning of a <pre> for none.
            html += &format!("<pre class=\"output\">\n{}</pre>", escaped(&end[from..]));
        }
    }
    html
}

fn counted(count: u64, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {what}{s}", grouped(count))
}

/// `12,345`.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_counts_can_be_read() {
        assert_eq!([1, 999, 1000, 1_234_567].map(grouped), ["1", "999", "1,000", "1,234,567"]);
        assert_eq!((counted(1, "job"), counted(5000, "job")), ("1 job".into(), "5,000 jobs".into()));
    }
}
