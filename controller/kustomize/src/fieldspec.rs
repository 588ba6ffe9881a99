//! [`FieldSpec`]: a field of some kinds, by a path that walks through lists, and the walk itself.

use manifest::Diagnostic;
use manifest::yaml::{Node, Value};

use crate::id::Gvk;
use crate::read::{Entry, Fields, Read};

/// A field of the kinds that the selector matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSpec {
    /// Exact; empty parts match all.
    pub(crate) gvk: Gvk,
    /// Parts between `/`, with `\/` for a slash; `name[]` says that the part is a list.
    pub(crate) path: String,
    /// Whether missing parts of the path are made.
    pub(crate) create: bool,
}

impl Read for FieldSpec {
    fn read(node: &Node, entry: &Entry, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        let mut fields = Fields::open(node, entry, faults)?;
        let spec = Self {
            gvk: Gvk::take(&mut fields),
            path: fields.take_or_default("path"),
            create: fields.take_or_default("create"),
        };
        fields.finish();
        Some(spec)
    }
}

/// What a walk makes of the last part of a path when it is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Make {
    Scalar,
    Mapping,
    Sequence,
    /// Nothing is made, whatever the field spec says.
    Nothing,
}

impl FieldSpec {
    #[cfg(test)]
    pub(crate) fn new(path: &str, create: bool) -> Self {
        Self { gvk: Gvk::default(), path: path.to_owned(), create }
    }

    /// Runs `set` on each value that the path leads to, when the object is of the kind.
    ///
    /// # Errors
    /// When a part of the path is a scalar, or `set` fails.
    pub(crate) fn apply(
        &self,
        object: &mut Node,
        make: Make,
        set: &mut dyn FnMut(&mut Node) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        if !Gvk::of(object).is_selected_by(&self.gvk) {
            return Ok(());
        }
        self.apply_to_matching(object, make, set)
    }

    /// As [`Self::apply`], for an object whose kind has been compared already.
    pub(crate) fn apply_to_matching(
        &self,
        object: &mut Node,
        make: Make,
        set: &mut dyn FnMut(&mut Node) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let path = split_path(&self.path);
        self.walk(object, &path, make, set)
    }

    fn walk(
        &self,
        node: &mut Node,
        path: &[String],
        make: Make,
        set: &mut dyn FnMut(&mut Node) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let Some((part, rest)) = path.split_first() else { return set(node) };
        if node.is_null() {
            return Ok(());
        }
        let type_name = node.type_name();
        let at = node.at.clone();
        match &mut node.value {
            Value::Sequence(items) => items.iter_mut().try_for_each(|item| self.walk(item, path, make, set)),
            Value::Mapping(_) => {
                let (name, is_list) = match part.strip_suffix("[]") {
                    Some(name) => (name, true),
                    None => (part.as_str(), false),
                };
                if name.is_empty() {
                    return Err(Diagnostic { at, message: format!("field path {:?} has an empty part", self.path) });
                }
                let creates = self.create && make != Make::Nothing && !is_list;
                let made = || match (creates, rest.is_empty(), make) {
                    (false, ..) => Value::Sequence(Vec::new()),
                    (true, true, Make::Scalar | Make::Nothing) => Node::string("").value,
                    (true, true, Make::Sequence) => Value::Sequence(Vec::new()),
                    (true, ..) => Value::Mapping(Vec::new()),
                };
                if creates && node.get(name).is_none() {
                    node.set(name, Node { value: made(), at: None });
                }
                let Some(field) = node.get_mut(name) else { return Ok(()) };
                if field.is_null() && (creates || is_list) {
                    field.value = made();
                }
                self.walk(field, rest, make, set)
            }
            Value::Scalar(_) => {
                let message = format!(
                    "field path {:?} of {} goes through {type_name} at {part:?}; a list or a mapping is expected there",
                    self.path,
                    if self.gvk.kind.is_empty() { "the object" } else { self.gvk.kind.as_str() },
                );
                Err(Diagnostic { at, message })
            }
        }
    }
}

/// The parts of a path; `\/` is a slash within one.
pub(crate) fn split_path(path: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = path.trim_start_matches('/').chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.peek() == Some(&'/') => {
                characters.next();
                if let Some(part) = parts.last_mut() {
                    part.push('/');
                }
            }
            '/' => parts.push(String::new()),
            character => {
                if let Some(part) = parts.last_mut() {
                    part.push(character);
                }
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use manifest::yaml;

    use super::*;

    #[test]
    fn a_path_walks_through_lists_and_makes_what_is_missing() {
        let rows = [
            ("a/b", true, "{}", "a:\n  b: x\n"),
            ("a/b", false, "{}", "{}\n"),
            ("a/b", false, "{a: {b: y}}", "a:\n  b: x\n"),
            ("a/b", true, "{a: null}", "a:\n  b: x\n"),
            ("a/b", true, "{a: [{b: 1}, {c: 2}]}", "a:\n- b: x\n- c: 2\n  b: x\n"),
            ("a[]/b", true, "{}", "{}\n"),
            ("a[]/b", true, "{a: [{}]}", "a:\n- b: x\n"),
            ("a\\/b/c", true, "{}", "a/b:\n  c: x\n"),
        ];
        for (path, create, given, expected) in rows {
            let mut node = yaml::parse("t", given.as_bytes()).unwrap().remove(0).node;
            let mut set = |node: &mut Node| {
                *node = Node::string("x");
                Ok(())
            };
            FieldSpec::new(path, create).apply(&mut node, Make::Scalar, &mut set).unwrap();
            assert_eq!(yaml::to_string(&node), expected, "{path} in {given}");
        }
        let mut node = yaml::parse("t", b"a: 1").unwrap().remove(0).node;
        let fault = FieldSpec::new("a/b", true).apply(&mut node, Make::Scalar, &mut |_| Ok(())).unwrap_err();
        assert!(fault.to_string().starts_with("t:1:4: field path \"a/b\" of the object goes through"), "{fault}");
    }
}
