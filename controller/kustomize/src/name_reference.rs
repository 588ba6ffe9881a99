//! Name references: fields that hold the name of another resource follow when that is renamed.
//!
//! A candidate for what a name means is a resource that had it once, is of the kind that the field refers to, and is
//! where the referrer can see it: in its namespace, or cluster-scoped. Of several, that counts which came through the
//! same prefixes and suffixes as the referrer.
//!
//! Invariant: the cost is linear in the resources and their references. Candidates are found by name and namespace, and a
//! resource is walked only by the field specs that are about its kind.

use std::collections::{BTreeSet, HashMap, HashSet};

use manifest::yaml::{Node, Value};
use manifest::{Diagnostic, Location};

use crate::config::BackReference;
use crate::fieldspec::{FieldSpec, Make};
use crate::id::{EffectiveNamespace, Gvk, ResId};
use crate::limits::Budget;
use crate::resmap::ResMap;
use crate::resource::{PreviousId, Resource};
use crate::schema::Schemas;

/// Writes the present names of renamed resources into the fields that refer to them.
///
/// # Errors
/// When a name may mean several resources, or a field is no place for a name.
pub(crate) fn fix_references(
    resources: &mut ResMap,
    references: &[BackReference],
    schemas: &Schemas,
    budget: &Budget<'_>,
) -> Result<(), Diagnostic> {
    budget.work(resources.len()).map_err(Diagnostic::general)?;
    let candidates = Candidates::new(resources.resources(), references, schemas);
    let specs = Specs::new(references, &candidates);
    if resources.resources().iter().all(|resource| specs.of_kind(original_kind(resource)).is_empty()) {
        return Ok(());
    }
    let original_namespaces = original_namespaces(resources.resources(), schemas);
    for resource in resources.resources_mut() {
        let specs = specs.of_kind(original_kind(resource));
        if specs.is_empty() {
            continue;
        }
        let referrer = Referrer::new(resource, schemas)?;
        for (spec, target) in specs {
            if !is_about(spec, &referrer.id.gvk) {
                continue;
            }
            let lookup = Lookup {
                candidates: &candidates,
                original_namespaces: &original_namespaces,
                referrer: &referrer,
                target,
                budget,
                role: spec.path.as_str().ends_with("roleRef/name").then_some(referrer.role.as_ref()).flatten(),
            };
            let mut fix = |node: &mut Node| {
                let at = node.at.clone();
                lookup.fix(node).map_err(|message| Diagnostic { at, message })
            };
            spec.apply_to_matching(&mut resource.node, Make::Nothing, budget, &mut fix).map_err(|fault| {
                Diagnostic {
                    at: fault.at.or_else(|| Some(referrer.place.clone())),
                    message: format!(
                        "updating name reference in '{}' field of '{}': {} (`nameReference` of kind {})",
                        spec.path.as_str(),
                        referrer.id,
                        fault.message,
                        target
                    ),
                }
            })?;
        }
    }
    Ok(())
}

/// The kind that a resource was loaded as.
fn original_kind(resource: &Resource) -> &str {
    resource.previous.first().map_or_else(|| resource.kind(), |first| &first.kind)
}

/// Group and version of a field spec; its kind was compared already, with the kind that the resource was loaded as.
fn is_about(spec: &FieldSpec, gvk: &Gvk) -> bool {
    let part = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
    part(&spec.gvk.group, &gvk.group) && part(&spec.gvk.version, &gvk.version)
}

/// The field specs that can find something or be wrong, by the kind of the referrer, in the order in which they are given.
struct Specs<'r> {
    by_kind: HashMap<&'r str, Vec<(&'r FieldSpec, &'r Gvk)>>,
    /// Of those that are about all kinds.
    others: Vec<(&'r FieldSpec, &'r Gvk)>,
}

impl<'r> Specs<'r> {
    fn new(references: &'r [BackReference], candidates: &Candidates) -> Self {
        let specs: Vec<_> = references
            .iter()
            .flat_map(|reference| {
                let is_useful = candidates.have(&reference.gvk);
                // One that somebody has written may be wrong, though it finds nothing.
                let specs = reference.referrers.iter().filter(move |spec| is_useful || spec.at.is_some());
                specs.map(|spec| (spec, &reference.gvk))
            })
            .collect();
        let of = |kind: &str| {
            let is_about = |(spec, _): &&(&FieldSpec, &Gvk)| spec.gvk.kind.is_empty() || spec.gvk.kind == kind;
            specs.iter().filter(is_about).copied().collect::<Vec<_>>()
        };
        let kinds: HashSet<&str> = specs.iter().map(|(spec, _)| spec.gvk.kind.as_str()).collect();
        Self { by_kind: kinds.into_iter().map(|kind| (kind, of(kind))).collect(), others: of("") }
    }

    fn of_kind(&self, kind: &str) -> &[(&'r FieldSpec, &'r Gvk)] {
        self.by_kind.get(kind).unwrap_or(&self.others)
    }
}

/// A resource that was renamed, as it was before any reference is fixed.
struct Candidate {
    id: ResId,
    /// `metadata.namespace` as it is written.
    namespace: String,
    /// The kinds that it had before.
    kinds: Vec<String>,
    prefixes: Vec<String>,
    suffixes: Vec<String>,
}

/// The renamed resources of the kinds that are referred to, by the names that they had.
#[derive(Default)]
struct Candidates {
    all: Vec<Candidate>,
    by_name: HashMap<String, Named>,
}

/// The namespaces that resources were loaded with, by the one they are in.
type OriginalNamespaces = HashMap<EffectiveNamespace, HashSet<EffectiveNamespace>>;

fn original_namespaces(resources: &[Resource], schemas: &Schemas) -> OriginalNamespaces {
    let mut namespaces: HashMap<_, HashSet<_>> = HashMap::new();
    for resource in resources {
        let now = resource.current_id(schemas).namespace;
        let original = resource.previous.first().map_or(now, |first| first.namespace.as_ref());
        namespaces.entry(now).or_default().insert(original);
    }
    let owned =
        |original: HashSet<EffectiveNamespace<&str>>| original.into_iter().map(EffectiveNamespace::to_owned).collect();
    namespaces.into_iter().map(|(now, original)| (now.to_owned(), owned(original))).collect()
}

/// The places of the candidates that had a name, in load order.
#[derive(Default)]
struct Named {
    all: Vec<usize>,
    by_namespace: HashMap<EffectiveNamespace, Vec<usize>>,
    by_original_namespace: HashMap<EffectiveNamespace, Vec<usize>>,
}

impl Candidates {
    fn new(resources: &[Resource], references: &[BackReference], schemas: &Schemas) -> Self {
        let kinds: HashSet<&str> = references.iter().map(|reference| reference.gvk.kind.as_str()).collect();
        let is_meant = |previous: &PreviousId| kinds.contains("") || kinds.contains(previous.kind.as_str());
        let mut new = Self::default();
        for resource in resources.iter().filter(|resource| resource.previous.iter().any(is_meant)) {
            let Some(first) = resource.previous.first() else { continue };
            let id = resource.current_id(schemas).to_owned();
            for previous in &resource.previous {
                let place = new.all.len();
                let named = new.by_name.entry(previous.name.clone()).or_default();
                if named.all.last() != Some(&place) {
                    named.all.push(place);
                    named.by_namespace.entry(id.namespace.clone()).or_default().push(place);
                    named.by_original_namespace.entry(first.namespace.clone()).or_default().push(place);
                }
            }
            new.all.push(Candidate {
                namespace: resource.namespace().to_owned(),
                kinds: resource.previous.iter().map(|previous| previous.kind.clone()).collect(),
                prefixes: resource.prefixes.clone(),
                suffixes: resource.suffixes.clone(),
                id,
            });
        }
        new
    }

    /// Whether a renamed resource is of a kind.
    fn have(&self, gvk: &Gvk) -> bool {
        self.all.iter().any(|candidate| candidate.was(gvk))
    }
}

impl Candidate {
    /// Whether it had an id of a kind. Group and version have no history.
    fn was(&self, gvk: &Gvk) -> bool {
        let part = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        part(&gvk.group, &self.id.gvk.group)
            && part(&gvk.version, &self.id.gvk.version)
            && (gvk.kind.is_empty() || self.kinds.contains(&gvk.kind))
    }

    fn came_with(&self, referrer: &Referrer, empty_matches: bool) -> bool {
        let same = |left: &[String], right: &[String]| {
            empty_matches && (left.is_empty() || right.is_empty()) || end_the_same(left, right)
        };
        same(&self.prefixes, &referrer.prefixes) && same(&self.suffixes, &referrer.suffixes)
    }
}

/// Whether the shorter list is the end of the longer one; nothing is the end of nothing only.
fn end_the_same(left: &[String], right: &[String]) -> bool {
    if left.is_empty() || right.is_empty() {
        return left.is_empty() && right.is_empty();
    }
    left.ends_with(right) || right.ends_with(left)
}

/// The resource whose fields are fixed, as it was before.
struct Referrer {
    id: ResId,
    place: Location,
    prefixes: Vec<String>,
    suffixes: Vec<String>,
    /// What its `roleRef` refers to.
    role: Option<Gvk>,
    /// The namespaces, as they are written, of the accounts that a RoleBinding names.
    accounts: BTreeSet<String>,
}

impl Referrer {
    fn new(resource: &Resource, schemas: &Schemas) -> Result<Self, Diagnostic> {
        let accounts = if resource.kind() == "RoleBinding" { account_namespaces(resource)? } else { BTreeSet::new() };
        let text = |key: &str| resource.node.at_path(&["roleRef", key]).map(|node| text_of(node).to_owned());
        let role = text("apiGroup").zip(text("kind"));
        Ok(Self {
            id: resource.current_id(schemas).to_owned(),
            place: resource.place(),
            prefixes: resource.prefixes.clone(),
            suffixes: resource.suffixes.clone(),
            role: role.map(|(group, kind)| Gvk { group, version: String::new(), kind }),
            accounts,
        })
    }

    /// Where the resources are that it may mean; none for everywhere.
    fn namespaces(&self) -> Option<BTreeSet<EffectiveNamespace>> {
        let EffectiveNamespace::Named(_) = &self.id.namespace else { return None };
        let accounts = self.accounts.iter().map(|namespace| match namespace.as_str() {
            "" => EffectiveNamespace::Named("default".to_owned()),
            namespace => EffectiveNamespace::Named(namespace.to_owned()),
        });
        Some(accounts.chain([EffectiveNamespace::None, self.id.namespace.clone()]).collect())
    }

    fn sees(&self, candidate: &Candidate) -> bool {
        let namespace = &candidate.id.namespace;
        self.id.namespace == EffectiveNamespace::None
            || *namespace == EffectiveNamespace::None
            || *namespace == self.id.namespace
            || candidate.id.gvk.kind == "ServiceAccount" && self.accounts.contains(&candidate.namespace)
    }
}

fn account_namespaces(binding: &Resource) -> Result<BTreeSet<String>, Diagnostic> {
    let subjects = binding.node.get("subjects").and_then(Node::as_sequence).unwrap_or_default();
    let accounts =
        subjects.iter().filter(|subject| subject.get("kind").and_then(Node::as_str) == Some("ServiceAccount"));
    accounts
        .filter_map(|account| account.get("namespace"))
        .map(|namespace| match namespace.as_str() {
            Some(text) => Ok(text.to_owned()),
            None => {
                let place = namespace.at.clone().unwrap_or_else(|| binding.place());
                let message = format!("the namespace of a subject is {}, not a string", namespace.type_name());
                Err(Diagnostic::at(place, format!("{}/{}: {message}", binding.kind(), binding.name())))
            }
        })
        .collect()
}

/// The text of a scalar; nothing for a list or a mapping.
fn text_of(node: &Node) -> &str {
    node.as_scalar().map_or("", |scalar| scalar.text.as_str())
}

/// What stands beside a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside<'n> {
    /// The name is the whole value.
    Nothing,
    /// Other fields, but no namespace: that of what the name means is to be written there.
    Fields,
    Namespace(&'n str),
}

/// What the names of one field may mean.
struct Lookup<'a> {
    candidates: &'a Candidates,
    original_namespaces: &'a OriginalNamespaces,
    referrer: &'a Referrer,
    /// The kind that the field refers to.
    target: &'a Gvk,
    budget: &'a Budget<'a>,
    /// The kind that stands beside the name.
    role: Option<&'a Gvk>,
}

impl Lookup<'_> {
    /// Renames what a value refers to: a name, a mapping with `name` and maybe `namespace`, or a list of such.
    fn fix(&self, node: &mut Node) -> Result<(), String> {
        match &mut node.value {
            Value::Sequence(items) => {
                let mut made = 0;
                items.iter_mut().try_for_each(|item| match item.value {
                    Value::Sequence(_) => Err("a list in a list is expected to be a name or a mapping".to_owned()),
                    _ => {
                        self.fix_one(item)?;
                        made += item.get("name").unwrap_or(item).as_scalar().map_or(0, |name| name.text.len());
                        self.budget.fits(made)
                    }
                })
            }
            _ => self.fix_one(node),
        }
    }

    fn fix_one(&self, node: &mut Node) -> Result<(), String> {
        if node.is_null() {
            return Ok(());
        }
        if node.as_mapping().is_some() {
            return self.fix_mapping(node);
        }
        let name = text_of(node);
        if let Some(found) = self.find(name, Beside::Nothing)?.filter(|found| found.id.name != name) {
            *node = Node::string(found.id.name.clone()).with_location(node.at.clone());
        }
        Ok(())
    }

    fn fix_mapping(&self, node: &mut Node) -> Result<(), String> {
        let name = node.get("name").ok_or("path config error; no 'name' field in node")?;
        let name = text_of(name);
        let beside = node.get("namespace").map_or(Beside::Fields, |namespace| Beside::Namespace(text_of(namespace)));
        let Some(found) = self.find(name, beside)? else { return Ok(()) };
        let mut set = |key: &str, text: &str| {
            let at = node.get(key).and_then(|old| old.at.clone());
            node.set(key, Node::string(text).with_location(at));
        };
        set("name", &found.id.name);
        if !found.namespace.is_empty() {
            set("namespace", &found.namespace);
        }
        Ok(())
    }

    /// The one renamed resource that a name means, when there is one. With a namespace beside the name, it has to be
    /// the one that the resource had at first or, if no resource was there, has now.
    fn find(&self, name: &str, beside: Beside<'_>) -> Result<Option<&Candidate>, String> {
        let Some(named) = self.candidates.by_name.get(name) else { return Ok(None) };
        let found: Vec<&Candidate> = self
            .places(named, beside)
            .into_iter()
            .filter_map(|place| self.candidates.all.get(place))
            .filter(|candidate| self.referrer.sees(candidate))
            .filter(|candidate| candidate.was(self.target) && self.role.is_none_or(|role| candidate.was(role)))
            .collect();
        if let [one] = found.as_slice() {
            return Ok(Some(one));
        }
        let mut found = found;
        found.retain(|candidate| candidate.came_with(self.referrer, true));
        if found.len() > 1 {
            found.retain(|candidate| candidate.came_with(self.referrer, false));
        }
        let Some((first, others)) = found.split_first() else { return Ok(None) };
        let same = |other: &&Candidate| {
            other.id.name == first.id.name && (beside == Beside::Nothing || other.namespace == first.namespace)
        };
        if others.iter().all(same) {
            return Ok(Some(first));
        }
        let ids: Vec<String> = found.iter().map(|candidate| candidate.id.to_string()).collect();
        Err(format!("found multiple possible referrals for {name:?}: {}", ids.join(", ")))
    }

    fn places(&self, named: &Named, beside: Beside<'_>) -> Vec<usize> {
        let namespaces = self.referrer.namespaces();
        if let Beside::Namespace(namespace) = beside {
            let wanted = EffectiveNamespace::Named(namespace.to_owned());
            let had = |now: &EffectiveNamespace| self.original_namespaces.get(now);
            let was_there = match &namespaces {
                None => self.original_namespaces.values().any(|original| original.contains(&wanted)),
                Some(seen) => seen.iter().filter_map(had).any(|original| original.contains(&wanted)),
            };
            let index = if was_there { &named.by_original_namespace } else { &named.by_namespace };
            return index.get(&wanted).cloned().unwrap_or_default();
        }
        let Some(namespaces) = namespaces else { return named.all.clone() };
        let lists = namespaces.iter().filter_map(|namespace| named.by_namespace.get(namespace));
        let mut places: Vec<usize> = lists.flatten().copied().collect();
        places.sort_unstable();
        places
    }
}

#[cfg(test)]
mod tests {

    use manifest::yaml;

    use super::*;
    use crate::limits::Limits;

    fn reference(kind: &str, specs: &[(&str, &str)]) -> BackReference {
        let referrers = specs.iter().map(|(kind, path)| FieldSpec {
            gvk: Gvk { kind: (*kind).to_owned(), ..Gvk::default() },
            ..FieldSpec::new(path, false)
        });
        BackReference { gvk: Gvk { kind: kind.to_owned(), ..Gvk::default() }, referrers: referrers.collect() }
    }

    fn resources(text: &str) -> ResMap {
        let mut resources = ResMap::default();
        for document in yaml::parse("r.yaml", text.as_bytes()).unwrap() {
            resources.append(Resource::new(document.node, document.origin), &Schemas::builtin()).unwrap();
        }
        resources
    }

    /// Puts a prefix before the names of the resources of a kind, and moves them to a namespace unless that is empty.
    fn rename(resources: &mut ResMap, kind: &str, prefix: &str, namespace: &str) {
        let schemas = Schemas::builtin();
        for resource in resources.resources_mut() {
            if resource.kind() == kind {
                resource.store_previous_id(&schemas);
                resource.set_name(&format!("{prefix}{}", resource.name()));
                resource.prefixes.push(prefix.to_owned());
                if !namespace.is_empty() {
                    resource.set_namespace(namespace);
                }
            }
        }
    }

    /// The referrer of each row stands beside a Secret `s` and a ServiceAccount `a` of the namespace `n`, which became
    /// `p-s` and `p-a` of `m`.
    #[test]
    fn references_follow_in_every_form() {
        let references = [
            reference("Secret", &[("Cr", "spec/secret"), ("Cr", "spec/secrets"), ("", "spec/any")]),
            reference("ServiceAccount", &[("RoleBinding", "subjects"), ("ClusterRoleBinding", "subjects")]),
        ];
        let cr =
            |spec: &str| format!("{{apiVersion: x/v1, kind: Cr, metadata: {{name: c, namespace: m}}, spec: {spec}}}");
        let binding = |kind: &str, namespace: &str, subjects: &str| {
            format!(
                "{{apiVersion: rbac.authorization.k8s.io/v1, kind: {kind}, \
                 metadata: {{name: b, namespace: {namespace}}}, subjects: {subjects}}}"
            )
        };
        let rows = [
            (cr("{secret: s}"), cr("{secret: p-s}")),
            (cr("{secret: q}"), cr("{secret: q}")),
            (cr("{secret: null}"), cr("{secret: null}")),
            (cr("{secrets: [s, q, null, s]}"), cr("{secrets: [p-s, q, null, p-s]}")),
            (cr("{secrets: [{name: s}]}"), cr("{secrets: [{name: p-s, namespace: m}]}")),
            (cr("{secrets: [{name: s, namespace: n}]}"), cr("{secrets: [{name: p-s, namespace: m}]}")),
            (cr("{secrets: [{name: s, namespace: k}]}"), cr("{secrets: [{name: s, namespace: k}]}")),
            (cr("{any: s}"), cr("{any: p-s}")),
            (cr("{other: s}"), cr("{other: s}")),
            (
                cr("{secret: s}").replace("namespace: m", "namespace: k"),
                cr("{secret: s}").replace("namespace: m", "namespace: k"),
            ),
            (
                binding("RoleBinding", "k", "[{kind: ServiceAccount, name: a, namespace: m}]"),
                binding("RoleBinding", "k", "[{kind: ServiceAccount, name: p-a, namespace: m}]"),
            ),
            (
                binding("RoleBinding", "k", "[{kind: ServiceAccount, name: a, namespace: n}]"),
                binding("RoleBinding", "k", "[{kind: ServiceAccount, name: a, namespace: n}]"),
            ),
            (
                binding("ClusterRoleBinding", "''", "[{kind: ServiceAccount, name: a, namespace: n}]"),
                binding("ClusterRoleBinding", "''", "[{kind: ServiceAccount, name: p-a, namespace: m}]"),
            ),
        ];
        for (given, expected) in rows {
            let mut resources = resources(&format!(
                "{{apiVersion: v1, kind: Secret, metadata: {{name: s, namespace: n}}}}\n---\n\
                 {{apiVersion: v1, kind: ServiceAccount, metadata: {{name: a, namespace: n}}}}\n---\n{given}\n"
            ));
            rename(&mut resources, "Secret", "p-", "m");
            rename(&mut resources, "ServiceAccount", "p-", "m");
            fix_references(&mut resources, &references, &Schemas::builtin(), &Budget::new(&Limits::default(), None))
                .unwrap();
            let expected = yaml::parse("t", expected.as_bytes()).unwrap().remove(0).node;
            assert_eq!(resources.resources()[2].node, expected, "{given}");
        }
    }

    #[test]
    fn what_cannot_be_a_reference_is_told_with_its_place() {
        let references = [reference("Secret", &[("Cr", "spec")])];
        let rows = [
            ("[[s]]", "r.yaml:3:57: updating name reference in 'spec' field of 'Cr.v1.x/c.default': a list in a list"),
            (
                "{a: s}",
                "r.yaml:3:57: updating name reference in 'spec' field of 'Cr.v1.x/c.default': path config error; no 'name'",
            ),
        ];
        for (spec, expected) in rows {
            let mut resources = resources(&format!(
                "{{apiVersion: v1, kind: Secret, metadata: {{name: s}}}}\n---\n\
                 {{apiVersion: x/v1, kind: Cr, metadata: {{name: c}}, spec: {spec}}}\n"
            ));
            rename(&mut resources, "Secret", "p-", "");
            let fault = fix_references(
                &mut resources,
                &references,
                &Schemas::builtin(),
                &Budget::new(&Limits::default(), None),
            )
            .unwrap_err()
            .to_string();
            assert!(fault.starts_with(expected), "{fault}");
        }
    }

    /// Of two that had the name, that counts which came through the prefixes of the referrer.
    #[test]
    fn the_layers_of_the_referrer_decide_between_several() {
        let references = [reference("Secret", &[("Cr", "spec")])];
        let text = "{apiVersion: v1, kind: Secret, metadata: {name: s}}\n---\n{apiVersion: x/v1, kind: Cr, metadata: {name: c}, spec: s}\n";
        let mut all = ResMap::default();
        for prefix in ["a-", "b-"] {
            let mut layer = resources(text);
            rename(&mut layer, "Secret", prefix, "");
            rename(&mut layer, "Cr", prefix, "");
            all.append_all(layer, &Schemas::builtin()).unwrap();
        }
        fix_references(&mut all, &references, &Schemas::builtin(), &Budget::new(&Limits::default(), None)).unwrap();
        let specs: Vec<_> = all.resources().iter().filter_map(|one| one.node.get("spec")?.as_str()).collect();
        assert_eq!(specs, ["a-s", "b-s"]);
    }
}
