//! The profile that is in force: found, resolved against this host, and changed by the command line.

use crate::host::{self, Detection, HostView};
use crate::model::profile::Origin;
use crate::model::{Bytes, Profile};
use crate::profile::values::{Cpu, Grace, Pids, Size, Timeout};
use crate::profile::{Loaded, ProfileError, ResolvedInputs, SearchPlaces};

/// What the command line says instead of the profile.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overrides {
    /// `--memory`
    pub memory_max: Option<Size>,
    /// `--pids`
    pub pids_max: Option<Pids>,
    /// `--cpus`
    pub cpu_max: Option<Cpu>,
    /// `--timeout`
    pub timeout: Option<Timeout>,
    /// `--grace`
    pub grace: Option<Grace>,
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
    choose_over(name, &Overrides::default(), view, places)
}

fn choose_over(
    name: &str,
    overrides: &Overrides,
    view: &HostView,
    places: &SearchPlaces,
) -> Result<(Profile, Option<Detection>), ProfileError> {
    let detection = (name == "auto").then(|| host::detect(view));
    let name = detection.as_ref().map_or(name, |detection| detection.profile);
    let mut loaded = crate::profile::load(name, places)?;
    let set = overrides.apply(&mut loaded);
    let mut profile = crate::profile::resolve(&loaded, &inputs(view))?;
    for (key, option) in set {
        let origin = Origin { file: "command line".into(), line: 0, text: option.into() };
        profile.origins.insert(key.into(), origin);
    }
    Ok((profile, detection))
}

/// The profile that is in force here: `name`'s, with the command line's say on top.
///
/// # Errors
/// [`ProfileError`] with the place of the mistake.
pub fn resolve(name: &str, overrides: &Overrides) -> Result<Profile, ProfileError> {
    Ok(choose_over(name, overrides, &HostView::capture(), &SearchPlaces::here())?.0)
}

impl Overrides {
    /// Before percentages meet the host and limits the budget. Returns which keys were set, by which options.
    fn apply(&self, loaded: &mut Loaded) -> Vec<(&'static str, &'static str)> {
        let job = loaded.settings.job.get_or_insert_default();
        let mut set = Vec::new();
        if self.memory_max.is_some() {
            job.memory_max = self.memory_max;
            set.push(("job.memory_max", "--memory"));
        }
        if self.pids_max.is_some() {
            job.pids_max = self.pids_max;
            set.push(("job.pids_max", "--pids"));
        }
        if self.cpu_max.is_some() {
            job.cpu_max = self.cpu_max;
            set.push(("job.cpu_max", "--cpus"));
        }
        if self.timeout.is_some() {
            job.timeout = self.timeout;
            set.push(("job.timeout", "--timeout"));
        }
        if self.grace.is_some() {
            job.grace = self.grace;
            set.push(("job.grace", "--grace"));
        }
        set
    }
}
