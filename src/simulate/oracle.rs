//! How long it takes whoever knows all sizes and durations beforehand and keeps each job's peak reserved for its whole
//! life: the best of four orders of list scheduling. Not the optimum, but what a careful person would pack by hand.

use super::case::Case;
use super::job::Plan;

/// Seconds; infinite if a job does not fit at all.
pub fn makespan(case: &Case) -> f64 {
    let room = case.least_room();
    let cpus = f64::from(case.hardware.cpus);
    let keys: [&dyn Fn(&Part) -> f64; 4] =
        [&|part| part.peak, &|part| part.duration, &|part| part.peak * part.duration, &|part| {
            part.duration * (part.peak / room).max(part.cpus / cpus)
        }];
    let parts: Vec<Part> = case.plans.iter().map(Part::of).collect();
    let packed = keys.iter().map(|key| {
        let mut order = parts.clone();
        order.sort_by(|a, b| key(b).total_cmp(&key(a)));
        pack(order, room, cpus, case.slots)
    });
    packed.fold(f64::INFINITY, f64::min)
}

/// The same in the order of the list: what it costs not to know durations, however well sizes are known.
pub fn in_order(case: &Case) -> f64 {
    let order = case.plans.iter().map(Part::of).collect();
    pack(order, case.least_room(), f64::from(case.hardware.cpus), case.slots)
}

/// What a job takes of the machine.
#[derive(Debug, Clone, Copy)]
struct Part {
    peak: f64,
    cpus: f64,
    duration: f64,
}

impl Part {
    fn of(plan: &Plan) -> Part {
        Part { peak: plan.peak(), cpus: plan.cpus, duration: plan.duration }
    }
}

/// Whoever fits starts, the first of the list asked first.
fn pack(mut waiting: Vec<Part>, room: f64, cpus: f64, slots: usize) -> f64 {
    let mut running: Vec<(f64, Part)> = Vec::new();
    let mut now = 0.0;
    loop {
        let mut used: f64 = running.iter().map(|(_, part)| part.peak).sum();
        let mut busy: f64 = running.iter().map(|(_, part)| part.cpus).sum();
        let mut count = running.len();
        waiting.retain(|part| {
            let memory_fits = used + part.peak <= room + 1.0;
            let fits = memory_fits && count < slots && (count == 0 || busy + part.cpus <= cpus + 1e-9);
            if fits {
                used += part.peak;
                busy += part.cpus;
                count += 1;
                running.push((now + part.duration * (part.cpus / cpus).max(1.0), *part));
            }
            !fits
        });
        let Some(next) = running.iter().map(|(end, _)| *end).min_by(f64::total_cmp) else {
            return if waiting.is_empty() { now } else { f64::INFINITY };
        };
        now = next;
        running.retain(|(end, _)| *end > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::curve::Curve;

    #[test]
    fn two_of_three_fit_at_once() {
        let part = Part::of(&Plan::new("job", Curve::flat(40.0), 2.0));
        let order = || vec![part; 3];
        assert_eq!(pack(order(), 100.0, 8.0, 9), 4.0);
        assert_eq!(pack(order(), 200.0, 2.0, 9), 4.0, "two processors");
        assert_eq!(pack(order(), 200.0, 8.0, 9), 2.0);
        assert_eq!(pack(order(), 30.0, 8.0, 9), f64::INFINITY);
    }
}
