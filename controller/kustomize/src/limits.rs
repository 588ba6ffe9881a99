//! What a build may use, so that a hostile overlay exhausts neither memory nor time.
//!
//! Invariant: whatever makes a resource hold more asks [`Budget::grow`] before the next value is made, and whatever is
//! done many times is counted by [`Budget::work`], which is also where a build ends that nobody waits for.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use manifest::Diagnostic;
use manifest::yaml::{Node, Value};
use regex::Regex;

use crate::go_regex;
use crate::resource::Resource;

/// The bounds of one build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Kustomizations that are entered, each time it is; a base that two overlays share counts twice.
    pub kustomizations: usize,
    /// Resources that are loaded or generated, counted likewise.
    pub resources: usize,
    /// Steps of all transformers together: a transformer makes one for each resource that it looks at, and more for large
    /// values.
    pub steps: usize,
    /// Bytes that all resources hold together, at any time; and, counted apart, those of all that is read to configure
    /// the build.
    pub bytes: usize,
}

impl Default for Limits {
    /// Far beyond what any team keeps in one path, and within half a minute and some hundred MiB.
    fn default() -> Self {
        Self { kustomizations: 10_000, resources: 100_000, steps: 20_000_000, bytes: 256 << 20 }
    }
}

/// Whether nobody waits for the build any longer.
pub(crate) type Cancelled<'a> = &'a (dyn Fn() -> bool + Sync);

/// What is left of the bounds.
pub(crate) struct Budget<'a> {
    limits: Limits,
    cancelled: Option<Cancelled<'a>>,
    kustomizations: Cell<usize>,
    resources: Cell<usize>,
    steps: Cell<usize>,
    /// Bytes that the resources may still grow by.
    room: Cell<usize>,
    /// Bytes that configurations may still hold.
    configured: Cell<usize>,
    /// The regular expressions of the build, each compiled once.
    patterns: RefCell<HashMap<String, Result<Regex, String>>>,
}

fn spend(left: &Cell<usize>, amount: usize) -> bool {
    let rest = left.get().checked_sub(amount);
    left.set(rest.unwrap_or_default());
    rest.is_some()
}

/// How many bytes cost as much as a step, when they are copied, compared or searched.
const BYTES_OF_STEP: usize = 1024;

impl<'a> Budget<'a> {
    pub(crate) fn new(limits: &Limits, cancelled: Option<Cancelled<'a>>) -> Self {
        Self {
            limits: *limits,
            cancelled,
            kustomizations: Cell::new(limits.kustomizations),
            resources: Cell::new(limits.resources),
            steps: Cell::new(limits.steps),
            room: Cell::new(limits.bytes),
            configured: Cell::new(limits.bytes),
            patterns: RefCell::default(),
        }
    }

    /// Counts a kustomization that is entered, by its directory.
    pub(crate) fn enter(&self, directory: &str) -> Result<(), String> {
        if spend(&self.kustomizations, 1) {
            return self.work(1);
        }
        let limit = self.limits.kustomizations;
        Err(format!("more than {limit} kustomizations are entered, the last one in {directory:?}"))
    }

    /// Counts a resource that is loaded or generated.
    pub(crate) fn resource(&self, resource: &Resource) -> Result<(), Diagnostic> {
        if !spend(&self.resources, 1) {
            return Err(resource.fault(format!("more than {} resources are loaded", self.limits.resources)));
        }
        self.work(1).and_then(|()| self.grow(0, size(&resource.node))).map_err(|message| resource.fault(message))
    }

    /// Counts how often something is looked at.
    ///
    /// # Errors
    /// When that was too often, or nobody waits for the build any longer.
    pub(crate) fn work(&self, times: usize) -> Result<(), String> {
        if self.cancelled.is_some_and(|cancelled| cancelled()) {
            return Err("the build was given up: it took longer than anyone waits for it".to_owned());
        }
        if spend(&self.steps, times.max(1)) {
            return Ok(());
        }
        let limit = self.limits.steps;
        Err(format!("the transformers look at resources more than {limit} times in all; do more with each of them"))
    }

    /// Counts that a value of some bytes is copied or searched.
    pub(crate) fn work_on(&self, bytes: usize) -> Result<(), String> {
        self.work(1 + bytes / BYTES_OF_STEP)
    }

    /// Counts that a list or mapping of so many is searched.
    pub(crate) fn search(&self, count: usize) -> Result<(), String> {
        /// So many cost next to nothing.
        const FEW: usize = 64;
        if count <= FEW { Ok(()) } else { self.work_on(count.saturating_mul(16)) }
    }

    /// Counts that some bytes of a resource became others.
    ///
    /// # Errors
    /// When all resources hold too much now.
    pub(crate) fn grow(&self, before: usize, after: usize) -> Result<(), String> {
        let shrunk = before.saturating_sub(after);
        self.room.set(self.room.get().saturating_add(shrunk).min(self.limits.bytes));
        if spend(&self.room, after.saturating_sub(before)) {
            return Ok(());
        }
        Err(self.too_large())
    }

    /// Changes a value within a resource, and counts by how much it grows.
    pub(crate) fn measured(
        &self,
        node: &mut Node,
        act: &mut dyn FnMut(&mut Node) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let before = size(node);
        act(node)?;
        self.grow(before, size(node)).map_err(|message| node.fault(message))
    }

    /// That so many bytes more can be held: for what makes many values at once, or large ones.
    pub(crate) fn fits(&self, bytes: usize) -> Result<(), String> {
        if bytes <= self.room.get() { Ok(()) } else { Err(self.too_large()) }
    }

    fn too_large(&self) -> String {
        format!("the resources of the build hold more than {} bytes", self.limits.bytes)
    }

    /// Counts what a resource remembers of its name when that changes.
    pub(crate) fn remember(&self, resource: &Resource) -> Result<(), Diagnostic> {
        let bytes = NODE + resource.name().len() + resource.namespace().len() + resource.kind().len();
        self.grow(0, bytes).map_err(|message| resource.fault(message))
    }

    /// Counts what was read to configure the build: it is held as long as what it configures.
    ///
    /// # Errors
    /// When all of them hold too much.
    pub(crate) fn configure(&self, bytes: usize) -> Result<(), String> {
        if spend(&self.configured, bytes) {
            return self.work_on(bytes);
        }
        Err(format!("what configures the build holds more than {} bytes in all", self.limits.bytes))
    }

    /// That nothing is used up, before one more text is parsed: all faults are told, but not at any cost.
    pub(crate) fn open(&self) -> Result<(), String> {
        self.work(1)?;
        self.grow(0, 1).and_then(|()| self.grow(1, 0)).and_then(|()| self.configure(1))
    }

    /// Compiles a pattern of Go.
    ///
    /// # Errors
    /// When it is none, or all of them are too much.
    pub(crate) fn pattern(&self, text: &str) -> Result<Regex, String> {
        if let Some(compiled) = self.patterns.borrow().get(text) {
            return compiled.clone();
        }
        let mut compiled = Err("expression too large".to_owned());
        for bytes in go_regex::SIZES {
            // What is compiled takes at most so much memory, and time in proportion.
            self.work(bytes / 64)?;
            match go_regex::compile(text, bytes) {
                Err(go_regex::Fault::TooLarge) => {}
                Err(go_regex::Fault::NoPattern(message)) => {
                    compiled = Err(message);
                    break;
                }
                Ok(regex) => {
                    self.configure(bytes)?;
                    compiled = Ok(regex);
                    break;
                }
            }
        }
        self.configure(text.len())?;
        self.patterns.borrow_mut().insert(text.to_owned(), compiled.clone());
        compiled
    }
}

/// About what a node costs beside its text.
pub(crate) const NODE: usize = 96;

/// About how many bytes a node holds.
pub(crate) fn size(node: &Node) -> usize {
    NODE + match &node.value {
        Value::Scalar(scalar) => scalar.text.len(),
        Value::Sequence(items) => items.iter().map(size).sum(),
        Value::Mapping(entries) => entries.iter().map(|(key, value)| key.name.len() + size(value)).sum(),
    }
}

/// How many lists and mappings deep a value is.
pub(crate) fn depth(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(_) => 0,
        Value::Sequence(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Mapping(entries) => 1 + entries.iter().map(|(_, node)| depth(node)).max().unwrap_or_default(),
    }
}
