//! The slice below which all runs of a broker are, and its limits as systemd knows them.
//!
//! What is written to its files systemd overwrites with what it knows: at a `daemon-reload`, and whenever the last run
//! has gone. So it is told, once, what the budget is; what the law makes of that from moment to moment is written.

use zbus::Proxy;
use zbus::zvariant::Value;

use super::ScopeError;
use super::scope::{PATIENCE, SYSTEMD, connect_to_any, words};
use super::service::units::SLICE;
use crate::model::Limits;

/// systemd's word for no limit.
const INFINITY: u64 = u64::MAX;

/// Has systemd limit the slice to this, until the next boot or the next such call.
///
/// Blocks; must not be called from within an async runtime.
///
/// # Errors
/// [`ScopeError`]: no systemd to be asked, or it refuses.
pub fn limit(budget: &Limits) -> Result<(), ScopeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ScopeError::Setup(error.to_string()))?;
    runtime.block_on(async {
        let conversation = tokio::time::timeout(PATIENCE, converse(budget));
        conversation.await.unwrap_or(Err(ScopeError::TimedOut { after: PATIENCE }))
    })
}

async fn converse(budget: &Limits) -> Result<(), ScopeError> {
    let (connection, _) = connect_to_any().await?;
    let refused =
        |error: zbus::Error| ScopeError::Refused { unit: SLICE.to_owned(), message: words(&error).1 };
    let manager =
        Proxy::new(&connection, SYSTEMD, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager");
    let manager = manager.await.map_err(refused)?;
    // Until the next boot: what a profile says is not the machine's configuration.
    let call = (SLICE, true, properties(budget));
    manager.call::<_, _, ()>("SetUnitProperties", &call).await.map_err(refused)
}

fn properties(budget: &Limits) -> Vec<(&'static str, Value<'static>)> {
    let bytes = |limit: Option<crate::model::Bytes>| Value::from(limit.map_or(INFINITY, |bytes| bytes.0));
    let cpu = budget.cpu_max.map_or(INFINITY, |cpus| cpus.milli.saturating_mul(1000));
    vec![
        ("MemoryMax", bytes(budget.memory_max)),
        ("MemorySwapMax", bytes(budget.memory_swap_max)),
        ("TasksMax", Value::from(budget.pids_max.unwrap_or(INFINITY))),
        ("CPUQuotaPerSecUSec", Value::from(cpu)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bytes, Cpus};

    #[test]
    fn a_limit_is_said_in_systemds_units_and_none_takes_the_last_one_off() {
        let all = Limits {
            memory_max: Some(Bytes::gib(1)),
            memory_swap_max: Some(Bytes(0)),
            pids_max: Some(500),
            cpu_max: Some(Cpus { milli: 1500 }),
            ..Limits::default()
        };
        let values = |limits| -> Vec<u64> {
            properties(limits).into_iter().map(|(_, value)| u64::try_from(value).unwrap()).collect()
        };
        // The last one is microseconds of processor time a second.
        assert_eq!(values(&all), [1 << 30, 0, 500, 1_500_000]);
        assert_eq!(values(&Limits::default()), [INFINITY; 4]);
    }
}
