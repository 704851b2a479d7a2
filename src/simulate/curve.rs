//! A size over time: straight lines between knots, flat after the last.

/// Times nearer together than this are one.
const AT_ONCE: f64 = 1e-9;

/// Bytes over seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Times rise; the first is 0.
    knots: Vec<(f64, f64)>,
}

/// The straight line of a curve on which someone is who only goes forward.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stretch {
    /// The number of the knot at its end.
    knot: usize,
    from: f64,
    /// Where it ends; infinite after the last knot.
    pub to: f64,
    size: f64,
    next: f64,
    /// Bytes a second.
    pub slope: f64,
}

impl Stretch {
    /// Before any curve.
    pub const NONE: Stretch = Stretch { knot: 0, from: 0.0, to: 0.0, size: 0.0, next: 0.0, slope: 0.0 };

    /// The size at this time, which is on it.
    pub fn at(&self, time: f64) -> f64 {
        self.size + (self.next - self.size) * ((time - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }

    /// Goes on to this time along the curve.
    pub fn follow(&mut self, curve: &Curve, time: f64) {
        while self.to <= time + AT_ONCE {
            let Some(&(from, size)) = curve.knots.get(self.knot) else { return };
            self.knot += 1;
            let (to, next) = curve.knots.get(self.knot).copied().unwrap_or((f64::INFINITY, size));
            *self = Stretch { knot: self.knot, from, to, size, next, slope: (next - size) / (to - from) };
        }
    }
}

impl Curve {
    /// Always `size`.
    pub fn flat(size: f64) -> Curve {
        Curve { knots: vec![(0.0, size)] }
    }

    /// From nothing to `size` at `rate` bytes a second, then flat.
    pub fn ramp(size: f64, rate: f64) -> Curve {
        Curve::steps(&[(0.0, size)], rate)
    }

    /// To each size from its time on, at `rate` bytes a second. What a step has no time for is left out.
    pub fn steps(steps: &[(f64, f64)], rate: f64) -> Curve {
        let mut curve = Curve { knots: vec![(0.0, 0.0)] };
        for (number, &(at, size)) in steps.iter().enumerate() {
            let until = steps.get(number + 1).map_or(f64::INFINITY, |next| next.0);
            let before = curve.at(at);
            let through = at + (size - before).abs() / rate.max(1.0);
            curve.go(at, before);
            curve.go(
                through.min(until),
                if through > until { before + (size - before) * (until - at) / (through - at) } else { size },
            );
        }
        curve
    }

    /// Through these points.
    pub fn through(points: &[(f64, f64)]) -> Curve {
        let mut curve = Curve { knots: vec![(0.0, points.first().map_or(0.0, |first| first.1))] };
        points.iter().for_each(|&(at, size)| curve.go(at, size));
        curve
    }

    /// Adds a knot; one that is not after the last takes its place.
    fn go(&mut self, at: f64, size: f64) {
        match self.knots.last_mut() {
            Some(last) if at - last.0 < AT_ONCE => last.1 = size,
            _ => self.knots.push((at, size)),
        }
    }

    /// The number of knots at or before this time.
    fn passed(&self, time: f64) -> usize {
        self.knots.partition_point(|knot| knot.0 <= time + AT_ONCE)
    }

    /// The size at this time.
    pub fn at(&self, time: f64) -> f64 {
        let passed = self.passed(time);
        let Some(&(from, size)) = self.knots.get(passed.wrapping_sub(1)) else { return 0.0 };
        match self.knots.get(passed) {
            Some(&(to, next)) => size + (next - size) * ((time - from) / (to - from)).clamp(0.0, 1.0),
            None => size,
        }
    }

    /// Bytes a second from this time on.
    pub fn slope(&self, time: f64) -> f64 {
        let passed = self.passed(time);
        match (self.knots.get(passed.wrapping_sub(1)), self.knots.get(passed)) {
            (Some(&(from, size)), Some(&(to, next))) => (next - size) / (to - from),
            _ => 0.0,
        }
    }

    /// When it bends next.
    pub fn next_bend(&self, time: f64) -> f64 {
        self.knots.get(self.passed(time)).map_or(f64::INFINITY, |knot| knot.0)
    }

    /// The largest size.
    pub fn peak(&self) -> f64 {
        self.knots.iter().map(|knot| knot.1).fold(0.0, f64::max)
    }

    /// All knots.
    pub fn knots(&self) -> &[(f64, f64)] {
        &self.knots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_rises_and_then_is_flat() {
        let curve = Curve::ramp(100.0, 50.0);
        assert_eq!((curve.at(0.0), curve.at(1.0), curve.at(2.0), curve.at(9.0)), (0.0, 50.0, 100.0, 100.0));
        assert_eq!((curve.slope(0.5), curve.slope(2.0)), (50.0, 0.0));
        assert_eq!((curve.next_bend(0.0), curve.next_bend(2.0)), (2.0, f64::INFINITY));
    }

    #[test]
    fn who_goes_along_a_curve_sees_what_is_there() {
        let curve = Curve::steps(&[(0.0, 10.0), (5.0, 100.0), (7.0, 20.0)], 30.0);
        let mut stretch = Stretch::NONE;
        for time in (0..200).map(|step| f64::from(step) * 0.1) {
            stretch.follow(&curve, time);
            let seen = (stretch.at(time), stretch.slope, stretch.to);
            assert_eq!(seen, (curve.at(time), curve.slope(time), curve.next_bend(time)), "{time}");
        }
    }

    #[test]
    fn steps_go_up_and_down_and_one_without_time_is_cut_off() {
        let curve = Curve::steps(&[(0.0, 10.0), (5.0, 100.0), (7.0, 20.0)], 30.0);
        assert_eq!(curve.at(4.0), 10.0);
        assert_eq!(curve.at(6.0), 40.0);
        assert_eq!(curve.at(7.0), 70.0, "two of the three seconds that it needs");
        assert!((curve.at(99.0) - 20.0).abs() < 1e-9);
        assert_eq!(curve.peak(), 70.0);
    }
}
