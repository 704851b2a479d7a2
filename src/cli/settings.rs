//! The profile that is in force: found, resolved against this host, and changed by the command line.

use std::time::Duration;

use super::exec::{OrMax, Pids};
use crate::host::{self, Detection, HostView};
use crate::model::profile::Origin;
use crate::model::{Bytes, Cpus, Profile};
use crate::profile::{ProfileError, ResolvedInputs, SearchPlaces};

/// What the command line says instead of the profile.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overrides {
    /// `--memory`
    pub memory_max: Option<OrMax<Bytes>>,
    /// `--pids`
    pub pids_max: Option<OrMax<Pids>>,
    /// `--cpus`
    pub cpu_max: Option<OrMax<Cpus>>,
    /// `--timeout`
    pub timeout: Option<Duration>,
    /// `--grace`
    pub grace: Option<Duration>,
}

/// What a profile is resolved against, here and now.
fn inputs(view: &HostView) -> ResolvedInputs {
    ResolvedInputs {
        // Without /proc/meminfo nothing is known; the smallest machine that runs Linux today is a safe guess.
        visible_memory: host::memory::visible_memory(view).map_or(Bytes::mib(512), |visible| visible.value),
        cpus: host::memory::visible_cpus(view).value,
        pids_limit: host::memory::pids_limit(view).map(|visible| visible.value),
    }
}

/// The profile called `name` for this host. `auto` is the one for the environment, told with its evidence.
///
/// # Errors
/// [`ProfileError`] with the place of the mistake.
pub fn choose(
    name: &str,
    view: &HostView,
    places: &SearchPlaces,
) -> Result<(Profile, Option<Detection>), ProfileError> {
    let detection = (name == "auto").then(|| host::detect(view));
    let name = detection.as_ref().map_or(name, |detection| detection.profile);
    let loaded = crate::profile::load(name, places)?;
    Ok((crate::profile::resolve(&loaded, &inputs(view))?, detection))
}

/// The profile that is in force: `name`'s, with the command line's say on top.
///
/// # Errors
/// [`ProfileError`] with the place of the mistake.
pub fn resolve(name: &str, overrides: &Overrides) -> Result<Profile, ProfileError> {
    let (mut profile, _) = choose(name, &HostView::capture(), &SearchPlaces::here())?;
    overrides.apply(&mut profile);
    Ok(profile)
}

impl Overrides {
    fn apply(&self, profile: &mut Profile) {
        let limits = &mut profile.job.limits;
        let mut set = Vec::new();
        if let Some(value) = self.memory_max {
            limits.memory_max = value.into_option();
            set.push(("job.memory_max", "--memory"));
        }
        if let Some(value) = self.pids_max {
            limits.pids_max = value.into_option().map(|pids| pids.0);
            set.push(("job.pids_max", "--pids"));
        }
        if let Some(value) = self.cpu_max {
            limits.cpu_max = value.into_option();
            set.push(("job.cpu_max", "--cpus"));
        }
        if let Some(timeout) = self.timeout {
            profile.job.timeout = Some(timeout);
            set.push(("job.timeout", "--timeout"));
        }
        if let Some(grace) = self.grace {
            profile.job.grace = grace;
            set.push(("job.grace", "--grace"));
        }
        for (key, option) in set {
            let origin = Origin { file: "command line".into(), line: 0, text: option.into() };
            profile.origins.insert(key.into(), origin);
        }
    }
}

impl<T> OrMax<T> {
    fn into_option(self) -> Option<T> {
        match self {
            OrMax::Max => None,
            OrMax::Value(value) => Some(value),
        }
    }
}
