//! [`FieldSpec`]: a field of some kinds, by a path that walks through lists, and the walk itself.

use std::fmt;
use std::sync::Arc;

use manifest::yaml::{MAX_DEPTH, Node, Scalar, ScalarKind, Value};
use manifest::{Diagnostic, Location};

use crate::id::{self, Gvk};
use crate::limits::{self, Budget};
use crate::read::{Entry, Fields, Read};

/// A field of the kinds that the selector matches. Two are the same wherever they are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct FieldSpec {
    /// Exact; empty parts match all.
    pub(crate) gvk: Gvk,
    pub(crate) path: FieldPath,
    /// Whether missing parts of the path are made.
    pub(crate) create: bool,
    /// Where it is written; nothing of one that is built in.
    pub(crate) at: Option<Location>,
}

impl PartialEq for FieldSpec {
    fn eq(&self, other: &Self) -> bool {
        let Self { gvk, path, create, at: _ } = self;
        (gvk, path, create) == (&other.gvk, &other.path, &other.create)
    }
}

impl Eq for FieldSpec {}

impl Read for FieldSpec {
    fn read(node: &Node, entry: &Entry, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        let mut fields = Fields::open(node, entry, faults)?;
        let spec = Self {
            gvk: Gvk::take(&mut fields),
            path: FieldPath::new(fields.take_or_default::<String>("path")),
            create: fields.take_or_default("create"),
            at: node.at.clone(),
        };
        fields.finish();
        Some(spec)
    }
}

impl fmt::Display for FieldSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} with create: {}", self.path.as_str(), self.gvk, self.create)?;
        self.at.as_ref().map_or(Ok(()), |at| write!(f, " ({at})"))
    }
}

/// A path through mappings, split once. Lists on the way are walked through without being named.
#[derive(Clone, Debug)]
pub(crate) struct FieldPath {
    /// Parts between `/`, with `\/` for a slash; `name[]` says that the part is a list.
    text: Arc<str>,
    parts: Arc<[Part]>,
}

#[derive(Debug)]
struct Part {
    name: Box<str>,
    /// `name[]`
    is_list: bool,
    /// What kustomize takes for the place of a list item, which no key of a mapping can be: the path leads nowhere.
    is_index: bool,
}

impl FieldPath {
    pub(crate) fn new(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        let parts = split_path(&text).into_iter().map(|part| {
            let (name, is_list) = part.strip_suffix("[]").map_or((part.as_str(), false), |name| (name, true));
            let is_index = name.parse::<i64>().is_ok()
                || matches!(name, "-" | "*")
                || (name.starts_with('[') && name.ends_with(']'));
            Part { name: name.into(), is_list, is_index }
        });
        Self { parts: parts.collect(), text }
    }

    /// As it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

impl Default for FieldPath {
    fn default() -> Self {
        Self::new("")
    }
}

impl PartialEq for FieldPath {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for FieldPath {}

/// What a walk makes of the last part of a path when it is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Make {
    /// A null without a text, to be set.
    Scalar,
    Mapping,
    /// Nothing is made, whatever the field spec says.
    Nothing,
}

impl FieldSpec {
    /// Of all kinds.
    pub(crate) fn new(path: &str, create: bool) -> Self {
        Self { gvk: Gvk::default(), path: FieldPath::new(path), create, at: None }
    }

    /// Whether the object is of a kind that this is about.
    pub(crate) fn selects(&self, object: &Node) -> bool {
        let text = |key: &str| object.get(key).and_then(Node::as_str).unwrap_or_default();
        let Gvk { group, version, kind } = &self.gvk;
        if !kind.is_empty() && kind != text("kind") {
            return false;
        }
        if group.is_empty() && version.is_empty() {
            return true;
        }
        let (its_group, its_version) = id::split_api_version(text("apiVersion"));
        (group.is_empty() || group == its_group) && (version.is_empty() || version == its_version)
    }

    /// Runs `set` on each value that the path leads to, when the object is of the kind.
    ///
    /// # Errors
    /// When a part of the path is a scalar, `set` fails, or the path is longer than objects are deep: what it would make
    /// were too deep to be walked.
    pub(crate) fn apply(
        &self,
        object: &mut Node,
        make: Make,
        budget: &Budget<'_>,
        set: &mut dyn FnMut(&mut Node) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        if self.selects(object) { self.apply_to_matching(object, make, budget, set) } else { Ok(()) }
    }

    /// As [`Self::apply`], for an object whose kind has been compared already.
    pub(crate) fn apply_to_matching(
        &self,
        object: &mut Node,
        make: Make,
        budget: &Budget<'_>,
        set: &mut dyn FnMut(&mut Node) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let walked = if self.path.parts.len() > MAX_DEPTH {
            Err(object.fault(format!("the field path has more than {MAX_DEPTH} parts")))
        } else {
            self.walk(object, &self.path.parts, make, budget, set)
        };
        walked.map_err(|fault| match &self.at {
            Some(at) => Diagnostic { message: format!("{} (by the field spec at {at})", fault.message), ..fault },
            None => fault,
        })
    }

    fn walk(
        &self,
        node: &mut Node,
        path: &[Part],
        make: Make,
        budget: &Budget<'_>,
        set: &mut dyn FnMut(&mut Node) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let Some((part, rest)) = path.split_first() else { return budget.measured(node, set) };
        let count = match &node.value {
            Value::Sequence(items) => items.len(),
            Value::Mapping(entries) => entries.len(),
            Value::Scalar(_) => 0,
        };
        budget.search(count).map_err(|message| node.fault(message))?;
        match &mut node.value {
            Value::Sequence(items) => items.iter_mut().try_for_each(|item| self.walk(item, path, make, budget, set)),
            Value::Scalar(scalar) if scalar.kind == ScalarKind::Null => Ok(()),
            Value::Scalar(_) => Err(node.fault(format!(
                "field path {:?} goes through {} at {:?}; a list or a mapping is expected there",
                self.path.as_str(),
                node.type_name(),
                part.name,
            ))),
            Value::Mapping(_) if part.name.is_empty() => {
                Err(node.fault(format!("field path {:?} has an empty part", self.path.as_str())))
            }
            Value::Mapping(_) if part.is_index => Err(node.fault(format!(
                "field path {:?} has the part {:?} where there is a mapping, not a list; \
                 lists need no part of their own",
                self.path.as_str(),
                part.name,
            ))),
            Value::Mapping(_) => {
                let creates = self.create && make != Make::Nothing && !part.is_list;
                let is_scalar = creates && rest.is_empty() && make == Make::Scalar;
                let made = || match (part.is_list, is_scalar) {
                    (true, _) => Value::Sequence(Vec::new()),
                    (false, true) => Value::Scalar(Scalar { text: String::new(), kind: ScalarKind::Null }),
                    (false, false) => Value::Mapping(Vec::new()),
                };
                let is_missing = node.get(&part.name).is_none();
                if is_missing && creates {
                    budget.grow(0, limits::NODE + part.name.len()).map_err(|message| node.fault(message))?;
                    node.set(&part.name, made().into());
                }
                let Some(field) = node.get_mut(&part.name) else { return Ok(()) };
                match &mut field.value {
                    _ if is_missing => {}
                    // A null that becomes a string keeps its text, as with kustomize.
                    Value::Scalar(scalar) if scalar.kind == ScalarKind::Null && is_scalar => {
                        scalar.kind = ScalarKind::String;
                    }
                    Value::Scalar(scalar) if scalar.kind == ScalarKind::Null && (creates || part.is_list) => {
                        field.value = made();
                    }
                    _ => {}
                }
                self.walk(field, rest, make, budget, set)
            }
        }
    }
}

/// The parts of a path; `\/` is a slash within one, and a slash at the start is no part.
pub(crate) fn split_path(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut joins = false;
    for piece in path.strip_prefix('/').unwrap_or(path).split('/') {
        if parts.len() > MAX_DEPTH {
            // Which is refused when it is walked.
            break;
        }
        match parts.last_mut() {
            Some(last) if joins => {
                last.pop();
                last.push('/');
                last.push_str(piece);
            }
            _ => parts.push(piece.to_owned()),
        }
        joins = piece.ends_with('\\');
    }
    parts
}

#[cfg(test)]
mod tests {
    use manifest::yaml;

    use super::*;
    use crate::limits::Limits;

    #[test]
    fn a_path_walks_through_lists_and_makes_what_is_missing() {
        let budget = Budget::new(&Limits::default(), None);
        let rows = [
            ("a/b", true, "{}", "a:\n  b: x\n"),
            ("a/b", false, "{}", "{}\n"),
            ("a/b", false, "{a: {b: y}}", "a:\n  b: x\n"),
            ("a/b", true, "{a: null}", "a:\n  b: x\n"),
            ("a/b", true, "{a: [{b: 1}, {c: 2}]}", "a:\n- b: x\n- c: 2\n  b: x\n"),
            ("a[]/b", true, "{}", "{}\n"),
            ("a[]/b", true, "{a: [{}]}", "a:\n- b: x\n"),
            ("a\\/b/c", true, "{}", "a/b:\n  c: x\n"),
            ("/a/b", true, "{}", "a:\n  b: x\n"),
            ("a[]/b", false, "{a: null}", "a: []\n"),
            ("a/b", false, "{a: null}", "a: null\n"),
            ("a/b", false, "{a: {b: null}}", "a:\n  b: x\n"),
            ("a/b", true, "{a: [null, {}]}", "a:\n- null\n- b: x\n"),
        ];
        for (path, create, given, expected) in rows {
            let mut node = yaml::parse("t", given.as_bytes()).unwrap().remove(0).node;
            let mut set = |node: &mut Node| {
                *node = Node::string("x");
                Ok(())
            };
            FieldSpec::new(path, create).apply(&mut node, Make::Scalar, &budget, &mut set).unwrap();
            assert_eq!(yaml::to_string(&node), expected, "{path} in {given}");
        }
        let mut node = yaml::parse("t", b"a: 1").unwrap().remove(0).node;
        let fault = FieldSpec::new("a/b", true).apply(&mut node, Make::Scalar, &budget, &mut |_| Ok(())).unwrap_err();
        assert!(fault.to_string().starts_with("t:1:4: field path \"a/b\" goes through"), "{fault}");
        for (path, part) in
            [("a//b", "an empty part"), ("a/0", "\"0\""), ("a/-1/b", "\"-1\""), ("a/[x=y]", "\"[x=y]\"")]
        {
            let mut node = yaml::parse("t", b"a: {}").unwrap().remove(0).node;
            let fault =
                FieldSpec::new(path, true).apply(&mut node, Make::Scalar, &budget, &mut |_| Ok(())).unwrap_err();
            assert!(fault.message.contains(part), "{path}: {fault}");
        }
    }

    #[test]
    fn a_path_is_split_at_slashes_that_are_not_escaped() {
        let rows: [(&str, &[&str]); 5] = [
            ("", &[""]),
            ("/", &[""]),
            ("//a", &["", "a"]),
            ("a\\/b/c\\", &["a/b", "c\\"]),
            ("a\\/b\\/c/d", &["a/b/c", "d"]),
        ];
        for (path, parts) in rows {
            assert_eq!(split_path(path), parts, "{path}");
        }
    }

    #[test]
    fn a_null_that_becomes_a_string_keeps_its_text() {
        let budget = Budget::new(&Limits::default(), None);
        let mut node = yaml::parse("t", b"a: null").unwrap().remove(0).node;
        let mut seen = Vec::new();
        FieldSpec::new("a", true)
            .apply(&mut node, Make::Scalar, &budget, &mut |node| {
                seen.push(node.as_str().map(str::to_owned));
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, [Some("null".to_owned())]);
    }
}
