//! A job that was said to need more than its limit may have that: it is what it needs, and no mistake of its own.

use crate::model::Bytes;
use crate::model::profile::Origin;
use crate::profile::rules::Ruled;

/// Raises the limit to what is `declared` and a quarter, as far as the budget goes.
pub fn raise(ruled: &mut Ruled, declared: Option<Bytes>, budget: Option<Bytes>) {
    let limit = &mut ruled.settings.limits.memory_max;
    let Some((declared, max)) = declared.zip(*limit) else { return };
    let needed = Bytes(declared.0.saturating_add(declared.0 / 4));
    let raised = budget.map_or(needed, |budget| needed.min(budget));
    if raised > max {
        *limit = Some(raised);
        let how_far = if raised < needed { "as far as the budget goes" } else { "and a quarter more" };
        let text = format!("memory: {declared}, {how_far}");
        ruled.origins.insert("job.memory_max".into(), Origin { file: String::new(), line: 0, text });
    }
}
