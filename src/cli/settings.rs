//! The profile that is in force: found, resolved against this host, and changed by the command line.

use crate::host::protect::Protected;
use crate::host::{self, Detection, HostView};
use crate::model::{Bytes, Profile};
use crate::profile::file::JobSection;
use crate::profile::values::{Percent, Reserve, Timeout};
use crate::profile::{Loaded, ProfileError, ResolvedInputs, Rules, SearchPlaces};

/// What the command line says instead of the profile and its rules.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--reserve`
    pub reserve: Option<Reserve>,
    /// `--max-pressure`
    pub stall: Option<Percent>,
    /// `--run-timeout`
    pub run_timeout: Option<Timeout>,
    /// `--memory`, `--timeout` and what else is said of each job.
    pub job: JobSection,
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

/// A profile for this host, and how it came about.
#[derive(Debug)]
pub struct Chosen {
    /// The profile in force.
    pub profile: Profile,
    /// Its rules, the project's included.
    pub rules: Rules,
    /// Where we are, if that decided.
    pub detection: Option<Detection>,
    /// What the editor uses now.
    pub protected: Protected,
}

/// The profile called `name` for this host. `auto` is the one for the environment, told with its evidence.
///
/// # Errors
/// [`ProfileError`] with the place of the mistake.
pub fn choose(name: &str, view: &HostView, places: &SearchPlaces) -> Result<Chosen, ProfileError> {
    choose_over(name, &Overrides::default(), view, places)
}

fn choose_over(
    name: &str,
    overrides: &Overrides,
    view: &HostView,
    places: &SearchPlaces,
) -> Result<Chosen, ProfileError> {
    let detection = (name == "auto").then(|| host::detect(view));
    let name = detection.as_ref().map_or(name, |detection| detection.profile);
    let mut loaded = crate::profile::load(name, places)?;
    overrides.apply(&mut loaded);
    let protect: Vec<String> = loaded.settings.protect.iter().flatten().map(|name| name.0.clone()).collect();
    let protected = host::protect::measure(&protect);
    let inputs = inputs(view, protected.memory);
    let profile = crate::profile::resolve(&loaded, &inputs)?;
    let rules = crate::profile::rules(&loaded, &inputs)?;
    Ok(Chosen { profile, rules, detection, protected })
}

/// What a run goes by.
#[derive(Debug)]
pub struct Settings {
    /// The profile in force.
    pub profile: Profile,
    /// Its rules, the project's included.
    pub rules: Rules,
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
    let Chosen { profile, rules, protected, .. } =
        choose_over(name, overrides, &view, &SearchPlaces::here())?;
    let visible = inputs(&view, protected.memory);
    Ok(Settings { profile, rules, protected, visible, environment: host::detect(&view) })
}

impl Overrides {
    /// Before percentages meet the host and limits the budget.
    fn apply(&self, loaded: &mut Loaded) {
        let job = &self.job;
        let said = [
            (self.reserve.is_some(), "budget.reserve", "--reserve"),
            (self.stall.is_some(), "pressure.stall", "--max-pressure"),
            (self.run_timeout.is_some(), "run_timeout", "--run-timeout"),
            (job.memory_max.is_some(), "job.memory_max", "--memory"),
            (job.pids_max.is_some(), "job.pids_max", "--pids"),
            (job.cpu_max.is_some(), "job.cpu_max", "--cpus"),
            (job.timeout.is_some(), "job.timeout", "--timeout"),
            (job.slow_after.is_some(), "job.slow_after", "--slow-after"),
            (job.idle_timeout.is_some(), "job.idle_timeout", "--idle-timeout"),
            (job.grace.is_some(), "job.grace", "--grace"),
            (job.retries.is_some(), "job.retries", "--retries"),
            (job.flaky_result.is_some(), "job.flaky_result", "--flaky-result"),
            (job.leak.is_some(), "job.leak", "--leak"),
        ];
        loaded.set_by.extend(said.into_iter().filter(|(said, ..)| *said).map(|(_, key, by)| (key, by)));
        let (budget, pressure) = (&mut loaded.settings.budget, &mut loaded.settings.pressure);
        let reserve = &mut budget.get_or_insert_default().reserve;
        *reserve = self.reserve.or(*reserve);
        let stall = &mut pressure.get_or_insert_default().stall;
        *stall = self.stall.or(*stall);
        loaded.settings.run_timeout = self.run_timeout.or(loaded.settings.run_timeout);
        loaded.options = job.clone();
    }
}
