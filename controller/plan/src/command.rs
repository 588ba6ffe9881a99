//! AgentActions of our own: Porter commands that no document runs.
//!
//! Guarantee: each is made once, unless somebody else deletes it: its name follows from the ledger, and its result is noted
//! before it is deleted. Which command is due when is not known here.

use std::collections::BTreeMap;

use api::porter::{AgentAction, AgentActionSpec, ByteString, LocalRef};
use api::{
    BundleRelease, BundleReleaseStatus, BundleState, FORCED_LABEL, GENERATION_LABEL, INPUTS, INVOKE, Inputs,
    PURPOSE_LABEL, PorterIdentity, RELEASE_LABEL, REVISION,
};
use porter::{Invoke, Reference};
use serde_json::{Value, json};

use crate::agent;
use crate::drift;
use crate::invoke;
use crate::name::{DIGEST, MAX_NAME, short};
use crate::observe;
use crate::place;
use crate::planner::Planner;
use crate::release::{self, namespace, release_name};
use crate::step::{Action, Due, Reason, Subject, WaitFor};
use crate::uninstall::Left;

/// The file that the document of an AgentAction of ours is in.
const FILE: &str = "installation.yaml";

/// What an AgentAction of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Applies the document once more.
    Apply,
    /// Applies it by force: it installs over a record that says uninstalled, and upgrades what did not change.
    Force,
    /// Uninstalls what no document does.
    Uninstall,
    /// Deletes Porter's record.
    Forget,
    /// Runs a custom action of the bundle.
    Invoke,
    /// Asks for Porter's record.
    Show,
    /// Asks for what the last run of the bundle said.
    Logs,
    /// Asks whether Porter's storage answers.
    List,
}

impl Purpose {
    const ALL: [Self; 8] =
        [Self::Apply, Self::Force, Self::Uninstall, Self::Forget, Self::Invoke, Self::Show, Self::Logs, Self::List];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Force => "force",
            Self::Uninstall => "uninstall",
            Self::Forget => "forget",
            Self::Invoke => "invoke",
            Self::Show => "show",
            Self::Logs => "logs",
            Self::List => "list",
        }
    }

    /// What takes an installation away, by what Porter has of it; nothing once it is gone, or is kept as a record.
    pub(crate) fn to_remove(bundle: Option<BundleState>, keep_record: bool) -> Option<Self> {
        match bundle? {
            BundleState::Installed => Some(Self::Apply),
            BundleState::Tried | BundleState::Reinstalling => Some(Self::Uninstall),
            BundleState::Uninstalled => (!keep_record).then_some(Self::Forget),
        }
    }

    /// What truly runs a document again. A plain apply of what Porter has already is no run at all, though the last one
    /// failed; by force, a document that says uninstalled would be installed.
    pub(crate) fn again(uninstalled: bool, bundle: Option<BundleState>) -> Self {
        let plain = uninstalled || matches!(bundle, None | Some(BundleState::Tried));
        if plain { Self::Apply } else { Self::Force }
    }

    /// The file that its command reads.
    pub(crate) const fn file(self) -> Option<&'static str> {
        match self {
            Self::Apply | Self::Force => Some(FILE),
            Self::Uninstall | Self::Forget | Self::Invoke | Self::Show | Self::Logs | Self::List => None,
        }
    }

    /// The arguments of its porter command; `custom` is the action that is invoked.
    pub(crate) fn words<'a>(self, porter: &'a PorterIdentity, custom: &'a str) -> Vec<&'a str> {
        match self {
            Self::Apply => vec!["installation", "apply", FILE],
            Self::Force => vec!["installation", "apply", FILE, "--force"],
            Self::Uninstall => vec!["installation", "uninstall", &porter.name, "--namespace", &porter.namespace],
            Self::Forget => vec!["installation", "delete", &porter.name, "--namespace", &porter.namespace],
            Self::Invoke => {
                vec!["installation", "invoke", &porter.name, "--action", custom, "--namespace", &porter.namespace]
            }
            Self::Show => vec!["installation", "show", &porter.name, "--namespace", &porter.namespace],
            Self::Logs => {
                vec!["installation", "logs", "show", "--installation", &porter.name, "--namespace", &porter.namespace]
            }
            Self::List => vec!["installation", "list", "--namespace", &porter.namespace],
        }
    }

    /// What an AgentAction is for, by its label.
    pub(crate) fn of(action: &AgentAction) -> Option<Self> {
        let label = action.metadata.labels.as_ref()?.get(PURPOSE_LABEL)?;
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == label)
    }
}

/// What the names of the AgentActions of a release and purpose begin with. The digest at the end of the release's name stays:
/// it alone tells installations from others whose long names begin in the same way. A name that somebody else gave has none.
pub(crate) fn prefix(release: &BundleRelease, purpose: Purpose) -> String {
    let name = release_name(release);
    let (label, digest) = match name.rsplit_once('-').unwrap_or(("", &name)) {
        (label, digest) if digest.len() <= DIGEST => (label, digest.to_owned()),
        _ => (name.as_str(), short(&json!([name]))),
    };
    let rest = format!("{digest}-{}-", purpose.as_str());
    let mut label = label.to_owned();
    label.truncate(MAX_NAME.saturating_sub(rest.len() + DIGEST + 1));
    match label.trim_end_matches('-') {
        "" => rest,
        label => format!("{label}-{rest}"),
    }
}

/// The revision that asked for an AgentAction of ours, where that is not what asked for its document.
pub(crate) fn revision(action: &AgentAction) -> Option<String> {
    action.metadata.annotations.as_ref()?.get(REVISION).cloned()
}

/// Whether an AgentAction has the name of one of ours.
pub(crate) fn is_named(release: &BundleRelease, purpose: Purpose, action: &str) -> bool {
    action.strip_prefix(&prefix(release, purpose)).is_some_and(|rest| rest.len() == DIGEST)
}

/// A Porter command that runs once.
pub(crate) struct Command<'a> {
    /// What it is for.
    pub(crate) purpose: Purpose,
    /// The uid and generation of the Installation.
    pub(crate) identity: (String, i64),
    /// How many were made for that before it.
    pub(crate) attempt: i32,
    /// The spec that it applies, or that the installation has: it runs with the AgentConfig of that.
    pub(crate) spec: &'a Value,
    /// What is asked for by hand and is carried out by it.
    pub(crate) forced: Option<&'a str>,
    /// The custom action to run.
    pub(crate) invoke: Option<&'a Invoke>,
    /// The revision that asks for it, where that is not what asked for the document.
    pub(crate) revision: Option<&'a str>,
    /// What its sets give to it.
    pub(crate) inputs: Option<Inputs>,
    /// The bundle to run, where Porter is not to look for it in what it ran last.
    pub(crate) bundle: Option<Reference>,
}

impl<'a> Command<'a> {
    /// The AgentConfig that its document names.
    fn agent(&self) -> Option<&'a str> {
        agent::of(self.spec)
    }

    fn action(&self, release: &BundleRelease) -> AgentAction {
        let (uid, generation) = &self.identity;
        let name = match self.invoke {
            Some(invoke) => invoke::name(release, invoke),
            None => format!("{}{}", prefix(release, self.purpose), short(&json!([uid, generation, self.attempt]))),
        };
        let custom = self.invoke.map(|invoke| invoke.action.as_str()).unwrap_or_default();
        let words = self.purpose.words(&release.spec.installation, custom);
        let bundle = self.bundle.iter().flat_map(|bundle| ["--reference".to_owned(), bundle.to_string()]);
        let file = self.purpose.file().map(|name| (name.to_owned(), file(self.spec)));
        let spec = AgentActionSpec {
            agent_config: Some(LocalRef::new(agent::name(self.agent()))),
            args: words.into_iter().map(str::to_owned).chain(bundle).collect(),
            files: file.into_iter().collect(),
            ..AgentActionSpec::default()
        };
        let mut action = AgentAction::new(&name, spec);
        action.metadata.namespace = Some(namespace(release));
        let mut labels: BTreeMap<String, String> =
            release::owner_labels(&release.spec.sync).map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        labels.insert(RELEASE_LABEL.to_owned(), release_name(release));
        labels.insert(PURPOSE_LABEL.to_owned(), self.purpose.as_str().to_owned());
        labels.insert(GENERATION_LABEL.to_owned(), generation.to_string());
        labels.extend(self.forced.map(|forced| (FORCED_LABEL.to_owned(), forced.to_owned())));
        action.metadata.labels = Some(labels);
        let invoke = self.invoke.map(|invoke| (INVOKE.to_owned(), invoke.value.clone()));
        let revision = self.revision.map(|revision| (REVISION.to_owned(), revision.to_owned()));
        // Maps of strings have a JSON form.
        let inputs = self.inputs.as_ref().and_then(|inputs| serde_json::to_string(inputs).ok());
        let inputs = inputs.map(|inputs| (INPUTS.to_owned(), inputs));
        let annotations: BTreeMap<String, String> = invoke.into_iter().chain(revision).chain(inputs).collect();
        action.metadata.annotations = (!annotations.is_empty()).then_some(annotations);
        action
    }
}

impl<'a> Planner<'a> {
    /// Our AgentActions for a release.
    pub(crate) fn ours(&self, release: &BundleRelease) -> &'a [AgentAction] {
        self.input.live.ours.get(&place::release(release)).map(Vec::as_slice).unwrap_or_default()
    }

    /// What keeps a release from anything new: an AgentAction of ours that is on.
    pub(crate) fn command(&self, release: Option<&BundleRelease>) -> Option<WaitFor> {
        let on = self.ours(release?).iter().find(|action| observe::end(action).is_none())?;
        Some(WaitFor::Command { action: on.metadata.name.clone().unwrap_or_default() })
    }

    /// Deletes those of our AgentActions whose result is noted.
    pub(crate) fn delete_noted(&mut self, subject: &Subject, release: &BundleRelease, status: &BundleReleaseStatus) {
        let noted = |name: &str| status.has_noted(name);
        let over = self.ours(release).iter().filter(|action| observe::end(action).is_some());
        for action in over.filter(|action| action.metadata.name.as_deref().is_some_and(noted)) {
            self.delete(subject, action, Reason::Superseded);
        }
    }

    /// Runs a Porter command once, as soon as the AgentConfig for that is ready.
    pub(crate) fn run_command(
        &mut self,
        subject: &Subject,
        release: &BundleRelease,
        command: &Command<'_>,
        reason: Reason,
    ) -> Left {
        let kube_namespace = namespace(release);
        let agent = command.agent();
        if let Some(wait) = self.ours_wait(&kube_namespace, agent) {
            return Left::On(wait);
        }
        if let Some(wait) = self.turn(place::release(release)) {
            return Left::On(wait);
        }
        let action = Box::new(command.action(release));
        let message = format!("AgentAction {} runs", action.metadata.name.clone().unwrap_or_default());
        self.push(subject, Action::Run(action), reason, Due::Now);
        Left::Moving(message)
    }
}

/// The document that an AgentAction of ours runs.
pub(crate) fn document(action: &AgentAction) -> Option<Value> {
    action.spec.files.get(FILE).and_then(|file| serde_json::from_slice(&file.0).ok())
}

/// Whether it says uninstalled.
pub(crate) fn uninstalls(action: &AgentAction) -> bool {
    document(action).is_some_and(|document| document["uninstalled"] == true)
}

/// What an AgentAction of ours carries out that is asked for by hand.
pub(crate) fn forced(action: &AgentAction) -> Option<&str> {
    action.metadata.labels.as_ref()?.get(FORCED_LABEL).map(String::as_str)
}

/// The generation of the Installation that an AgentAction of ours runs.
pub(crate) fn generation(action: &AgentAction) -> Option<i64> {
    action.metadata.labels.as_ref()?.get(GENERATION_LABEL)?.parse().ok()
}

/// Porter's document of a spec, as the operator makes it. JSON is YAML.
pub(crate) fn file(spec: &Value) -> ByteString {
    let mut document = drift::without_empty(spec);
    for field in ["schemaVersion", "name", "namespace"] {
        document[field] = spec[field].clone();
    }
    if let Some(fields) = document.as_object_mut() {
        fields.remove("agentConfig");
    }
    ByteString(document.to_string().into_bytes())
}
