//! What must hold at each step, whatever came before it.

use api::{BundleRelease, BundleReleaseStatus, InstallationId, ReleaseState};
use serde_json::Value;

use crate::state::{CREDS, Model, NAMES, Object, Ours, Read, Run};
use crate::support::{id, set};

impl Model {
    /// Whether a bundle action of an installation is on, or about to begin, as far as it can be known.
    pub(crate) fn is_active(&self, name: &str) -> bool {
        let on = |object: &Object| {
            let mut runs = self.runs.iter().filter(|run| run.uid == object.uid);
            !object.deleting && !runs.any(|run| run.generation == object.generation)
        };
        let release = BundleRelease::object_name(&id(name));
        let commanded = self.ours.iter().any(|ours| ours.is_for(&release) && !ours.is_final());
        // What they began may go on after their Installation is deleted.
        if self.of_others.contains(name) && self.object_of(name).is_none_or(Object::is_foreign) {
            return commanded;
        }
        commanded
            || self.jobs.values().any(|of| of == name)
            || self.runs.iter().any(|run| run.kind == "Installation" && run.doc["name"] == name && !run.is_final())
            || self.object_of(name).is_some_and(on)
    }

    /// The rules of order, for a bundle action that we begin. With a view of before, it is only as good as that. One that is about
    /// to run has its turn already, whatever spec comes before that.
    pub(crate) fn assert_turn(&self, name: &str, spec: &Value) {
        if self.stale || self.moved(name, spec) {
            return;
        }
        let others = NAMES.into_iter().filter(|other| *other != name && self.is_active(other)).count();
        assert!(
            others < self.max_actions || self.is_active(name),
            "{name}: more than {} bundle actions at once",
            self.max_actions
        );
        let Some(first) = self.dependency(name).filter(|_| spec["uninstalled"] != true) else { return };
        let object = self.object_of(first).unwrap_or_else(|| panic!("{name} before {first} is there"));
        let stands = Self::as_document(&object.body["spec"]);
        assert_eq!(stands, Self::spec(first, self.asked[first]), "{name} before {first} is as asked");
        assert_eq!(
            self.well.get(first),
            Some(&(object.uid.clone(), object.generation)),
            "{name} before {first} ran well"
        );
        if !self.older_again.contains(first) {
            assert!(self.porter[first].is_installed(), "{name} before {first} is installed");
        }
    }

    /// What runs reads the set that the source asks for: Porter knows it.
    pub(crate) fn assert_set(&self, name: &str) {
        if self.stale {
            return;
        }
        let asked = set(CREDS, self.set_n).body;
        let stands = self.set.as_ref().filter(|stands| {
            let well = self.set_well == Some((stands.uid.clone(), stands.generation));
            well && Self::as_document(&stands.body["spec"]) == asked["spec"]
        });
        assert!(stands.is_some(), "{name}: before its set ran well");
        let again = self.noted.as_ref().and_then(|noted| noted.again.as_ref());
        let on = self.runs.iter().find(|run| Some(&run.name) == again);
        assert!(on.is_none(), "{name}: while its set is to run again");
    }

    /// Whether a new object asks for what Porter has already: that is no bundle action.
    pub(crate) fn moved(&self, name: &str, spec: &Value) -> bool {
        let record = self.porter.get(name).filter(|_| spec["name"] == name);
        self.object_of(name).is_none()
            && record.is_some_and(|record| record.decides(spec, &self.resolves(spec), false).is_none())
    }

    /// What depends on an installation, and left the source with it, goes first; not one that came back before its uninstall
    /// began: it may be in need of what the other has.
    pub(crate) fn assert_last(&self, release: &BundleRelease) {
        let id = release.installation_id();
        let depends = |one: &BundleRelease, on: &InstallationId| {
            let good = one.status.as_ref().and_then(|status| status.succeeded.as_ref());
            one.spec.asked.depends_on.contains(on) || good.is_some_and(|good| good.depends_on.contains(on))
        };
        // By entries of different times they may depend on one another.
        let others = self
            .releases
            .values()
            .filter(|other| other.spec.asked.depends_on.contains(&id) && !depends(release, &other.installation_id()));
        let goes = |other: &&BundleRelease| {
            let status = other.status.as_ref();
            let gone = status.and_then(|status| status.state) == Some(ReleaseState::Uninstalled);
            // One that came back, and of which something may be there yet; unless it waits for the object that this one has.
            let begun = status.is_some_and(|status| status.uninstall.is_some() && status.bundle.is_some());
            let name = &other.spec.installation.name;
            let back = begun && self.objects[name] != release.spec.object_name;
            other.spec.removed.is_some() && !gone && (back || !self.asked.contains_key(name))
        };
        let first = others.filter(|other| goes(other)).map(|other| &other.status).next();
        assert!(
            first.is_none(),
            "{id}: its uninstall begins before that of what depends on it; by what is stale: {}; {first:?}",
            self.stale
        );
    }

    /// The rule under test: a spec may change only when no run is on, and none can begin for the old one.
    pub(crate) fn assert_idle(&self, kind: &str, of: &str, object: &Object) {
        let runs: Vec<&Run> = self.runs.iter().filter(|run| run.kind == kind && run.uid == object.uid).collect();
        let known = |run: &&Run| !(self.stale && run.again);
        assert!(
            runs.iter().filter(|run| known(run)).all(|run| run.is_final()),
            "{of}: a spec was written during a run"
        );
        let seen = runs.iter().any(|run| run.generation == object.generation);
        assert!(seen || !object.touched, "{of}: a spec was written before the run of the last one");
    }

    pub(crate) fn assert_over(&self, of: &str, what: &str) {
        let runs = self.runs.iter().filter(|run| run.kind == "Installation" && run.of == of);
        assert!(runs.clone().all(Run::is_final), "{what}: during a run");
        assert!(self.ours.iter().filter(|ours| ours.of == of).all(Ours::is_final), "{what}: during a command");
        assert!(!self.jobs.contains_key(of), "{what}: while the bundle runs");
    }

    /// How the document of a generation ran. What a Job that expired does is no news.
    pub(crate) fn note(&mut self, name: &str, generation: i64, well: bool) {
        let Some(object) = self.object_of(name).filter(|object| object.generation == generation) else {
            return;
        };
        let now = (object.uid.clone(), generation);
        match well {
            true => drop(self.well.insert(name.to_owned(), now)),
            false => drop(self.well.remove(name)),
        }
    }

    /// A bundle action begins that may leave something behind. `gone`: it was uninstalled, and not installed since.
    ///
    /// What was written before the uninstall began may yet install, and may install again what failed to: once.
    pub(crate) fn assert_begins(&self, name: &str, action: &str, gone: bool) {
        if action != "install" || self.object_of(name).is_some_and(Object::is_foreign) {
            return;
        }
        assert!(self.release_of(name).is_some(), "{name}: installed, and no release knows");
        assert!(!gone || !self.is_uninstalling(name), "{name}: installed again after its uninstall");
    }

    /// We ask for a run of a document.
    pub(crate) fn assert_asks(&self, name: &str, spec: &Value) {
        assert!(spec["uninstalled"] == true || !self.is_uninstalling(name), "{name}: its uninstall installs it");
    }

    fn release_of(&self, name: &str) -> Option<&BundleRelease> {
        self.releases.values().find(|release| release.spec.installation.name == name)
    }

    /// It left the source, and its uninstall began.
    fn is_uninstalling(&self, name: &str) -> bool {
        let begun = |status: &BundleReleaseStatus| status.uninstall.is_some();
        let release = self.release_of(name).filter(|release| release.spec.removed.is_some());
        release.and_then(|release| release.status.as_ref()).is_some_and(begun)
    }

    /// A run comes to its bundle action, or would if it were given all.
    pub(crate) fn assert_renews(&mut self, name: &str, read: Read) {
        let Read { given, clean, renews, .. } = read;
        let before = self.read.insert(name.to_owned(), read).filter(|before| before.clean && !before.other);
        let known = !self.expired && !self.meddled.contains(name) && !self.unsure.contains(name);
        if let Some(before) = before.filter(|_| renews && clean && known) {
            assert_ne!(given, before.given, "{name}: it runs again for what its sets give, and they give the same");
        }
    }

    /// Something happens for which the spec of an installation is written, at most once.
    ///
    /// What is not written yet does not add up, for only the newest waits: its uninstall, what is asked after that, and
    /// what then corrects a hand or a failure.
    pub(crate) fn owes(&mut self, name: &str) {
        let (reasons, writes) = self.written.entry(name.to_owned()).or_default();
        *reasons = (*reasons + 1).min(*writes + 3);
    }

    /// We give an Installation a spec that it had not: so it runs.
    pub(crate) fn assert_owed(&mut self, name: &str) {
        let (reasons, writes) = self.written.entry(name.to_owned()).or_default();
        *writes += 1;
        assert!(*writes <= *reasons, "{name}: its spec is written {writes} times, where {reasons} changes ask for it");
    }
}
