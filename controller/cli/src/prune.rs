//! How much one revision may uninstall by leaving it out, so that a slip in the source does not empty the directory.
//!
//! Guarantees: a revision without any document is refused unless it is confirmed; so is one by which, with all that was
//! uninstalled since the last confirmed revision, more of the installations would be gone than a BundleSync lets go by
//! default (half, rounded down; one is always allowed). To confirm is to name the commit: a confirmation says nothing of
//! any other.
//!
//! Installations are counted by their Porter identity: one that moves to another object or Kubernetes namespace is still
//! there. One whose document says `uninstalled: true` is asked for, not left out.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use api::{BundleRelease, Percentage};
use porter::Desired;

use crate::store::State;

/// Porter identities, each as `<Porter namespace>/<name>`.
pub(crate) type Identities = BTreeSet<String>;

/// What is to be remembered as uninstalled since the last confirmed revision.
///
/// # Errors
/// Why nothing may be written, and how to have it written all the same.
pub(crate) fn check(state: &State, desired: &Desired, commit: &str, confirmed: bool) -> Result<Identities, String> {
    if confirmed {
        return Ok(Identities::new());
    }
    let asked: Identities =
        desired.installations.iter().map(|wanted| identity(&wanted.id.porter_namespace, &wanted.id.name)).collect();
    let installed: Identities = state
        .releases
        .iter()
        .filter(|release| !release.spec.asked.spec["uninstalled"].as_bool().unwrap_or(false))
        // Was let pass already, and is not uninstalled yet.
        .filter(|release| release.spec.removed.is_none())
        .map(of)
        .collect();
    let leaving: Identities = installed.difference(&asked).cloned().collect();
    if desired.installations.is_empty() && desired.sets.is_empty() && desired.objects.is_empty() {
        let uninstalls = if leaving.is_empty() { "nothing".to_owned() } else { list(&leaving) };
        return Err(format!(
            "not applied: no document is there, and an empty build is refused, so that a mistake removes nothing; it would \
             uninstall {uninstalls}; {}",
            how(commit)
        ));
    }
    let gone: Identities = state.gone.union(&leaving).filter(|identity| !asked.contains(*identity)).cloned().collect();
    let there = installed.union(&state.gone).count();
    let allowed = Percentage::default().of(there).max(1);
    if leaving.is_empty() || gone.len() <= allowed {
        return Ok(gone);
    }
    let mut refusal = format!("not applied: it would uninstall {}", list(&leaving));
    let before: Identities = gone.difference(&leaving).cloned().collect();
    if !before.is_empty() {
        let _ = write!(refusal, ", after {} since the last confirmed revision", list(&before));
    }
    let _ = write!(refusal, ": {} of {there}, and {allowed} may go unasked; {}", gone.len(), how(commit));
    Err(refusal)
}

fn of(release: &BundleRelease) -> String {
    identity(&release.spec.installation.namespace, &release.spec.installation.name)
}

fn identity(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

fn list(identities: &Identities) -> String {
    identities.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn how(commit: &str) -> String {
    format!("if that is meant, run once with --confirm {commit}")
}
