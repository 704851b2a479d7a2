//! What happens between a run and its broker, in words.

use crate::model::Bytes;
use crate::model::event::BrokerNews;
use crate::model::governor::Signal;
use crate::model::view::{Reason, WaitView, WaitsFor};

/// One sentence about what has changed.
pub fn sentence(news: &BrokerNews) -> String {
    match news {
        BrokerNews::Waits { ahead, wait } => format!("waiting: {}", waits(*ahead, *wait)),
        BrokerNews::Lost => {
            "the broker is gone: what runs goes on, and nothing starts until it is back, or for a second"
                .into()
        }
        BrokerNews::Alone { memory, jobs } => {
            let jobs = if *jobs == 1 { "1 job".to_owned() } else { format!("{jobs} jobs") };
            let share = memory.map_or(jobs.clone(), |memory| format!("{memory} and {jobs} at once"));
            format!("the broker is still gone: the run goes on by itself with its share, {share}")
        }
        BrokerNews::Back => "the broker is back".into(),
        BrokerNews::Complaint { message } => {
            format!("the broker says that it was told something that it does not understand: {message}")
        }
    }
}

/// Why nothing of a run runs, and how many runs are asked before it.
pub fn waits(ahead: u32, wait: WaitView) -> String {
    let why = match wait.why {
        WaitsFor::Held => wait.reason.map_or("memory is short".to_owned(), held),
        WaitsFor::Turn => "others have waited for longer".to_owned(),
        WaitsFor::UserCap => "you have as much as you may".to_owned(),
        WaitsFor::Recovering => "the broker was started anew, and hears first what still runs".to_owned(),
        WaitsFor::Overdue => "this run has not done yet what the broker asked of it".to_owned(),
        WaitsFor::Places => "as many of its jobs run as may".to_owned(),
        WaitsFor::Group => "a group that it needs is taken".to_owned(),
    };
    match ahead {
        0 => format!("{why}; no run is asked before this one"),
        1 => format!("{why}; 1 run is asked before this one"),
        ahead => format!("{why}; {ahead} runs are asked before this one"),
    }
}

fn held(Reason { signal, value, line }: Reason) -> String {
    let waited = |what: &str| format!("{what} {} % of the time, above {} %", value / 10, line / 10);
    match signal {
        None => "all processors are busy".into(),
        Some(Signal::Memory | Signal::FrozenTime) => {
            format!("memory is short: {} free, and {} needed", Bytes(value), Bytes(line))
        }
        Some(Signal::MemoryPressure) => waited("memory is waited for"),
        Some(Signal::CpuPressure) => waited("the editor waits for a processor"),
        Some(Signal::IoPressure) => waited("the disk is waited for"),
        Some(Signal::Refaults) => {
            format!("memory is short: {value} pages a second are read again that were just given up")
        }
        Some(Signal::MemoryHigh) => {
            format!("memory is short: jobs were slowed at memory_high {value} times a second")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_waits_hears_its_place_and_why() {
        let of = |why, reason| WaitView { why, reason };
        let short = Reason { signal: Some(Signal::Memory), value: 100 << 20, line: 300 << 20 };
        assert_eq!(
            waits(2, of(WaitsFor::Held, Some(short))),
            "memory is short: 100 MiB free, and 300 MiB needed; 2 runs are asked before this one"
        );
        assert_eq!(
            waits(1, of(WaitsFor::Turn, None)),
            "others have waited for longer; 1 run is asked before this one"
        );
        let busy = Reason { signal: None, value: 8, line: 8 };
        assert_eq!(
            waits(0, of(WaitsFor::Held, Some(busy))),
            "all processors are busy; no run is asked before this one"
        );
    }
}
