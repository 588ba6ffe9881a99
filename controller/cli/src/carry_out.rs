//! `run --apply porter`: what the ledger says is not there yet is carried out by the porter CLI of this machine.
//!
//! What is to be done is decided by [`plan::local`], from the ledger and from what Porter tells. Here it is only run:
//! before each command its purpose is written to the state (and with it, the last run that Porter knew), after it what it
//! came to. So after a crash Porter is asked whether the run happened, and how it ended; a porter that still runs is
//! waited for first.
//!
//! Guarantees: one command at a time; sets before the installations that name them, and gone only when nothing names
//! them; a release leaves the ledger once Porter has nothing of it any more; what ran last as it is asked for, and ran
//! well, makes no call of Porter.

use std::collections::{BTreeMap, BTreeSet};

use api::{BundleRelease, InstallationId, PorterIdentity, RunResult};
use jiff::{SignedDuration, Timestamp};
use manifest::ObjectId;
use plan::local::{self, Does, Held, Next, PorterCommand, Ran, Try, Wanted};
use plan::{Step, Subject};
use porter::{Desired, DesiredInstallation, DesiredObject};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::actions::BundleAction;
use crate::documents;
use crate::follow::Listener;
use crate::porter_cli::{Ended, Listed, PorterCli};
use crate::stop::Stop;
use crate::store::{LockedStore, State};

/// How often a failed action is tried again while a branch is followed. An uninstall is for as long as it fails.
const RETRIES: usize = 3;

/// What Porter was given and made to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GivenToPorter {
    /// The sets that Porter has from here.
    sets: Vec<GivenSet>,
    /// The digests of the credential sets of each installation, as of its last success.
    credentials: BTreeMap<String, String>,
    /// The command that was begun, and whose end is not noted.
    command: Option<Begun>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenSet {
    kind: String,
    namespace: String,
    name: String,
    digest: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Begun {
    installation: InstallationId,
    /// What the bundle does: the line that was told.
    line: String,
    does: String,
    wanted: String,
    credentials: String,
    /// The last run that Porter knew before.
    last_run: Option<String>,
    started: Timestamp,
}

impl GivenSet {
    fn of(set: &DesiredObject) -> Option<Self> {
        let (namespace, name) = set.porter_identity.clone()?;
        Some(Self { kind: set.id.kind.clone(), namespace, name, digest: porter::digest(&set.body["spec"]) })
    }

    fn is(&self, other: &Self) -> bool {
        (&self.kind, &self.namespace, &self.name) == (&other.kind, &other.namespace, &other.name)
    }

    /// Porter's command for the kind, and the field of an installation that names it.
    fn words(&self) -> (&'static str, &'static str) {
        match self.kind.as_str() {
            "CredentialSet" => ("credentials", "credentialSets"),
            _ => ("parameters", "parameterSets"),
        }
    }

    /// Whether a name in an installation of a Porter namespace may mean this set.
    fn is_named(&self, namespace: &str, credentials: &[String], parameters: &[String]) -> bool {
        let names = if self.kind == "CredentialSet" { credentials } else { parameters };
        (self.namespace == namespace || self.namespace.is_empty()) && names.contains(&self.name)
    }
}

/// How patient a run is with what failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// What failed is tried now, however often it was.
    pub(crate) at_once: bool,
    /// The first pause before what failed is tried again; each next one is twice as long.
    pub(crate) pause: SignedDuration,
}

/// Where a revision is carried out, and by what.
pub(crate) struct CarryOut<'a> {
    store: &'a LockedStore,
    cli: &'a PorterCli,
    stop: &'a Stop,
    patience: Patience,
    pub(crate) listener: &'a mut dyn Listener,
    /// Whether this revision was carried out before: then only what runs is told.
    again: bool,
    state: State,
    /// Everything is as it is asked for.
    pub(crate) whole: bool,
    /// Something is gone that the source asks for: another plan is due.
    pub(crate) replan: bool,
    /// Sets that Porter did not take.
    failed_sets: BTreeSet<ObjectId>,
    /// Installations that are not as they are asked for.
    unsettled: BTreeSet<InstallationId>,
    /// Of which nothing more is told.
    told: BTreeSet<InstallationId>,
    noted: BTreeSet<ObjectId>,
}

/// What two documents may not both ask for: Porter knows no Kubernetes namespaces.
pub(crate) fn clashes(desired: &Desired) -> Vec<String> {
    let mut seen = BTreeMap::new();
    let installations = desired.installations.iter().map(|one| {
        let identity = (String::from("installation"), one.id.porter_namespace.clone(), one.id.name.clone());
        (identity, &one.origin)
    });
    let sets = desired.sets.iter().filter_map(|set| {
        let (namespace, name) = set.porter_identity.clone()?;
        Some(((set.id.kind.clone(), namespace, name), &set.origin))
    });
    let mut clashes = Vec::new();
    for (identity, origin) in installations.chain(sets) {
        let (kind, namespace, name) = identity.clone();
        if let Some(other) = seen.insert(identity, origin) {
            clashes.push(format!(
                "{origin}: {kind} {namespace}/{name} is at {other} too: one Porter has no Kubernetes namespaces to tell \
                 them apart; remove one of them, or give it another Porter name or namespace"
            ));
        }
    }
    clashes
}

/// An installation that moves to another Kubernetes namespace is the same one for Porter.
pub(crate) fn rehome(state: &mut State, desired: &Desired) {
    let known: BTreeSet<InstallationId> = state.releases.iter().map(BundleRelease::installation_id).collect();
    for wanted in desired.installations.iter().filter(|wanted| !known.contains(&wanted.id)) {
        let same = |release: &&mut BundleRelease| release.spec.installation == wanted.id.porter();
        if let Some(release) = state.releases.iter_mut().find(same) {
            release.metadata.namespace = Some(wanted.id.kube_namespace.clone());
        }
    }
}

impl<'a> CarryOut<'a> {
    /// Reads the state.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn new(
        store: &'a LockedStore,
        cli: &'a PorterCli,
        stop: &'a Stop,
        patience: Patience,
        listener: &'a mut dyn Listener,
        again: bool,
    ) -> anyhow::Result<Self> {
        let state = store.read().state()?;
        Ok(Self {
            store,
            cli,
            stop,
            patience,
            listener,
            again,
            state,
            whole: true,
            replan: false,
            failed_sets: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            told: BTreeSet::new(),
            noted: BTreeSet::new(),
        })
    }

    /// A plan has been made, and is in the state.
    pub(crate) fn begin_round(&mut self, state: State) {
        self.state = state;
        (self.whole, self.replan) = (true, false);
        self.failed_sets.clear();
        self.unsettled.clear();
    }

    /// Notes what became of a command that was begun by an earlier process, or whose end could not be noted. Gives whether
    /// nothing is on any more.
    pub(crate) async fn recover(&mut self) -> anyhow::Result<bool> {
        let what = self.given().command.as_ref().map(|begun| begun.line.clone());
        let what = what.map_or_else(
            || "the porter that was begun before".to_owned(),
            |line| format!("the porter that was begun before, to {line}"),
        );
        let listener = &mut *self.listener;
        let waits = || listener.note(&format!("waiting for {what}"));
        if !self.cli.idle(self.stop, waits).await? {
            return Ok(false);
        }
        if self.given().command.is_some() {
            self.latch(None).await?;
        }
        Ok(true)
    }

    /// Carries out what the ledger asks for, in the order of a plan.
    pub(crate) async fn carry_out(&mut self, desired: &Desired, steps: &[Step]) -> anyhow::Result<()> {
        let mut seen = BTreeSet::new();
        for subject in steps.iter().map(|step| &step.subject).filter(|subject| seen.insert((*subject).clone())) {
            match subject {
                Subject::Installation(id) => self.installation(desired, id).await?,
                Subject::Object(id) => match desired.sets.iter().find(|set| set.id == *id) {
                    Some(set) if set.porter_identity.is_some() => self.set(set).await?,
                    _ => self.skip(id),
                },
            }
            if self.stop.is_asked() {
                self.whole = false;
                return Ok(());
            }
        }
        self.drop_sets(desired).await
    }

    fn skip(&mut self, id: &ObjectId) {
        if !self.again && self.noted.insert(id.clone()) {
            let file = documents::object_file(id);
            self.listener.note(&format!("not applied: {file}: porter has no command for a {}", id.kind));
        }
    }

    async fn set(&mut self, set: &DesiredObject) -> anyhow::Result<()> {
        let Some(given) = GivenSet::of(set) else { return Ok(()) };
        if self.given().sets.contains(&given) {
            return Ok(());
        }
        let noun = given.words().0;
        let file = (format!("{noun}.yaml"), local::set_document(&set.body["spec"]));
        let arguments = [noun, "apply", &file.0].map(str::to_owned);
        // Given again after a crash: to Porter that is the same.
        let ended = self.run(&arguments, Some(&file)).await?;
        if ended == Ended::Exit(Some(0)) {
            self.listener.note(&format!("applied {} {}/{}", set.id.kind, given.namespace, given.name));
            let all = &mut self.given_mut().sets;
            all.retain(|other| !other.is(&given));
            all.push(given);
            return self.save();
        }
        self.whole = false;
        self.failed_sets.insert(set.id.clone());
        if !self.again {
            let log = self.cli.log();
            let how = how(ended);
            self.listener.fault(&format!(
                "{}: `porter {noun} apply` {how}; it says why in {}",
                set.origin,
                log.display()
            ));
        }
        Ok(())
    }

    async fn installation(&mut self, desired: &Desired, id: &InstallationId) -> anyhow::Result<()> {
        let asked = desired.installations.iter().find(|wanted| wanted.id == *id);
        let mut ran = false;
        loop {
            let Some(release) = self.release(id).cloned() else { return Ok(()) };
            let (wanted, credentials) = self.wanted(&release, desired, asked);
            if local::is_settled(&release, &wanted) {
                return self.unchanged(&release, ran);
            }
            if let Some(wait) = self.waits(&release, desired, asked, &wanted) {
                return self.leave(id, wait);
            }
            let held = self.cli.held(&release.spec.installation).await?;
            match local::next(&release, &wanted, held.as_ref()) {
                Next::Settled => {
                    let now = Timestamp::now();
                    let (does, result) = (Does::Uninstall, RunResult::Succeeded);
                    let done = Ran { wanted: &wanted.digest, does, run: None, started: now, finished: now, result };
                    self.note(id, &done, held.as_ref());
                    self.save()?;
                }
                Next::Gone => {
                    self.replan |= asked.is_some();
                    self.state.releases.retain(|other| other.installation_id() != *id);
                    self.given_mut().credentials.remove(&id.to_string());
                    self.save()?;
                    return self.unchanged(&release, ran || asked.is_some());
                }
                Next::Foreign(run) => {
                    let fault = format!(
                        "{}: Porter says that its run {run} is on, and it was not begun from here: wait for its end; if \
                         its porter was killed, run `porter installation upgrade` or `uninstall` by hand",
                        place(&release)
                    );
                    return self.leave(id, Some(fault));
                }
                Next::Run(command) => {
                    ran |= command.does != Does::Forget;
                    if !self.action(&release, &wanted, credentials, &command, held.as_ref()).await? {
                        return self.leave(id, None);
                    }
                }
            }
            if self.stop.is_asked() {
                return self.leave(id, None);
            }
        }
    }

    /// What is wanted of an installation, and the digest of its credential sets.
    fn wanted(
        &self,
        release: &BundleRelease,
        desired: &Desired,
        asked: Option<&DesiredInstallation>,
    ) -> (Wanted, String) {
        let sets = asked.map(|asked| desired.sets_of(asked)).unwrap_or_default();
        let digests = |credentials: Option<bool>| -> Vec<String> {
            let kind = |set: &&&DesiredObject| credentials.is_none_or(|is| (set.id.kind == "CredentialSet") == is);
            sets.iter().filter(kind).map(|set| porter::digest(&set.body["spec"])).collect()
        };
        let spec = release.spec.asked.digest.clone();
        let digest = if sets.is_empty() { spec } else { porter::digest(&json!([spec, digests(None)])) };
        let credentials = porter::digest(&json!(digests(Some(true))));
        let before = self.given().credentials.get(&release.installation_id().to_string()).cloned();
        let credentials_changed = before.is_some_and(|before| before != credentials);
        (Wanted { digest, credentials_changed }, credentials)
    }

    /// What keeps an installation from its next command, if anything does; without words where that was told before.
    fn waits(
        &self,
        release: &BundleRelease,
        desired: &Desired,
        asked: Option<&DesiredInstallation>,
        wanted: &Wanted,
    ) -> Option<Option<String>> {
        let leaving = release.spec.removed.is_some();
        let mut sets = asked.filter(|_| !leaving).map(|asked| desired.sets_of(asked)).into_iter().flatten();
        if let Some(set) = sets.find(|set| self.failed_sets.contains(&set.id)) {
            return Some(Some(format!("{}: it waits for {}, which Porter did not take", place(release), set.id)));
        }
        // In the order of the plan, what comes first was looked at before.
        let mut on = asked.filter(|_| !leaving).map(|asked| &asked.depends_on).into_iter().flatten();
        if let Some(on) = on.find(|on| self.unsettled.contains(on)) {
            let on = format!("{}/{}", on.porter_namespace, on.name);
            return Some(Some(format!(
                "{}: it waits for {on}, which it depends on and which is not as asked",
                place(release)
            )));
        }
        let id = release.installation_id();
        let depends = |other: &&BundleRelease| {
            other.spec.removed.is_some() && other.spec.asked.depends_on.contains(&id) && other.installation_id() != id
        };
        if let Some(user) = self.state.releases.iter().find(depends).filter(|_| leaving) {
            let user = format!("{}/{}", user.spec.installation.namespace, user.spec.installation.name);
            return Some(Some(format!(
                "{}: its uninstall waits for that of {user}, which depends on it",
                place(release)
            )));
        }
        if self.patience.at_once {
            return None;
        }
        match local::due(release, wanted, self.patience.pause, RETRIES, Timestamp::now()) {
            Try::Now => None,
            Try::At(_) | Try::Never => Some(None),
        }
    }

    /// Runs a bundle's action, or lets its record go. Gives whether that went well.
    async fn action(
        &mut self,
        release: &BundleRelease,
        wanted: &Wanted,
        credentials: String,
        command: &PorterCommand,
        held: Option<&Held>,
    ) -> anyhow::Result<bool> {
        let line = line(release, command.does);
        if command.does != Does::Forget {
            self.listener.action(&line)?;
        }
        self.given_mut().command = Some(Begun {
            installation: release.installation_id(),
            line,
            does: command.does.as_str().to_owned(),
            wanted: wanted.digest.clone(),
            credentials,
            last_run: held.and_then(|held| held.runs.last()).map(|run| run.id.clone()),
            started: Timestamp::now(),
        });
        self.save()?;
        match self.run(&command.arguments, command.file.as_ref()).await? {
            Ended::Left => Ok(false),
            Ended::Exit(code) => self.latch(Some(code == Some(0))).await,
        }
    }

    /// Notes what the command that was begun came to; `well` when it is known how it ended, and else by what Porter tells
    /// of the run. A command of which Porter knows no run did nothing, so what is due is decided anew. Gives whether it
    /// went well.
    async fn latch(&mut self, well: Option<bool>) -> anyhow::Result<bool> {
        let Some(begun) = self.given().command.clone() else { return Ok(false) };
        let id = &begun.installation;
        let porter = PorterIdentity { namespace: id.porter_namespace.clone(), name: id.name.clone() };
        let held = self.cli.held(&porter).await?;
        let runs = held.as_ref().map(|held| held.runs.as_slice()).unwrap_or_default();
        let before = runs.iter().position(|run| Some(&run.id) == begun.last_run.as_ref());
        let run = runs.get(before.map_or(0, |before| before + 1)..).and_then(<[_]>::last);
        let well = well.or_else(|| run.map(|run| run.status == local::Status::Succeeded));
        self.given_mut().command = None;
        let does = Does::ALL.into_iter().find(|does| does.as_str() == begun.does);
        let (Some(well), Some(does)) = (well, does) else {
            self.save()?;
            return Ok(false);
        };
        let result = if well { RunResult::Succeeded } else { RunResult::Failed };
        let ran = Ran {
            wanted: &begun.wanted,
            does,
            run: run.map(|run| run.id.as_str()),
            started: begun.started,
            finished: Timestamp::now(),
            result,
        };
        self.note(id, &ran, held.as_ref());
        if well && matches!(does, Does::Install | Does::Upgrade) {
            self.given_mut().credentials.insert(id.to_string(), begun.credentials.clone());
        }
        self.tell(&begun, does, well, run.is_some())?;
        self.save()?;
        Ok(well)
    }

    /// Tells a result, before it is noted: rather twice than never.
    fn tell(&mut self, begun: &Begun, does: Does, well: bool, ran: bool) -> anyhow::Result<()> {
        let line = &begun.line;
        match (does, well) {
            (Does::Forget, true) => self.listener.note(line),
            (_, true) if ran => self.listener.action(&format!("succeeded: {line}"))?,
            (_, true) => self.listener.action(&format!("succeeded: {line} (Porter found nothing to do)"))?,
            (Does::Forget, false) => {}
            (_, false) => self.listener.action(&format!("failed: {line}"))?,
        }
        if well {
            return Ok(());
        }
        let Some(release) = self.release(&begun.installation) else { return Ok(()) };
        let what = match (does, ran) {
            (Does::Forget, _) => "`porter installation delete` refused",
            (_, true) => "the bundle failed",
            (_, false) => "Porter ran no bundle",
        };
        let wanted = Wanted { digest: begun.wanted.clone(), credentials_changed: false };
        let again = match local::due(release, &wanted, self.patience.pause, RETRIES, Timestamp::now()) {
            _ if self.patience.at_once => "it is tried again with the next `run`".to_owned(),
            Try::Now => "it is tried again now".to_owned(),
            Try::At(at) => format!("it is tried again at {at:.0}"),
            Try::Never => format!(
                "it was tried again {RETRIES} times, and is not any more: change its document, or `run --once` for one more"
            ),
        };
        let log = self.cli.log();
        self.listener.fault(&format!("{}: {line}: {what}; it says why in {}; {again}", place(release), log.display()));
        Ok(())
    }

    /// Takes away the sets that the source no longer has, once nothing names them.
    async fn drop_sets(&mut self, desired: &Desired) -> anyhow::Result<()> {
        let wanted: Vec<GivenSet> = desired.sets.iter().filter_map(GivenSet::of).collect();
        let left = |given: &&GivenSet| !wanted.iter().any(|set| set.is(given));
        let left: Vec<GivenSet> = self.given().sets.iter().filter(left).cloned().collect();
        if left.is_empty() {
            return Ok(());
        }
        let listed = self.cli.installations().await?;
        for set in left {
            let (noun, field) = set.words();
            if let Some(user) = self.user(&set, field, &listed) {
                if !self.again {
                    let (kind, namespace, name) = (&set.kind, &set.namespace, &set.name);
                    self.listener.note(&format!("{kind} {namespace}/{name} stays: the installation {user} names it"));
                }
                continue;
            }
            let arguments = [noun, "delete", &set.name, "--namespace", &set.namespace].map(str::to_owned);
            let ended = self.run(&arguments, None).await?;
            if ended == Ended::Exit(Some(0)) {
                self.listener.note(&format!("deleted {} {}/{}", set.kind, set.namespace, set.name));
                self.given_mut().sets.retain(|other| !other.is(&set));
                self.save()?;
            } else {
                self.whole = false;
                let log = self.cli.log();
                self.listener.fault(&format!(
                    "{} {}/{}: `porter {noun} delete` {}; it says why in {}",
                    set.kind,
                    set.namespace,
                    set.name,
                    how(ended),
                    log.display()
                ));
            }
        }
        Ok(())
    }

    /// An installation, of whomever, that names a set.
    fn user(&self, set: &GivenSet, field: &str, listed: &[Listed]) -> Option<String> {
        let of_porter = listed
            .iter()
            .find(|one| set.is_named(&one.namespace, &one.credential_sets, &one.parameter_sets))
            .map(|one| format!("{}/{}", one.namespace, one.name));
        let of_ours = || {
            let names = |release: &&BundleRelease| {
                let named = release.spec.asked.spec[field].as_array();
                let named: Vec<String> =
                    named.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
                set.is_named(&release.spec.installation.namespace, &named, &named)
            };
            let release = self.state.releases.iter().find(names)?;
            Some(format!("{}/{}", release.spec.installation.namespace, release.spec.installation.name))
        };
        of_porter.or_else(of_ours)
    }

    async fn run(&mut self, arguments: &[String], file: Option<&(String, Vec<u8>)>) -> anyhow::Result<Ended> {
        let command = arguments.iter().take(2).cloned().collect::<Vec<_>>().join(" ");
        let listener = &mut *self.listener;
        let waits = || {
            listener.note(&format!(
                "waiting for `porter {command}` to end; once more, and it goes on alone: the next `run` finds out how it ended"
            ));
        };
        self.cli.run(arguments, file, self.stop, waits).await
    }

    fn leave(&mut self, id: &InstallationId, fault: Option<String>) -> anyhow::Result<()> {
        self.whole = false;
        self.unsettled.insert(id.clone());
        if let Some(fault) = fault.filter(|_| !self.again && self.told.insert(id.clone())) {
            self.listener.fault(&fault);
        }
        Ok(())
    }

    fn unchanged(&mut self, release: &BundleRelease, ran: bool) -> anyhow::Result<()> {
        let name = release.spec.installation.name.clone();
        if self.told.insert(release.installation_id()) && !ran && !self.again {
            self.listener.action(&BundleAction::Unchanged { name }.to_string())?;
        }
        Ok(())
    }

    fn note(&mut self, id: &InstallationId, ran: &Ran<'_>, held: Option<&Held>) {
        if let Some(release) = self.state.releases.iter_mut().find(|release| release.installation_id() == *id) {
            local::note(release, ran, held);
        }
    }

    fn release(&self, id: &InstallationId) -> Option<&BundleRelease> {
        self.state.releases.iter().find(|release| release.installation_id() == *id)
    }

    fn given(&self) -> std::borrow::Cow<'_, GivenToPorter> {
        self.state.porter.as_ref().map(std::borrow::Cow::Borrowed).unwrap_or_default()
    }

    fn given_mut(&mut self) -> &mut GivenToPorter {
        self.state.porter.get_or_insert_default()
    }

    fn save(&self) -> anyhow::Result<()> {
        self.store.save(&self.state)
    }
}

/// Where the document of a release is.
fn place(release: &BundleRelease) -> String {
    format!("{}:{}", release.spec.asked.file, release.spec.asked.line)
}

/// What is told of an installation when a command begins.
fn line(release: &BundleRelease, does: Does) -> String {
    let name = release.spec.installation.name.clone();
    let version = crate::actions::version(&release.spec.asked.spec);
    match does {
        Does::Install => BundleAction::Install { name, version }.to_string(),
        Does::Upgrade => BundleAction::Upgrade { name, version }.to_string(),
        Does::Uninstall => BundleAction::Uninstall { name }.to_string(),
        Does::Forget => format!("deleted the record of {}/{name}", release.spec.installation.namespace),
    }
}

fn how(ended: Ended) -> String {
    match ended {
        Ended::Exit(Some(code)) => format!("ended with {code}"),
        Ended::Exit(None) => "was killed".to_owned(),
        Ended::Left => "goes on".to_owned(),
    }
}
