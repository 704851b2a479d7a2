//! The profile that is in force: found, resolved against this host, and changed by the command line.

use crate::host::protect::Protected;
use crate::host::{self, Detection, HostView};
use crate::model::profile::Origin;
use crate::model::{Bytes, Profile};
use crate::profile::values::{Cpu, Grace, Percent, Pids, Reserve, Size, Timeout};
use crate::profile::{Loaded, ProfileError, ResolvedInputs, SearchPlaces};

/// What the command line says instead of the profile.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overrides {
    /// `--reserve`
    pub reserve: Option<Reserve>,
    /// `--max-pressure`
    pub stall: Option<Percent>,
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
fn inputs(view: &HostView, protected: Bytes) -> ResolvedInputs {
    ResolvedInputs {
        // Without /proc/meminfo nothing is known; the smallest machine that runs Linux today is a safe guess.
        visible_memory: host::memory::visible_memory(view).map_or(Bytes::mib(512), |visible| visible.value),
        cpus: host::memory::visible_cpus(view).value,
        pids_limit: host::memory::pids_limit(view).map(|visible| visible.value),
        protected,
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
    let (profile, detection, _) = choose_over(name, &Overrides::default(), view, places)?;
    Ok((profile, detection))
}

fn choose_over(
    name: &str,
    overrides: &Overrides,
    view: &HostView,
    places: &SearchPlaces,
) -> Result<(Profile, Option<Detection>, Protected), ProfileError> {
    let detection = (name == "auto").then(|| host::detect(view));
    let name = detection.as_ref().map_or(name, |detection| detection.profile);
    let mut loaded = crate::profile::load(name, places)?;
    let set = overrides.apply(&mut loaded);
    let protect: Vec<String> = loaded.settings.protect.iter().flatten().map(|name| name.0.clone()).collect();
    let protected = host::protect::measure(&protect);
    let inputs = inputs(view, protected.memory);
    if let Some(Reserve::Bytes(reserve)) = overrides.reserve
        && reserve >= inputs.visible_memory
    {
        let message = crate::profile::resolve::too_much(reserve, inputs.visible_memory);
        return Err(ProfileError::Option { option: "--reserve", message });
    }
    let mut profile = crate::profile::resolve(&loaded, &inputs)?;
    for (key, option) in set {
        let origin = Origin { file: "command line".into(), line: 0, text: option.into() };
        profile.origins.insert(key.into(), origin);
    }
    Ok((profile, detection, protected))
}

/// What a run goes by.
#[derive(Debug)]
pub struct Settings {
    /// The profile in force.
    pub profile: Profile,
    /// What the editor uses now.
    pub protected: Protected,
    /// Memory that is visible here, and logical processors.
    pub visible: ResolvedInputs,
    /// Where we are.
    pub environment: Detection,
}

/// What is in force here: the profile called `name`, with the command line's say on top.
///
/// # Errors
/// [`ProfileError`] with the place of the mistake.
pub fn resolve(name: &str, overrides: &Overrides) -> Result<Settings, ProfileError> {
    let view = HostView::capture();
    let (profile, _, protected) = choose_over(name, overrides, &view, &SearchPlaces::here())?;
    let visible = inputs(&view, protected.memory);
    Ok(Settings { profile, protected, visible, environment: host::detect(&view) })
}

impl Overrides {
    /// Before percentages meet the host and limits the budget. Returns which keys were set, by which options.
    fn apply(&self, loaded: &mut Loaded) -> Vec<(&'static str, &'static str)> {
        let mut set = Vec::new();
        if self.reserve.is_some() {
            loaded.settings.budget.get_or_insert_default().reserve = self.reserve;
            set.push(("budget.reserve", "--reserve"));
        }
        if self.stall.is_some() {
            loaded.settings.pressure.get_or_insert_default().stall = self.stall;
            set.push(("pressure.stall", "--max-pressure"));
        }
        let job = loaded.settings.job.get_or_insert_default();
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
