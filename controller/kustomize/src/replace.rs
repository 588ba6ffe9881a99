//! Replacements: a value of one resource, or of the kustomization itself, copied into fields of others.
//!
//! Invariant: the cost is linear in the number of resources. Selectors and paths are compiled once a replacement.

mod text;

use manifest::Diagnostic;
use manifest::yaml::{MAX_DEPTH, Node, Scalar, ScalarKind, Value};

use crate::field_path::{self, Path, Shape, Trail};
use crate::kustomization::{ExactSelector, FieldOptions, Replacement, SourceSelector, TargetSelector};
use crate::limits::{self, Budget};
use crate::read::{Entry, Given, Text};
use crate::resmap::ResMap;
use crate::resource::Resource;
use crate::select::Matcher;

/// The field that sources and targets are when they name none.
pub(crate) const DEFAULT_PATH: &str = "metadata.name";

/// Copies the value of the source into the fields of the targets.
///
/// # Errors
/// When the source is not one value of one resource, a field of a target is not there, or it is of a type that the value
/// cannot take: a scalar keeps its type and is given the text of the value only.
pub(crate) fn replace(
    resources: &mut ResMap,
    replacement: &Replacement,
    entry: &Entry,
    budget: &Budget<'_>,
) -> Result<(), Diagnostic> {
    let mut source = match (&replacement.source, &replacement.source_value) {
        _ if replacement.targets.is_empty() => return Err(entry.fault(INCOMPLETE)),
        (None, None) => return Err(entry.fault(INCOMPLETE)),
        (Some(_), Some(_)) => {
            return Err(entry.fault("`source` and `sourceValue` are mutually exclusive: give one of them"));
        }
        (None, Some(text)) => {
            let value =
                Node::from(Value::Scalar(Scalar::plain(text.value.as_str()))).with_location(text.entry.at.clone());
            Source { value, untyped: true, lives: None }
        }
        (Some(selector), None) => Source::find(resources.resources(), selector, budget)?,
    };
    let targets: Vec<_> =
        replacement.targets.iter().map(|given| Target::new(given, budget)).collect::<Result<_, _>>()?;
    for target in targets {
        budget.work(resources.len()).map_err(|message| entry.fault(message))?;
        for (index, resource) in resources.resources_mut().iter_mut().enumerate() {
            if !target.selects(resource) {
                continue;
            }
            for (path, entry) in &target.paths {
                set_field(resource, index, (path, entry), target.options, &mut source, budget)
                    .map_err(|message| entry.fault(format!("{message} ({})", of(resource))))?;
            }
        }
    }
    Ok(())
}

const INCOMPLETE: &str = "replacements must specify a source and at least one target";

/// A resource for a message: what it is, and where.
fn of(resource: &Resource) -> String {
    format!("{}/{} at {}", resource.kind(), resource.name(), resource.place())
}

/// The value that is copied.
#[derive(Debug)]
struct Source {
    value: Node,
    /// It is a scalar without a type of its own.
    untyped: bool,
    /// Where it stands: kustomize sees when a replacement changes its own source.
    lives: Option<(usize, Trail)>,
}

impl Source {
    fn find(resources: &[Resource], selector: &Given<SourceSelector>, budget: &Budget<'_>) -> Result<Self, Diagnostic> {
        let Given { value: SourceSelector { id, field_path, options }, entry } = selector;
        budget.work(resources.len()).map_err(|message| entry.fault(message))?;
        let mut matching = resources.iter().enumerate().filter(|(_, resource)| is_selected(resource, id));
        let (index, resource) =
            matching.next().ok_or_else(|| entry.fault(format!("nothing selected by {}", describe(id))))?;
        if let Some((_, second)) = matching.next() {
            let message = "multiple matches for selector";
            return Err(entry.fault(format!(
                "{message} {}: {} and {}; say more of the one that is meant",
                describe(id),
                of(resource),
                of(second)
            )));
        }
        let (text, entry) =
            field_path.as_ref().map_or((DEFAULT_PATH, entry), |given| (given.value.as_str(), &given.entry));
        let found = Path::new(text)
            .lookup(&resource.node)
            .map_err(|error| entry.fault(format!("cannot look up {text:?}: {error} ({})", of(resource))))?;
        let (trail, value) = found.filter(|(_, value)| !is_empty(value)).ok_or_else(|| {
            entry.fault(format!("fieldPath `{text}` is missing for replacement source {}", of(resource)))
        })?;
        let untyped = resource.is_untyped(value.at.as_ref());
        match options.as_ref().filter(|options| !options.delimiter.is_empty()) {
            None => Ok(Self { value: value.clone(), untyped, lives: Some((index, trail)) }),
            Some(options) => {
                let value =
                    part_of(value, options).map_err(|error| entry.fault(format!("{error} ({})", of(resource))))?;
                Ok(Self { value, untyped, lives: None })
            }
        }
    }

    /// Sees what has become of the value in its resource.
    fn see(&mut self, index: usize, node: &Node) {
        let trail = self.lives.as_ref().filter(|(lives, _)| *lives == index).map(|(_, trail)| trail);
        if let Some(value) = trail.and_then(|trail| field_path::at(node, trail)) {
            self.value = value.clone();
        }
    }

    /// Sees that the field at a trail was set.
    fn see_set(&mut self, index: usize, node: &Node, field: &[usize]) {
        if self.lives.as_ref().is_some_and(|(lives, trail)| *lives == index && is_within(trail, field)) {
            // The value was replaced together with what held it.
            self.lives = None;
        }
        self.see(index, node);
    }
}

fn is_within(trail: &[usize], other: &[usize]) -> bool {
    trail.len() > other.len() && trail.starts_with(other)
}

/// Whether one of the ids that a resource has or had is the one that is asked for.
fn is_selected(resource: &Resource, selector: &ExactSelector) -> bool {
    let ExactSelector { gvk, name, namespace } = selector;
    let effective = |namespace: &str| if namespace.is_empty() { "default" } else { namespace }.to_owned();
    let part = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
    let is = |kind: &str, its_name: &str, its_namespace: &str| {
        part(&gvk.kind, kind)
            && part(name, its_name)
            && (namespace.is_empty() || effective(namespace) == effective(its_namespace))
    };
    let previous = &resource.previous;
    let any = is(resource.kind(), resource.name(), resource.namespace())
        || previous.iter().any(|previous| is(&previous.kind, &previous.name, previous.namespace.as_str()));
    any && (gvk.group.is_empty() && gvk.version.is_empty() || {
        let its = resource.gvk();
        part(&gvk.group, its.group) && part(&gvk.version, its.version)
    })
}

fn describe(id: &ExactSelector) -> String {
    let part = |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
    format!("{}/{}.{}", id.gvk, part(&id.name, "[noName]"), part(&id.namespace, "[noNs]"))
}

fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(_) => node.is_null(),
        Value::Sequence(items) => items.is_empty(),
        Value::Mapping(entries) => entries.is_empty(),
    }
}

const SCALARS_ONLY: &str = "delimiter option can only be used with scalar nodes";

/// The part of a text that the options of a source mean.
fn part_of(value: &Node, options: &FieldOptions) -> Result<Node, String> {
    let scalar = value.as_scalar().ok_or(SCALARS_ONLY)?;
    let mut parts = scalar.text.split(&options.delimiter);
    let part = usize::try_from(options.index).ok().and_then(|index| parts.nth(index));
    let part = part.ok_or_else(|| format!("options.index {} is out of bounds for the value", options.index))?;
    // A part of a number that is none itself was an error of kustomize's only where nothing else gave it a type.
    let scalar = Scalar::of_kind(scalar.kind, part).unwrap_or_else(|| Scalar::plain(part));
    Ok(Node { value: Value::Scalar(scalar), at: value.at.clone() })
}

/// A target, compiled.
struct Target<'a> {
    select: Matcher,
    reject: Vec<Matcher>,
    paths: Vec<(Path, &'a Entry)>,
    options: Option<&'a FieldOptions>,
}

impl<'a> Target<'a> {
    fn new(given: &'a Given<TargetSelector>, budget: &Budget<'_>) -> Result<Self, Diagnostic> {
        let Given { value: TargetSelector { select, reject, field_paths, options }, entry } = given;
        let select = select.as_ref().ok_or_else(|| entry.fault("target must specify resources to `select`"))?;
        let paths = if field_paths.is_empty() {
            vec![(Path::new(DEFAULT_PATH), entry)]
        } else {
            let path = |given: &'a Text| {
                let path = Path::new(&given.value);
                budget.configure(path.size()).map_err(|message| given.entry.fault(message))?;
                Ok((path, &given.entry))
            };
            field_paths.iter().map(path).collect::<Result<_, Diagnostic>>()?
        };
        Ok(Self {
            select: Matcher::new(select, budget)?,
            reject: reject.iter().map(|reject| Matcher::new(reject, budget)).collect::<Result<_, _>>()?,
            paths,
            options: options.as_ref(),
        })
    }

    /// A rejecting selector rejects by its id as much as by its labels, not by both together.
    fn selects(&self, resource: &Resource) -> bool {
        let rejects = |matcher: &Matcher| {
            !matcher.has_any_id() && matcher.matches_any_id(resource)
                || !matcher.has_any_labels() && matcher.matches_labels(resource)
        };
        self.select.matches_any_id(resource) && self.select.matches_labels(resource) && !self.reject.iter().any(rejects)
    }
}

/// Sets all fields that a path leads to.
fn set_field(
    resource: &mut Resource,
    index: usize,
    (path, entry): (&Path, &Entry),
    options: Option<&FieldOptions>,
    source: &mut Source,
    budget: &Budget<'_>,
) -> Result<(), String> {
    budget.work_on(limits::size(&source.value))?;
    let create = options.is_some_and(|options| options.create).then(|| Shape::of(&source.value));
    if let Some(trail) = set_within_text(&mut resource.node, path, &source.value, create, budget)? {
        source.see_set(index, &resource.node, &trail);
        return Ok(());
    }
    let verb = if create.is_some() { "find or create" } else { "find" };
    let missing = |reason: &str| format!("unable to {verb} field {:?} in replacement target{reason}", path.to_string());
    let found = path.find(0, &mut resource.node, create, budget).map_err(|error| missing(&format!(": {error}")))?;
    if found.count() == 0 {
        return Err(missing(""));
    }
    source.see(index, &resource.node);
    for place in found.places {
        if !fits(&place.trail, &source.value) {
            return Err(format!("{:?}: the object would nest more than {MAX_DEPTH} levels deep", path.to_string()));
        }
        let Some(field) = field_path::at_mut(&mut resource.node, &place.trail) else { continue };
        if place.made {
            field.at.clone_from(&entry.at);
        }
        let untyped = place.made || resource.untyped.iter().any(|at| field.at.as_ref() == Some(at));
        set(field, untyped, &source.value, options, budget)
            .map_err(|error| format!("{:?}: {error}", path.to_string()))?;
        if untyped || source.untyped {
            let at = field.at.clone().filter(|at| untyped || source.value.at.as_ref() == Some(at));
            resource.add_untyped(at.as_ref());
        }
        source.see_set(index, &resource.node, &place.trail);
    }
    Ok(())
}

/// Whether what a value would be put into does not become too deep to be walked.
fn fits(trail: &[usize], value: &Node) -> bool {
    trail.len() + limits::depth(value) <= MAX_DEPTH
}

/// Sets what a path leads to within a text of JSON or YAML, when it leads there; gives the way to the text.
fn set_within_text(
    node: &mut Node,
    path: &Path,
    value: &Node,
    create: Option<Shape>,
    budget: &Budget<'_>,
) -> Result<Option<Trail>, String> {
    let Some((trail, scalar, parts)) = path.scalar_on_the_way(node) else { return Ok(None) };
    budget.work_on(scalar.text.len())?;
    let Some(written) = written_anew(&scalar.text, (path, parts), value, create, budget) else { return Ok(None) };
    budget.grow(scalar.text.len(), written.len())?;
    if let Some(Value::Scalar(scalar)) = field_path::at_mut(node, &trail).map(|node| &mut node.value) {
        *scalar = Scalar::of_kind(scalar.kind, written).unwrap_or_else(|| scalar.clone());
    }
    Ok(Some(trail))
}

/// The text with what the parts of the path from one on lead to within it set; `None` when they lead nowhere.
fn written_anew(
    written: &str,
    (path, parts): (&Path, usize),
    value: &Node,
    create: Option<Shape>,
    budget: &Budget<'_>,
) -> Option<String> {
    let mut held = field_path::held_by(written).ok()?;
    let found = path.find(parts, &mut held, create, budget).ok()?;
    if found.count() == 0 || !found.places.iter().all(|place| fits(&place.trail, value)) {
        return None;
    }
    if let Some(edited) = text::edit(written, &held, &found.places, value) {
        return Some(edited);
    }
    for place in found.places {
        // The delimiter is not obeyed here by kustomize v5.8.1.
        set(field_path::at_mut(&mut held, &place.trail)?, place.made, value, None, budget).ok()?;
    }
    text::write(&held, written)
}

/// Sets one field. A scalar keeps its type and takes the text of the value, which is none for a list or a mapping;
/// anything else is replaced. An untyped scalar takes the type of its text.
fn set(
    field: &mut Node,
    untyped: bool,
    value: &Node,
    options: Option<&FieldOptions>,
    budget: &Budget<'_>,
) -> Result<(), String> {
    let options = options.filter(|options| !options.delimiter.is_empty());
    let type_name = field.type_name();
    let Value::Scalar(scalar) = &mut field.value else {
        if options.is_some() {
            return Err(SCALARS_ONLY.to_owned());
        }
        budget.grow(limits::size(field), limits::size(value))?;
        *field = value.clone();
        return Ok(());
    };
    let text = value.as_scalar().map_or("", |scalar| scalar.text.as_str());
    let text = options.map_or_else(|| text.to_owned(), |options| spliced(&scalar.text, text, options));
    budget.grow(scalar.text.len(), text.len())?;
    *scalar = if untyped && value.as_scalar().is_none() {
        Scalar { text, kind: ScalarKind::String }
    } else if untyped {
        Scalar::plain(text)
    } else {
        Scalar::of_kind(scalar.kind, text).ok_or_else(|| {
            format!("the field is {type_name} and keeps its type, which the value of the source has not")
        })?
    };
    Ok(())
}

/// A text with one of its parts replaced, or with one more before or behind the others.
fn spliced(text: &str, value: &str, options: &FieldOptions) -> String {
    let FieldOptions { delimiter, index, .. } = options;
    let mut parts: Vec<&str> = text.split(delimiter).collect();
    match usize::try_from(*index).ok().map(|index| parts.get_mut(index)) {
        None => parts.insert(0, value),
        Some(None) => parts.push(value),
        Some(Some(part)) => *part = value,
    }
    parts.join(delimiter)
}

#[cfg(test)]
mod tests;
