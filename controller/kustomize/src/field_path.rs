//! [`Path`]: how replacements and vars name a field: `spec.containers.[name=app].image`.
//!
//! Parts between dots are keys of mappings; `\.` is a dot within one, and so is any within `[...]`. A number is the place
//! in a list, `[key=value]` the elements whose key has the value, `[=value]` those that are it, `*` all of them.
//!
//! kustomize reads such a path in two ways, and so does this: a source is one value, found by [`Path::lookup`], which
//! compares exactly; targets are many, found by [`Path::find`], for which the value is a regular expression that may match
//! any part. Within a target the path may lead on into a string that holds JSON or YAML.
//!
//! Fields are told by their [`Trail`], so that a field can be read and written while its neighbours change.

use std::cell::OnceCell;
use std::fmt;

use manifest::yaml::{self, Dialect, Key, MAX_DEPTH, Node, Scalar, ScalarKind, Value};
use regex::Regex;

use crate::fieldspec::split_path;
use crate::limits::{self, Budget};

/// The way from a node to one within it: the places of entries and elements.
pub(crate) type Trail = Vec<usize>;

/// How long a path may be, in bytes.
const MAX_TEXT: usize = 64 << 10;

/// A path, split once.
#[derive(Debug)]
pub(crate) struct Path {
    text: String,
    parts: Vec<Part>,
    /// It has more parts than are held.
    is_too_long: bool,
}

#[derive(Debug)]
struct Part {
    text: String,
    /// What it is to [`Path::find`].
    step: Step,
}

#[derive(Debug)]
enum Step {
    Key,
    Index(usize),
    Every,
    Element(Element),
    /// Brackets without `=`.
    Malformed,
}

/// `[key=value]`
#[derive(Debug)]
struct Element {
    /// Empty when the element itself is compared.
    key: String,
    value: String,
    /// Compiled when it is first needed: what is never compared may be no expression.
    regex: OnceCell<Result<Regex, String>>,
}

/// What a field becomes that is made because a path ends there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Scalar,
    Sequence,
    Mapping,
}

impl Shape {
    pub(crate) fn of(node: &Node) -> Self {
        match &node.value {
            Value::Scalar(_) => Self::Scalar,
            Value::Sequence(_) => Self::Sequence,
            Value::Mapping(_) => Self::Mapping,
        }
    }

    fn make(self) -> Node {
        match self {
            Self::Scalar => Value::Scalar(Scalar { text: String::new(), kind: ScalarKind::Null }).into(),
            Self::Sequence => Value::Sequence(Vec::new()).into(),
            Self::Mapping => Value::Mapping(Vec::new()).into(),
        }
    }
}

/// The fields that a path leads to.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) places: Vec<Place>,
    /// How many there are that cannot be reached: kustomize changes a copy of them and forgets it, without an error.
    pub(crate) out_of_reach: usize,
}

/// A field that was found.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) trail: Trail,
    /// It was made just now, and takes the type of whatever text it is given.
    pub(crate) made: bool,
}

impl Found {
    pub(crate) fn count(&self) -> usize {
        self.places.len() + self.out_of_reach
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Path {
    pub(crate) fn new(text: &str) -> Self {
        Self::of_parts(text, if text.len() > MAX_TEXT { Vec::new() } else { split(text) })
    }

    /// The path of a var, in which `a[0]` is the same as `a.0`.
    pub(crate) fn of_var(text: &str) -> Self {
        let indexed = |part: String| match part.strip_suffix(']').and_then(|part| part.rsplit_once('[')) {
            Some((name, index)) if !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()) => {
                let name = (!name.is_empty()).then(|| name.to_owned());
                name.into_iter().chain([index.to_owned()]).collect()
            }
            _ => vec![part],
        };
        let parts = if text.len() > MAX_TEXT { Vec::new() } else { split(text) };
        Self::of_parts(text, parts.into_iter().flat_map(indexed).collect())
    }

    /// The path of a ValueAddTransformer, whose parts are between slashes.
    pub(crate) fn of_slashes(text: &str) -> Self {
        Self::of_parts(text, if text.len() > MAX_TEXT { Vec::new() } else { split_path(text) })
    }

    fn of_parts(text: &str, parts: Vec<String>) -> Self {
        let is_too_long = parts.len() > MAX_DEPTH || text.len() > MAX_TEXT;
        let parts = parts.into_iter().take(MAX_DEPTH).map(|text| Part { step: Step::new(&text), text }).collect();
        Self { text: text.to_owned(), parts, is_too_long }
    }

    /// Bytes of what is held of the path.
    pub(crate) fn size(&self) -> usize {
        /// About what a part takes beside its text.
        const PART: usize = 128;
        self.text.len() * 2 + self.parts.len() * PART
    }

    fn check_length(&self) -> Result<(), String> {
        if !self.is_too_long {
            return Ok(());
        }
        Err(format!("the path has more than {MAX_DEPTH} parts, or {MAX_TEXT} bytes"))
    }

    /// The one value at the path, with the way to it.
    ///
    /// # Errors
    /// When the path asks for a key where there is no mapping, for an element where there is no list, or for many.
    pub(crate) fn lookup<'n>(&self, node: &'n Node) -> Result<Option<(Trail, &'n Node)>, String> {
        self.check_length()?;
        let mut trail = Trail::new();
        let mut node = node;
        for part in &self.parts {
            match part.lookup(node)? {
                Some(Next::Same) => {}
                Some(Next::Child(place, child)) => {
                    trail.push(place);
                    node = child;
                }
                None => return Ok(None),
            }
        }
        Ok(Some((trail, node)))
    }

    /// The one value at the path, as [`Self::lookup`] finds it, or else a scalar that is made there, and what leads to it.
    /// Nothing when there is no such element, or a null on the way.
    ///
    /// # Errors
    /// As for [`Self::lookup`], or when what is made is too much.
    pub(crate) fn lookup_or_make(&self, node: &mut Node, budget: &Budget<'_>) -> Result<Option<Place>, String> {
        self.check_length()?;
        let mut found = Place { trail: Trail::new(), made: false };
        let mut node = node;
        for (index, part) in self.parts.iter().enumerate() {
            budget.search(node.as_sequence().map_or_else(|| node.as_mapping().map_or(0, <[_]>::len), <[_]>::len))?;
            let place = match part.lookup(node)? {
                Some(Next::Same) => continue,
                Some(Next::Child(place, _)) => Some(place),
                None => {
                    let made = part.make(node, self.parts.get(index + 1..).unwrap_or_default(), budget)?;
                    found.made = made.is_some();
                    made
                }
            };
            let Some(child) = place.and_then(|place| at_mut(node, &[place])) else { return Ok(None) };
            found.trail.extend(place);
            node = child;
        }
        Ok(Some(found))
    }

    /// The first scalar on the way, when the path goes on behind it: its text may hold what the path leads to. With
    /// it, how many parts lead there.
    pub(crate) fn scalar_on_the_way<'n>(&self, node: &'n Node) -> Option<(Trail, &'n Scalar, usize)> {
        let mut trail = Trail::new();
        let mut node = node;
        let (_, but_last) = self.parts.split_last()?;
        for (index, part) in but_last.iter().enumerate() {
            if let Next::Child(place, child) = part.lookup(node).ok()?? {
                trail.push(place);
                node = child;
            }
            if let Some(scalar) = node.as_scalar() {
                return Some((trail, scalar, index + 1));
            }
        }
        None
    }

    /// The fields that the parts of the path from `from` on lead to; with a shape, what is missing is made.
    ///
    /// # Errors
    /// As for [`Self::lookup`], when a value in brackets is no regular expression, and when the path is longer than objects
    /// are deep: what it would make were too deep to be walked.
    pub(crate) fn find(
        &self,
        from: usize,
        node: &mut Node,
        create: Option<Shape>,
        budget: &Budget<'_>,
    ) -> Result<Found, String> {
        self.check_length()?;
        let mut search = Search { budget, create, trail: Trail::new(), found: Found::default() };
        search.walk(node, self.parts.get(from..).unwrap_or_default(), false)?;
        Ok(search.found)
    }
}

/// The parts of a path as they are written, brackets around keys taken off.
fn split(text: &str) -> Vec<String> {
    let mut pieces: Vec<&str> = text.split('.').collect();
    if pieces.len() > 1 && pieces.first() == Some(&"") {
        pieces.remove(0);
    }
    let mut unescaped: Vec<String> = Vec::new();
    for piece in pieces {
        match unescaped.last_mut() {
            Some(last) if last.ends_with('\\') => {
                last.pop();
                last.push('.');
                last.push_str(piece);
            }
            _ => unescaped.push(piece.to_owned()),
        }
    }
    let mut parts = Vec::new();
    let mut rest = unescaped.into_iter();
    while let Some(mut part) = rest.next() {
        if part.starts_with('[') && !part.ends_with(']') {
            for piece in rest.by_ref() {
                part.push('.');
                part.push_str(&piece);
                if piece.ends_with(']') {
                    break;
                }
            }
            if !part.contains('=') {
                part = part.trim_matches(['[', ']']).to_owned();
            }
        }
        parts.push(part);
    }
    parts
}

impl Step {
    fn new(part: &str) -> Self {
        if let Some(index) = part.parse::<i64>().ok().and_then(|index| usize::try_from(index).ok()) {
            return Self::Index(index);
        }
        if part == "*" {
            return Self::Every;
        }
        let Some(brackets) = part.strip_prefix('[').filter(|_| part.ends_with(']')) else { return Self::Key };
        match brackets.strip_suffix(']').unwrap_or(brackets).split_once('=') {
            Some((key, value)) => {
                Self::Element(Element { key: key.to_owned(), value: value.to_owned(), regex: OnceCell::new() })
            }
            None => Self::Malformed,
        }
    }
}

const MALFORMED: &str = "list path element must contain fieldName=fieldValue for element to match";

/// Where a part of a path leads.
enum Next<'n> {
    /// The part is blank.
    Same,
    Child(usize, &'n Node),
}

impl Part {
    fn lookup<'n>(&self, node: &'n Node) -> Result<Option<Next<'n>>, String> {
        let text = self.text.trim();
        if text.is_empty() {
            return Ok(Some(Next::Same));
        }
        let child = |(place, child)| Next::Child(place, child);
        // Blanks around a part count for targets only.
        let trimmed = (text.len() < self.text.len()).then(|| Step::new(text));
        Ok(match trimmed.as_ref().unwrap_or(&self.step) {
            Step::Index(index) => list(node)?.get(*index).map(|item| child((*index, item))),
            Step::Key if text == "-" => list(node)?.iter().enumerate().next_back().map(child),
            Step::Key if text.parse::<i64>().is_ok() => {
                return Err(format!("array index {text} cannot be negative"));
            }
            Step::Key => {
                if node.is_null() {
                    return Ok(None);
                }
                let entries = node.as_mapping().ok_or_else(|| wrong(node, "a mapping", text))?;
                entries.iter().position(|(key, _)| &*key.name == text).map(|place| child((place, &entries[place].1)))
            }
            Step::Every => return Err("wildcard is not supported here: name one element".to_owned()),
            Step::Malformed => return Err(MALFORMED.to_owned()),
            Step::Element(Element { key, value, .. }) => {
                let is = |node: &Node| node.as_scalar().map_or("", |scalar| scalar.text.as_str()) == value;
                let mut items = list(node)?.iter().enumerate();
                items.find(|(_, item)| if key.is_empty() { is(item) } else { item.get(key).is_some_and(is) }).map(child)
            }
        })
    }
}

impl Part {
    /// Makes what is missing in a mapping or a list, for the rest of a path; its place there.
    fn make(&self, node: &mut Node, rest: &[Self], budget: &Budget<'_>) -> Result<Option<usize>, String> {
        let key = self.text.trim();
        budget.grow(0, limits::NODE + key.len())?;
        Ok(match (&self.step, &mut node.value) {
            (Step::Key, Value::Mapping(entries)) => {
                entries.push((Key::new(key), shape_before(rest, Shape::Scalar).make()));
                Some(entries.len() - 1)
            }
            (Step::Element(element), Value::Sequence(items)) => {
                items.push(element.make());
                Some(items.len() - 1)
            }
            _ => None,
        })
    }
}

/// The elements of a list; null is one without.
fn list(node: &Node) -> Result<&[Node], String> {
    if node.is_null() {
        return Ok(&[]);
    }
    node.as_sequence().ok_or_else(|| wrong(node, "a list", ""))
}

/// That a value is of another type than the path takes it for.
fn wrong(node: &Node, wanted: &str, part: &str) -> String {
    let part = if part.is_empty() { String::new() } else { format!(" with the key {part:?}") };
    format!("there is {} where the path expects {wanted}{part}", node.type_name())
}

impl Element {
    fn matches(&self, text: &str, budget: &Budget<'_>) -> Result<bool, String> {
        match self.regex.get_or_init(|| budget.pattern(&self.value)) {
            Ok(regex) => Ok(regex.is_match(text)),
            Err(error) => Err(format!("{:?} is no regular expression: {error}", self.value)),
        }
    }

    fn selects(&self, item: &Node, budget: &Budget<'_>) -> Result<bool, String> {
        let compared = if self.key.is_empty() { Some(item) } else { item.get(&self.key) };
        let Some(compared) = compared else { return Ok(false) };
        if compared.as_scalar().is_none() {
            budget.work_on(limits::size(compared))?;
        }
        self.matches(&written(compared), budget)
    }

    /// An element that is selected, as it is made when there is none.
    fn make(&self) -> Node {
        let value = Node::from(Value::Scalar(Scalar::plain(self.value.as_str())));
        if self.key.is_empty() { value } else { Value::Mapping(vec![(Key::new(&*self.key), value)]).into() }
    }
}

/// A value as it stands in YAML, which is what expressions are compared with.
fn written(node: &Node) -> String {
    match node.as_scalar() {
        Some(scalar)
            if scalar.kind == ScalarKind::String && Scalar::plain(scalar.text.as_str()).kind == scalar.kind =>
        {
            scalar.text.trim().to_owned()
        }
        _ => yaml::to_string(node).trim().to_owned(),
    }
}

struct Search<'b> {
    budget: &'b Budget<'b>,
    create: Option<Shape>,
    trail: Trail,
    found: Found,
}

impl Search<'_> {
    fn enter(&mut self, place: usize, node: &mut Node, rest: &[Part], made: bool) -> Result<(), String> {
        self.trail.push(place);
        self.walk(node, rest, made)?;
        self.trail.pop();
        Ok(())
    }

    fn walk(&mut self, node: &mut Node, parts: &[Part], made: bool) -> Result<(), String> {
        let Some((part, rest)) = parts.split_first() else {
            self.found.places.push(Place { trail: self.trail.clone(), made });
            return Ok(());
        };
        if node.is_null() {
            return self.walk_null(&part.step, parts);
        }
        match &part.step {
            Step::Key => self.walk_key(node, &part.text, rest),
            Step::Malformed => Err(MALFORMED.to_owned()),
            Step::Every => {
                let items = items(node)?;
                self.budget.search(items.len())?;
                for (place, item) in items.iter_mut().enumerate() {
                    self.enter(place, item, rest, false)?;
                }
                Ok(())
            }
            Step::Index(index) => {
                let items = items(node)?;
                let makes = *index == items.len() && self.create.is_some();
                if let Some(create) = self.create.filter(|_| makes) {
                    self.budget.grow(0, limits::NODE)?;
                    items.push(shape_before(rest, create).make());
                }
                let count = items.len();
                let item = items
                    .get_mut(*index)
                    .ok_or_else(|| format!("index {index} specified but only {count} elements found"))?;
                self.enter(*index, item, rest, makes)
            }
            Step::Element(element) => self.walk_elements(items(node)?, element, rest),
        }
    }

    fn walk_key(&mut self, node: &mut Node, key: &str, rest: &[Part]) -> Result<(), String> {
        if key.is_empty() {
            return Err("the path has an empty part".to_owned());
        }
        let Node { value: Value::Mapping(entries), .. } = node else { return Err(wrong(node, "a mapping", key)) };
        self.budget.search(entries.len())?;
        let place = entries.iter().position(|(name, _)| &*name.name == key);
        let (place, made) = match (place, self.create) {
            (Some(place), _) => (place, false),
            (None, None) => return Ok(()),
            (None, Some(create)) => {
                self.budget.grow(0, limits::NODE + key.len())?;
                entries.push((Key::new(key), shape_before(rest, create).make()));
                (entries.len() - 1, true)
            }
        };
        let Some((_, child)) = entries.get_mut(place) else { return Ok(()) };
        match child.as_scalar() {
            Some(scalar) if !rest.is_empty() => {
                self.budget.work_on(scalar.text.len())?;
                let mut held = held_by(&scalar.text)?;
                self.walk_aside(&mut held, rest)
            }
            _ => self.enter(place, child, rest, made),
        }
    }

    fn walk_elements(&mut self, items: &mut Vec<Node>, element: &Element, rest: &[Part]) -> Result<(), String> {
        self.budget.search(items.len())?;
        let before = self.found.count();
        // kustomize ignores what a path says behind `[=value]`.
        let rest = if element.key.is_empty() { &[] } else { rest };
        for (place, item) in items.iter_mut().enumerate() {
            if element.selects(item, self.budget)? {
                self.enter(place, item, rest, false)?;
            }
        }
        if self.found.count() > before || self.create.is_none() {
            return Ok(());
        }
        let mut made = element.make();
        self.budget.grow(0, limits::size(&made))?;
        if !element.selects(&made, self.budget)? {
            return Err(format!("an element that is made for {:?} would not match it", element.value));
        }
        let outcome = self.enter(items.len(), &mut made, rest, element.key.is_empty());
        items.push(made);
        outcome
    }

    /// Null is a list or a mapping without content. What is made within is lost.
    fn walk_null(&mut self, step: &Step, parts: &[Part]) -> Result<(), String> {
        let mut stand_in = match step {
            Step::Key => Shape::Mapping.make(),
            _ => Shape::Sequence.make(),
        };
        self.walk_aside(&mut stand_in, parts)
    }

    /// Goes on in a node that is no part of the object.
    fn walk_aside(&mut self, node: &mut Node, parts: &[Part]) -> Result<(), String> {
        let mut aside = Self { budget: self.budget, create: self.create, trail: Trail::new(), found: Found::default() };
        aside.walk(node, parts, false)?;
        self.found.out_of_reach += aside.found.count();
        Ok(())
    }
}

fn items(node: &mut Node) -> Result<&mut Vec<Node>, String> {
    let Node { value: Value::Sequence(items), .. } = node else { return Err(wrong(node, "a list", "")) };
    Ok(items)
}

/// What a value has to be for the rest of a path to lead on.
fn shape_before(rest: &[Part], last: Shape) -> Shape {
    match rest.first().map(|part| &part.step) {
        None => last,
        Some(Step::Index(_) | Step::Element(_) | Step::Malformed) => Shape::Sequence,
        Some(Step::Key | Step::Every) => Shape::Mapping,
    }
}

/// The first document of a text that stands in a scalar.
///
/// # Errors
/// When it is no YAML, or nothing.
pub(crate) fn held_by(text: &str) -> Result<Node, String> {
    let documents = yaml::parse_as(Dialect::Resource, "the text", text.as_bytes()).map_err(|faults| {
        faults.into_vec().into_iter().next().map_or_else(String::new, |fault| format!("the text is no YAML: {fault}"))
    })?;
    match documents.into_iter().next() {
        Some(document) => Ok(document.node),
        None if Scalar::plain(text.trim()).kind == ScalarKind::Null && !text.trim().is_empty() => Ok(Node::null()),
        None => Err("there is nothing where the path expects a mapping or a list".to_owned()),
    }
}

/// The node at the end of a trail.
pub(crate) fn at<'n>(node: &'n Node, trail: &[usize]) -> Option<&'n Node> {
    trail.iter().try_fold(node, |node, place| match &node.value {
        Value::Mapping(entries) => entries.get(*place).map(|(_, node)| node),
        Value::Sequence(items) => items.get(*place),
        Value::Scalar(_) => None,
    })
}

/// The node at the end of a trail, to be changed.
pub(crate) fn at_mut<'n>(node: &'n mut Node, trail: &[usize]) -> Option<&'n mut Node> {
    trail.iter().try_fold(node, |node, place| match &mut node.value {
        Value::Mapping(entries) => entries.get_mut(*place).map(|(_, node)| node),
        Value::Sequence(items) => items.get_mut(*place),
        Value::Scalar(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn node(text: &str) -> Node {
        yaml::parse("t", text.as_bytes()).unwrap().remove(0).node
    }

    #[test]
    fn a_path_is_split_at_dots_outside_of_brackets() {
        let rows: [(&str, &[&str]); 12] = [
            ("a.b", &["a", "b"]),
            (".a.b", &["a", "b"]),
            ("a..b", &["a", "", "b"]),
            ("a\\.b.c", &["a.b", "c"]),
            ("a.[b.c/d].e", &["a", "b.c/d", "e"]),
            ("a.[b=c.d].e", &["a", "[b=c.d]", "e"]),
            ("a.[b]", &["a", "[b]"]),
            ("a.[b.c", &["a", "b.c"]),
            ("a[0].b", &["a[0]", "b"]),
            ("a.\\[b", &["a", "\\[b"]),
            ("", &[""]),
            (".", &[""]),
        ];
        for (text, parts) in rows {
            assert_eq!(split(text), parts, "{text}");
        }
    }

    #[test]
    fn one_value_is_looked_up_exactly() {
        let root = node("{a: {b: [{n: x, v: 1}, {n: xy, v: 2}, q]}, c: null, e: {'': 3}, d.e: 4, '1': 5}");
        let rows = [
            ("a.b.[n=x].v", Ok(Some("1"))),
            ("a.b.[n=xy].v", Ok(Some("2"))),
            ("a.b.[n=y].v", Ok(None)),
            ("a.b.[=q]", Ok(Some("q"))),
            ("a.b.1.v", Ok(Some("2"))),
            ("a.b.-", Ok(Some("q"))),
            ("a.b.7", Ok(None)),
            ("a..b. 0 .v", Ok(Some("1"))),
            ("[d.e]", Ok(Some("4"))),
            ("d\\.e", Ok(Some("4"))),
            ("c.d", Ok(None)),
            ("a.b.-1", Err(())),
            ("a.b.*", Err(())),
            ("a.b.n", Err(())),
            ("a.1", Err(())),
            ("1", Err(())),
            ("a.b.[n]", Err(())),
            ("a.b.[n=x].v.w", Err(())),
        ];
        for (text, expected) in rows {
            let path = Path::new(text);
            let found = path.lookup(&root).map_err(|_| ());
            let texts =
                found.as_ref().map(|found| found.as_ref().map(|(_, node)| node.as_scalar().unwrap().text.as_str()));
            assert_eq!(texts.ok(), expected.ok(), "{text}");
            if let Ok(Some((trail, node))) = &found {
                assert_eq!(at(&root, trail), Some(*node), "{text}");
            }
        }
        assert_eq!(Path::of_var("a.b[1].v").lookup(&root).unwrap().map(|(trail, _)| trail), Some(vec![0, 0, 1, 1]));
        assert_eq!(Path::of_var("a.b.[n=x].v").lookup(&root).unwrap().map(|(trail, _)| trail), Some(vec![0, 0, 0, 1]));
    }

    /// Each row was tried with kustomize v5.8.1: the object after every field that was found became `new`, how many are
    /// lost, or none for an error.
    #[test]
    fn targets_are_found_and_made_as_kustomize_does() {
        let none = None;
        let create = Some(Shape::Scalar);
        let rows = [
            (
                "l.[name=a].x",
                none,
                "{l: [{name: a, x: 1}, {name: ba, x: 2}, {name: c}]}",
                Some(("{l: [{name: a, x: new}, {name: ba, x: new}, {name: c}]}", 0)),
            ),
            (
                "l.[name=^a$].x",
                none,
                "{l: [{name: a, x: 1}, {name: ba, x: 2}]}",
                Some(("{l: [{name: a, x: new}, {name: ba, x: 2}]}", 0)),
            ),
            ("l.[name=^5$].x", none, "{l: [{name: '5', x: 1}]}", Some(("{l: [{name: '5', x: 1}]}", 0))),
            (
                "l.[name=a].x",
                none,
                "{l: [{name: a}, {name: a, x: 1}]}",
                Some(("{l: [{name: a}, {name: a, x: new}]}", 0)),
            ),
            ("l.[name=q].x", create, "{l: [{name: a, x: 1}]}", Some(("{l: [{name: a, x: 1}, {name: q, x: new}]}", 0))),
            ("l.[port=80].x", create, "{}", Some(("{l: [{port: 80, x: new}]}", 0))),
            ("l.[name=^q$].x", create, "{l: []}", None),
            ("l.[=a]", none, "{l: [a, ba, c]}", Some(("{l: [new, new, c]}", 0))),
            ("l.[=q]", create, "{l: [a]}", Some(("{l: [a, new]}", 0))),
            ("l.*.x", none, "{l: [{x: 1}, {x: 2}]}", Some(("{l: [{x: new}, {x: new}]}", 0))),
            ("l.*.x", create, "{l: [{x: 1}, {y: 2}]}", Some(("{l: [{x: new}, {y: 2, x: new}]}", 0))),
            ("l.*.x", create, "{}", None),
            ("m.*", none, "{m: {a: b}}", None),
            ("l.1.x", none, "{l: [{x: 1}, {x: 2}]}", Some(("{l: [{x: 1}, {x: new}]}", 0))),
            ("l.2.x", none, "{l: [{x: 1}, {x: 2}]}", None),
            ("l.2.x", create, "{l: [{x: 1}, {x: 2}]}", Some(("{l: [{x: 1}, {x: 2}, {x: new}]}", 0))),
            ("l.3.x", create, "{l: [{x: 1}, {x: 2}]}", None),
            ("m.0", none, "{m: {'0': b}}", None),
            ("l.-", none, "{l: [a]}", None),
            ("m.[a.b/c]", none, "{m: {a.b/c: 1}}", Some(("{m: {a.b/c: new}}", 0))),
            ("m..a", none, "{m: {a: 1}}", None),
            ("m. a", none, "{m: {a: 1}}", Some(("{m: {a: 1}}", 0))),
            ("m.a", none, "{m: null}", Some(("{m: null}", 0))),
            ("m.a", create, "{m: null}", Some(("{m: null}", 1))),
            ("m.a", create, "{m: }", None),
            ("m.[name=a].x", create, "{m: null}", Some(("{m: null}", 1))),
            ("a.b", none, "{}", Some(("{}", 0))),
            ("a.b", create, "{}", Some(("{a: {b: new}}", 0))),
            ("a.b", create, "{a: text}", None),
            ("a.b", none, "{a: 5}", None),
            ("a.b", none, "{a: 'x: [1'}", None),
            ("l.*.a.x", none, "{l: [{a: 'x: 1'}]}", Some(("{l: [{a: 'x: 1'}]}", 1))),
            ("l.[name=*a].x", none, "{l: [{name: a}]}", None),
            ("l.[name=*a].x", none, "{l: []}", Some(("{l: []}", 0))),
            ("l.[name]", none, "{l: [{name: a}]}", None),
            ("l.x", none, "{l: [{x: 1}]}", None),
        ];
        for (text, create, given, expected) in rows {
            let mut root = node(given);
            let found = Path::new(text).find(0, &mut root, create, &Budget::new(&Limits::default(), None));
            let Some((expected, lost)) = expected else {
                assert!(found.is_err(), "{text} in {given}: {found:?}");
                continue;
            };
            let found = found.unwrap_or_else(|error| panic!("{text} in {given}: {error}"));
            for place in &found.places {
                *at_mut(&mut root, &place.trail).unwrap() = Node::string("new");
            }
            assert_eq!((root, found.out_of_reach), (node(expected), lost), "{text} in {given}");
        }
    }

    #[test]
    fn a_scalar_on_the_way_is_told_with_the_parts_that_lead_to_it() {
        let root = node("{a: {b: '{}'}, l: [{n: x, t: 'k: v'}]}");
        let rows = [
            ("a.b.c", Some((vec![0, 0], 2))),
            ("a.b.c.d", Some((vec![0, 0], 2))),
            ("a.b", None),
            ("l.[n=x].t.k", Some((vec![1, 0, 1], 3))),
            ("l.[n=.].t.k", None),
            ("q.r.s", None),
        ];
        for (text, expected) in rows {
            let path = Path::new(text);
            let found = path.scalar_on_the_way(&root).map(|(trail, _, parts)| (trail, parts));
            assert_eq!(found, expected, "{text}");
        }
    }
}
