//! One run as a picture (SVG): memory of the machine from the bottom up, the run's cap, how many run and stand still,
//! and the governor's word for it as a band of colour, all on one axis of time.

use std::fmt::Write as _;

use super::trace::{Sample, Trace};
use crate::model::Bytes;
use crate::model::governor::{Action, State};

const LEFT: f64 = 70.0;
const WIDTH: f64 = 860.0;
const MEMORY: (f64, f64) = (30.0, 330.0);
const BAND: (f64, f64) = (345.0, 363.0);
const COUNT: (f64, f64) = (378.0, 468.0);

/// Draws it. `memory`: of the machine.
pub fn svg(trace: &Trace, memory: f64) -> String {
    let end = trace.samples.last().map_or(1.0, |last| last.at).max(0.001);
    let most = trace.samples.iter().map(|sample| sample.running).max().unwrap_or(0).max(1) as f64;
    let mut page = Page { text: String::new(), end };
    page.line(r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 520" font-family="sans-serif" font-size="12">"#);
    page.line(r#"<rect width="960" height="520" fill="white"/>"#);
    page.memory(&thinned(&trace.samples), memory);
    page.states(&trace.samples);
    page.counts(&thinned(&trace.samples), most);
    page.evictions(trace);
    page.axis();
    page.line("</svg>");
    page.text
}

/// No more samples than the picture has dots, with the largest of each few.
fn thinned(samples: &[Sample]) -> Vec<Sample> {
    let few = samples.len().div_ceil(1500).max(1);
    let largest = |few: &[Sample]| few.iter().max_by(|a, b| a.run.total_cmp(&b.run)).cloned();
    samples.chunks(few).filter_map(largest).collect()
}

/// A height in the picture, of a moment.
type Height = fn(&Sample) -> f64;

struct Page {
    text: String,
    end: f64,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn x(&self, at: f64) -> f64 {
        LEFT + WIDTH * at / self.end
    }

    /// From the bottom up: others, editor, run; then what the cap leaves to them.
    fn memory(&mut self, samples: &[Sample], memory: f64) {
        let layers: [(&str, &str, Height); 3] = [
            ("others", "#c9c9c9", |sample| sample.others),
            ("editor", "#7ba7d9", |sample| sample.others + sample.editor),
            ("run", "#e2a35c", |sample| sample.others + sample.editor + sample.run),
        ];
        for (name, colour, top) in layers.iter().rev() {
            let points = self.points(samples, *top, MEMORY, memory);
            let (right, bottom) = (LEFT + WIDTH, MEMORY.1);
            let area = format!(
                r#"<polygon fill="{colour}" points="{LEFT},{bottom} {points} {right},{bottom}"><title>{name}</title></polygon>"#
            );
            self.line(&area);
        }
        let cap = self.points(samples, |s| (s.others + s.editor + s.cap).min(f64::MAX), MEMORY, memory);
        self.line(&format!(
            r##"<polyline fill="none" stroke="#a33" stroke-dasharray="4 2" points="{cap}"/>"##
        ));
        let size = Bytes(memory as u64);
        self.line(&format!(r#"<line x1="{LEFT}" x2="930" y1="30" y2="30" stroke="black"/><text x="{LEFT}" y="22">machine {size}: run (orange), editor (blue), others (grey); dashed: the run's cap on top of the others</text>"#));
        self.line(&format!(r#"<text x="64" y="35" text-anchor="end">{size}</text><text x="64" y="330" text-anchor="end">0</text>"#));
    }

    fn points(
        &self,
        samples: &[Sample],
        of: impl Fn(&Sample) -> f64,
        place: (f64, f64),
        most: f64,
    ) -> String {
        let y = |value: f64| place.1 - (place.1 - place.0) * (value / most).clamp(0.0, 1.0);
        let mut points = String::new();
        for sample in samples {
            let _ = write!(points, "{:.1},{:.1} ", self.x(sample.at), y(of(sample)));
        }
        points
    }

    fn states(&mut self, samples: &[Sample]) {
        let (top, height) = (BAND.0, BAND.1 - BAND.0);
        let mut from = 0;
        for at in 1..=samples.len() {
            let state = samples[from].state;
            if samples.get(at).is_some_and(|sample| sample.state == state) {
                continue;
            }
            let (left, until) = (samples[from].at, samples.get(at).map_or(self.end, |next| next.at));
            let (x, width) = (self.x(left), self.x(until) - self.x(left));
            let colour = colour(state);
            self.line(&format!(r#"<rect x="{x:.1}" y="{top}" width="{width:.1}" height="{height}" fill="{colour}"><title>{state}</title></rect>"#));
            from = at;
            if from == samples.len() {
                break;
            }
        }
        self.line(r#"<text x="64" y="358" text-anchor="end">state</text>"#);
    }

    fn counts(&mut self, samples: &[Sample], most: f64) {
        for (colour, of) in [("#333", (|s| s.running as f64) as Height), ("#36c", |s| s.frozen as f64)] {
            let points = self.points(samples, of, COUNT, most);
            self.line(&format!(r#"<polyline fill="none" stroke="{colour}" points="{points}"/>"#));
        }
        self.line(&format!(r#"<text x="64" y="390" text-anchor="end">{most}</text><text x="64" y="468" text-anchor="end">0</text>"#));
    }

    fn evictions(&mut self, trace: &Trace) {
        let evictions = trace.decisions.iter().filter(|(_, decision)| decision.action == Action::Evict);
        let places: Vec<f64> = evictions.map(|(at, _)| self.x(*at)).collect();
        for x in places {
            self.line(&format!(r##"<line x1="{x:.1}" x2="{x:.1}" y1="370" y2="378" stroke="#a33"><title>eviction</title></line>"##));
        }
    }

    fn axis(&mut self) {
        for part in 0..=5 {
            let at = self.end * f64::from(part) / 5.0;
            let x = self.x(at);
            self.line(&format!(r#"<text x="{x:.1}" y="486" text-anchor="middle">{at:.1} s</text>"#));
        }
        self.line(r#"<text x="70" y="508">black: attempts that live, blue: frozen; red ticks: evictions; green, yellow: starts held, orange: frozen, red: evicting</text>"#);
    }
}

fn colour(state: State) -> &'static str {
    match state {
        State::Green => "#6bb36b",
        State::Yellow => "#e6d04a",
        State::Orange => "#e68a2e",
        State::Red => "#cc3b3b",
    }
}
