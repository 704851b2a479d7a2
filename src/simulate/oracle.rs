//! How long it takes whoever knows all sizes and durations beforehand and keeps each job's peak reserved for its whole
//! life: the best of four orders of list scheduling. Not the optimum, but what a careful person would pack by hand.

use super::case::Case;
use super::job::Plan;

/// Seconds; infinite if a job does not fit at all.
pub fn makespan(case: &Case) -> f64 {
    let room = case.least_room();
    let cpus = f64::from(case.hardware.cpus);
    let keys: [&dyn Fn(&Plan) -> f64; 4] =
        [&|plan| plan.peak(), &|plan| plan.duration, &|plan| plan.peak() * plan.duration, &|plan| {
            plan.duration * (plan.peak() / room).max(plan.cpus / cpus)
        }];
    let packed = keys.iter().map(|key| {
        let mut order: Vec<&Plan> = case.plans.iter().collect();
        order.sort_by(|a, b| key(b).total_cmp(&key(a)));
        pack(&order, room, cpus, case.slots)
    });
    packed.fold(f64::INFINITY, f64::min)
}

/// The same in the order of the list: what it costs not to know durations, however well sizes are known.
pub fn in_order(case: &Case) -> f64 {
    let order: Vec<&Plan> = case.plans.iter().collect();
    pack(&order, case.least_room(), f64::from(case.hardware.cpus), case.slots)
}

/// Whoever fits starts, the first of the list asked first.
fn pack(order: &[&Plan], room: f64, cpus: f64, slots: usize) -> f64 {
    let mut waiting: Vec<&Plan> = order.to_vec();
    let mut running: Vec<(f64, &Plan)> = Vec::new();
    let mut now = 0.0;
    loop {
        let mut used: f64 = running.iter().map(|(_, plan)| plan.peak()).sum();
        let mut busy: f64 = running.iter().map(|(_, plan)| plan.cpus).sum();
        let mut count = running.len();
        waiting.retain(|plan| {
            let memory_fits = used + plan.peak() <= room + 1.0;
            let fits = memory_fits && count < slots && (count == 0 || busy + plan.cpus <= cpus + 1e-9);
            if fits {
                used += plan.peak();
                busy += plan.cpus;
                count += 1;
                running.push((now + plan.duration * (plan.cpus / cpus).max(1.0), plan));
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
        let plans: Vec<Plan> = (0..3).map(|_| Plan::new("job", Curve::flat(40.0), 2.0)).collect();
        let order: Vec<&Plan> = plans.iter().collect();
        assert_eq!(pack(&order, 100.0, 8.0, 9), 4.0);
        assert_eq!(pack(&order, 200.0, 2.0, 9), 4.0, "two processors");
        assert_eq!(pack(&order, 200.0, 8.0, 9), 2.0);
        assert_eq!(pack(&order, 30.0, 8.0, 9), f64::INFINITY);
    }
}
