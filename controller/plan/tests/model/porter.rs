//! What Porter has of each installation, and how it decides. Nothing here asserts: it does what the CLI was recorded
//! doing, however foolish the question.

use serde_json::Value;

use crate::events::Ends;
use crate::state::Model;

/// How many pods that ask Porter something are evicted, at most: it is asked in so many, and by more it would be misled.
const EVICTED: usize = 3;

/// Its record of an installation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) installed: i64,
    pub(crate) uninstalled: i64,
    /// What was applied last.
    document: Resolved,
    /// The last action that modifies: what it was given, its name, and whether it ended well. One that is on did not.
    pub(crate) last: Option<(Resolved, &'static str, bool)>,
    /// A run ended, well or badly.
    logs: bool,
}

/// What a document is compared by: not its labels, nor the values of credentials.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Resolved {
    bundle: Value,
    pub(crate) parameters: Value,
    from_set: Option<i64>,
    credential_sets: Value,
}

/// What a run is given: the credential set as Porter knows it, the Secret that it names, and the parameter set where that
/// is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) set: Option<i64>,
    secret: Option<i64>,
    parameters: Option<i64>,
}

/// A command that a pod was given.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    /// The installation in Porter.
    pub(crate) of: String,
    pub(crate) args: Vec<String>,
    /// `None` while it is on, and for ever where its pod was killed.
    pub(crate) exit: Option<i32>,
    /// The bundle action that began.
    pub(crate) action: Option<&'static str>,
}

/// How far a command has come once its pod runs.
#[derive(Clone, Debug)]
pub(crate) enum Begun {
    /// Before Porter did anything: the bundle cannot be pulled, the storage is out of reach, the pod is evicted.
    Lost,
    /// Porter decided that nothing runs. `true`: exit code 0.
    Decided(bool),
    /// This action would run, if all that it is given were there.
    Starved(&'static str),
    /// A bundle action is on.
    Acts(&'static str, Resolved),
    /// It runs no bundle, and is answered when it ends.
    Asks,
}

impl Begun {
    /// The bundle action that began, or would have.
    pub(crate) fn action(&self) -> Option<&'static str> {
        match self {
            Self::Acts(action, _) | Self::Starved(action) => Some(action),
            Self::Lost | Self::Decided(_) | Self::Asks => None,
        }
    }
}

impl Record {
    pub(crate) fn is_installed(&self) -> bool {
        self.installed > self.uninstalled
    }

    pub(crate) fn is_uninstalled(&self) -> bool {
        self.uninstalled > self.installed
    }

    pub(crate) fn decides(&self, spec: &Value, resolved: &Resolved, force: bool) -> Option<&'static str> {
        let down = spec["uninstalled"] == true;
        match (self.is_installed(), down) {
            (true, true) => Some("uninstall"),
            // By force that installs.
            (false, true) => force.then_some("install"),
            (false, false) if self.is_uninstalled() && !force => None,
            (false, false) => Some("install"),
            (true, false) => {
                let same = self.last.as_ref().is_some_and(|(last, _, _)| last == resolved);
                (force || !same).then_some("upgrade")
            }
        }
    }
}

/// The names in a list of sets.
fn names(sets: &Value) -> impl Iterator<Item = &str> {
    sets.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Which of its values a credential set names.
pub(crate) fn token(spec: &Value) -> i64 {
    let key = spec["credentials"][0]["source"]["secret"].as_str().unwrap_or_default();
    key.strip_prefix("token-").and_then(|n| n.parse().ok()).unwrap_or_default()
}

impl Model {
    /// What a run of a document is given that begins now.
    pub(crate) fn gives(&self, spec: &Value) -> Given {
        let known = |sets: &Value| names(sets).next().and_then(|name| self.known.get(name).copied());
        let secret = names(&spec["credentialSets"]).next().and(self.secret);
        Given { set: known(&spec["credentialSets"]), secret, parameters: known(&spec["parameterSets"]) }
    }

    /// What a run of a document is made for: what the set as it stands gives, once Porter knows it.
    pub(crate) fn says(&self, spec: &Value) -> Given {
        let stands = self.set.as_ref().map(|set| token(&set.body["spec"]));
        Given { set: names(&spec["credentialSets"]).next().and(stands), ..self.gives(spec) }
    }

    pub(crate) fn resolves(&self, spec: &Value) -> Resolved {
        Resolved {
            bundle: spec["bundle"].clone(),
            parameters: spec["parameters"].clone(),
            from_set: self.gives(spec).parameters,
            credential_sets: spec["credentialSets"].clone(),
        }
    }

    /// A command begins, and Porter decides.
    pub(crate) fn begins(&mut self, of: &str, args: &[String], doc: Option<&Value>) -> Begun {
        let flag = |flag: &str| args.iter().any(|arg| arg == flag);
        let verb = args.get(1).map(String::as_str);
        match (verb, doc) {
            (Some("apply"), Some(doc)) => self.applies(of, doc, flag("--force")),
            (Some("invoke" | "uninstall"), _) => {
                let Some(record) = self.porter.get(of) else { return Begun::Decided(false) };
                let document = record.document.clone();
                // The bundle is that of the last run, where none is named.
                if record.last.is_none() && !flag("--reference") {
                    return Begun::Decided(false);
                }
                let starved = names(&document.credential_sets).next().is_some() && self.secret.is_none();
                match (verb, starved) {
                    (Some("invoke"), true) => Begun::Starved("backup"),
                    (Some("invoke"), false) => Begun::Acts("backup", document),
                    (_, true) => Begun::Starved("uninstall"),
                    (_, false) => self.acts("uninstall", of, document),
                }
            }
            _ => Begun::Asks,
        }
    }

    fn applies(&mut self, of: &str, doc: &Value, force: bool) -> Begun {
        let resolved = self.resolves(doc);
        // All sets must be known, even where nothing runs then.
        let sets = names(&doc["credentialSets"]).chain(names(&doc["parameterSets"]));
        if sets.into_iter().any(|name| !self.known.contains_key(name)) {
            return Begun::Decided(false);
        }
        let record = self.porter.get(of).cloned().unwrap_or_default();
        let action = record.decides(doc, &resolved, force);
        if action.is_some() || self.porter.contains_key(of) {
            self.porter.insert(of.to_owned(), Record { document: resolved.clone(), ..record });
        }
        match action {
            None => Begun::Decided(true),
            // The values of credentials are looked up only now.
            Some(action) if names(&doc["credentialSets"]).next().is_some() && self.secret.is_none() => {
                Begun::Starved(action)
            }
            Some(action) => self.acts(action, of, resolved),
        }
    }

    fn acts(&mut self, action: &'static str, of: &str, resolved: Resolved) -> Begun {
        let record = self.porter.entry(of.to_owned()).or_default();
        record.last = Some((resolved.clone(), action, false));
        if action != "uninstall" {
            self.dirty.insert(of.to_owned());
            self.gone.remove(of);
        }
        Begun::Acts(action, resolved)
    }

    /// A command ends; `true`: exit code 0.
    pub(crate) fn ends(&mut self, of: &str, args: &[String], begun: Begun, ends: Ends) -> bool {
        let (action, resolved) = match begun {
            Begun::Decided(well) => return well,
            Begun::Lost | Begun::Starved(_) => return false,
            Begun::Asks => return self.answers(of, args, ends),
            Begun::Acts(action, resolved) => (action, resolved),
        };
        let (now, well) = (self.tick(), ends == Ends::Well);
        let Some(record) = self.porter.get_mut(of) else { return well };
        record.logs = true;
        if !matches!(action, "install" | "upgrade" | "uninstall") {
            return well;
        }
        record.last = Some((resolved, action, well));
        match action {
            "install" if well => record.installed = now,
            "uninstall" if well => {
                record.uninstalled = now;
                self.dirty.remove(of);
                self.gone.insert(of.to_owned());
                if args.iter().any(|arg| arg == "--delete") {
                    self.porter.remove(of);
                }
            }
            _ => {}
        }
        well
    }

    /// What Porter does without a bundle.
    fn answers(&mut self, of: &str, args: &[String], ends: Ends) -> bool {
        let record = self.porter.get(of);
        let verb = args.get(1).map(String::as_str);
        if matches!(verb, Some("show" | "logs" | "list" | "runs")) {
            if ends == Ends::Early && self.evicted < EVICTED {
                self.evicted += 1;
                return false;
            }
            return match verb {
                Some("logs") => record.is_some_and(|record| record.logs),
                Some("list") => true,
                _ => record.is_some(),
            };
        }
        let Some(record) = record.filter(|_| verb == Some("delete") && ends != Ends::Early) else { return false };
        let unsafe_to = !record.last.as_ref().is_some_and(|(_, action, well)| *action == "uninstall" && *well);
        if unsafe_to && !args.iter().any(|arg| arg == "--force") {
            return false;
        }
        if matches!(ends, Ends::Well | Ends::Late) {
            self.forgets(of);
        }
        ends == Ends::Well
    }

    /// Porter's record goes. Where the document came back the release stays, and what is installed then is another one.
    pub(crate) fn forgets(&mut self, of: &str) -> Option<Record> {
        let release = self.releases.values().find(|release| release.spec.installation.name == of);
        let uid = release.and_then(|release| release.metadata.uid.clone());
        self.invoked.retain(|(release, _)| Some(release) != uid.as_ref());
        self.porter.remove(of)
    }
}
