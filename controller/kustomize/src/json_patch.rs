//! JSON patches (RFC 6902), as kustomize applies them.
//!
//! What differs from the RFC, by the library that kustomize uses:
//! - `replace` of a key that a mapping lacks adds it, and `copy` from such a key copies a null.
//! - A missing value is null, in `add`, `replace` and `test`; `test` takes null for what is not there.
//! - Negative indices count from the end: `-1` is the last element, and behind it when adding.
//! - What stands before the first `/` of a path is ignored.
//! - `replace` of the whole document takes a mapping only, and no other operation takes the empty path but `test`.
//!
//! The whole object goes through JSON, in which all numbers are float64: integers beyond 2^53 lose digits. Dates become
//! strings.
//!
//! Invariant: nesting stays within [`MAX_DEPTH`], and what an operation adds is counted before it is added: by `copy` a
//! short patch could make a document grow without end.

use manifest::Diagnostic;
use manifest::yaml::{self, Key, MAX_DEPTH, Node, Scalar, ScalarKind, Value};

use crate::limits::{Budget, NODE, depth, size};

/// A list of operations.
#[derive(Clone, Debug)]
pub(crate) struct JsonPatch(Vec<Operation>);

/// An operation as it was written. That it has an unknown `op`, or lacks its path, is a fault only when it is applied:
/// a patch that meets no object is not looked at.
#[derive(Clone, Debug)]
struct Operation {
    node: Node,
}

impl JsonPatch {
    /// Reads a list of operations.
    ///
    /// # Errors
    /// When it is no list of mappings. All else is told by [`JsonPatch::apply`].
    pub(crate) fn parse(list: &Node) -> Result<Self, Diagnostic> {
        let Some(operations) = list.as_sequence() else {
            return Err(list.fault(format!("a JSON patch is a list of operations, got {}", list.type_name())));
        };
        let operation = |node: &Node| match &node.value {
            Value::Mapping(_) => Ok(Operation { node: node.clone() }),
            _ => Err(node.fault(format!("an operation of a JSON patch is a mapping, got {}", node.type_name()))),
        };
        operations.iter().map(operation).collect::<Result<_, _>>().map(Self)
    }

    /// Whether an operation takes all annotations away, or puts others in their place.
    pub(crate) fn takes_annotations(&self) -> bool {
        let takes = |operation: &Operation, key: &str| operation.text(key).is_some_and(is_annotations_or_above);
        self.0.iter().any(|operation| match operation.name() {
            Some("add" | "replace" | "remove" | "copy") => takes(operation, "path"),
            Some("move") => takes(operation, "path") || takes(operation, "from"),
            _ => false,
        })
    }

    /// Applies all operations in order, and makes all numbers what a float64 holds of them.
    ///
    /// Values keep the places where they were written, those of the patch too.
    ///
    /// # Errors
    /// With the first operation that cannot be applied, by its number (from 1), and the place of it; the target is
    /// then somewhere between. Also when the target holds a number that JSON has not.
    pub(crate) fn apply(&self, target: &mut Node, budget: &Budget<'_>) -> Result<(), Diagnostic> {
        for (index, operation) in self.0.iter().enumerate() {
            operation.apply(target, budget).map_err(|fault| {
                let name = operation.name().unwrap_or("without op");
                let path = operation.text("path").map(|path| format!(" {path:?}")).unwrap_or_default();
                operation.node.fault(format!("operation {} ({name}{path}) of the JSON patch: {fault}", index + 1))
            })?;
        }
        if target.as_mapping().is_none() {
            return Err(target.fault(format!("the JSON patch makes the object {}", target.type_name())));
        }
        through_json(target)
    }
}

/// Whether a JSON pointer means the annotations of an object, or what holds them.
fn is_annotations_or_above(pointer: &str) -> bool {
    pointer.split('/').skip(1).zip(["metadata", "annotations"]).all(|(key, wanted)| key == wanted)
        && pointer.matches('/').count() <= 2
}

/// What is wrong with an operation.
type Fault = String;

impl Operation {
    fn text(&self, key: &str) -> Option<&str> {
        self.node.get(key)?.as_str()
    }

    fn name(&self) -> Option<&str> {
        self.text("op")
    }

    fn pointer(&self, key: &str) -> Result<Pointer, Fault> {
        self.text(key).map(Pointer::parse).ok_or_else(|| format!("it has no {key}; give one, as a string"))
    }

    /// Its value; null when it has none.
    fn value(&self) -> Node {
        self.node.get("value").cloned().unwrap_or_else(|| Node::null().with_location(self.node.at.clone()))
    }

    fn apply(&self, target: &mut Node, budget: &Budget<'_>) -> Result<(), Fault> {
        budget.work_on(size(&self.node))?;
        match self.name() {
            Some("add") => self.pointer("path")?.add(target, self.value(), budget),
            Some("remove") => self.pointer("path")?.remove(target, budget).map(drop),
            Some("replace") => match self.pointer("path")? {
                Pointer { last: None, .. } => {
                    let value = self.node.get("value").filter(|value| value.as_mapping().is_some());
                    let value = value.cloned().ok_or("the whole object can be replaced by a mapping only")?;
                    budget.grow(size(target), size(&value))?;
                    *target = value;
                    Ok(())
                }
                pointer => pointer.replace(target, self.value(), budget),
            },
            Some("move") => {
                let value = self.pointer("from")?.remove(target, budget)?;
                self.pointer("path")?.add(target, value, budget)
            }
            Some("copy") => {
                let from = self.pointer("from")?;
                let value = from.get(target, budget)?;
                budget.fits(value.map_or(NODE, size)).and_then(|()| budget.work_on(value.map_or(NODE, size)))?;
                let value = value.cloned().unwrap_or_else(Node::null);
                self.pointer("path")?.add(target, value, budget)
            }
            Some("test") => {
                let pointer = self.pointer("path")?;
                let found = if pointer.last.is_none() { Some(&*target) } else { pointer.get(target, budget)? };
                let value = self.value();
                let same = found.map_or(value.is_null(), |found| *found == value);
                if same { Ok(()) } else { Err("the value is another one".to_owned()) }
            }
            Some(name) => Err(format!("unknown op {name:?}; it is add, remove, replace, move, copy or test")),
            None => Err("it has no op; give one of add, remove, replace, move, copy and test".to_owned()),
        }
    }
}

/// A JSON pointer.
#[derive(Debug)]
struct Pointer {
    /// The keys on the way.
    parents: Vec<String>,
    /// The last key; `None` for the whole document.
    last: Option<String>,
}

impl Pointer {
    fn parse(text: &str) -> Self {
        let mut keys: Vec<String> =
            text.split('/').skip(1).map(|key| key.replace("~1", "/").replace("~0", "~")).collect();
        let last = keys.pop();
        Self { parents: keys, last }
    }

    /// The mapping or list that the last key is of, and that key.
    fn parent<'n>(&self, target: &'n mut Node, budget: &Budget<'_>) -> Result<(&'n mut Node, &str), Fault> {
        let mut node = target;
        for (depth, key) in self.parents.iter().enumerate() {
            search(node, budget)?;
            let next = match &mut node.value {
                Value::Mapping(entries) => {
                    entries.iter_mut().find(|(name, _)| *name.name == **key).map(|(_, node)| node)
                }
                Value::Sequence(items) => index(key, items.len(), 0).ok().and_then(|index| items.get_mut(index)),
                Value::Scalar(_) => None,
            };
            node = next.ok_or_else(|| format!("there is no {:?}", self.start(depth + 1)))?;
        }
        search(node, budget)?;
        match (&node.value, &self.last) {
            (Value::Mapping(_) | Value::Sequence(_), Some(last)) => Ok((node, last)),
            (Value::Scalar(_), Some(_)) => {
                Err(format!("{:?} is {}, not a mapping or a list", self.start(self.parents.len()), node.type_name()))
            }
            (_, None) => Err("it takes no empty path".to_owned()),
        }
    }

    fn start(&self, depth: usize) -> String {
        self.parents.iter().take(depth).map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1"))).collect()
    }

    /// The value; `None` when its mapping lacks it.
    fn get<'n>(&self, target: &'n mut Node, budget: &Budget<'_>) -> Result<Option<&'n Node>, Fault> {
        let (parent, last) = self.parent(target, budget)?;
        match &parent.value {
            Value::Sequence(items) => Ok(items.get(index(last, items.len(), 0)?)),
            _ => Ok(parent.get(last)),
        }
    }

    fn add(&self, target: &mut Node, value: Node, budget: &Budget<'_>) -> Result<(), Fault> {
        if self.parents.len() + 1 + depth(&value) > MAX_DEPTH {
            return Err(format!("the object would nest more than {MAX_DEPTH} levels deep"));
        }
        let (parent, last) = self.parent(target, budget)?;
        match &mut parent.value {
            Value::Sequence(items) => {
                budget.grow(0, size(&value))?;
                let index = if last == "-" { items.len() } else { index(last, items.len(), 1)? };
                items.insert(index, value);
            }
            _ => set(parent, last, value, budget)?,
        }
        Ok(())
    }

    fn replace(&self, target: &mut Node, value: Node, budget: &Budget<'_>) -> Result<(), Fault> {
        if self.parents.len() + 1 + depth(&value) > MAX_DEPTH {
            return Err(format!("the object would nest more than {MAX_DEPTH} levels deep"));
        }
        let (parent, last) = self.parent(target, budget)?;
        match &mut parent.value {
            Value::Sequence(items) => {
                let index = index(last, items.len(), 0)?;
                if let Some(place) = items.get_mut(index) {
                    budget.grow(size(place), size(&value))?;
                    *place = value;
                }
            }
            _ => set(parent, last, value, budget)?,
        }
        Ok(())
    }

    fn remove(&self, target: &mut Node, budget: &Budget<'_>) -> Result<Node, Fault> {
        let (parent, last) = self.parent(target, budget)?;
        let removed = match &mut parent.value {
            Value::Sequence(items) => {
                let index = index(last, items.len(), 0)?;
                items.remove(index)
            }
            _ => parent.remove(last).ok_or_else(|| format!("there is no key {last:?} to be removed"))?,
        };
        budget.grow(size(&removed), 0)?;
        Ok(removed)
    }
}

/// Sets the value of a key of a mapping.
fn set(mapping: &mut Node, key: &str, value: Node, budget: &Budget<'_>) -> Result<(), Fault> {
    if let Some(place) = mapping.get_mut(key) {
        budget.grow(size(place), size(&value))?;
        *place = value;
    } else if let Some(entries) = mapping.as_mapping_mut() {
        budget.grow(0, key.len() + size(&value))?;
        entries.push((Key { name: key.into(), at: value.at.clone() }, value));
    }
    Ok(())
}

/// Counts that a place of a list or mapping is looked for.
fn search(node: &Node, budget: &Budget<'_>) -> Result<(), Fault> {
    match &node.value {
        Value::Sequence(items) => budget.search(items.len()),
        Value::Mapping(entries) => budget.search(entries.len()),
        Value::Scalar(_) => Ok(()),
    }
}

/// The index that a key means, of a list that has `length` elements, or `length + more` places to insert at.
fn index(key: &str, length: usize, more: usize) -> Result<usize, Fault> {
    let places = length + more;
    let index: i64 = key.parse().map_err(|_| format!("{key:?} is no index of a list"))?;
    let from_start = usize::try_from(index.unsigned_abs()).ok().and_then(|distance| {
        if index < 0 { places.checked_sub(distance) } else { Some(distance).filter(|index| *index < places) }
    });
    from_start.ok_or_else(|| format!("there is no index {key} in a list of {length}"))
}

/// Makes of all scalars what they are once Go has read the JSON of them, by the text that kustomize has from then on.
fn through_json(node: &mut Node) -> Result<(), Diagnostic> {
    let kind = match &mut node.value {
        Value::Sequence(items) => return items.iter_mut().try_for_each(through_json),
        Value::Mapping(entries) => return entries.iter_mut().try_for_each(|(_, node)| through_json(node)),
        Value::Scalar(scalar) => scalar.kind,
    };
    let text = match kind {
        ScalarKind::Int | ScalarKind::Float => node.to_json()?.as_f64().map(yaml::format_float),
        ScalarKind::Timestamp => node.to_json()?.as_str().map(str::to_owned),
        ScalarKind::String | ScalarKind::Null | ScalarKind::Bool => None,
    };
    if let Some(text) = text {
        let kind = match kind {
            ScalarKind::Timestamp => ScalarKind::String,
            _ if text.contains(['.', 'e']) => ScalarKind::Float,
            _ => ScalarKind::Int,
        };
        node.value = Value::Scalar(Scalar { text, kind });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
