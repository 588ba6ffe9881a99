//! Lists in which every element is a mapping that has a value for each of the keys in use.

use std::collections::HashMap;

use manifest::Diagnostic;
use manifest::yaml::Node;

use super::{Added, Merger, Other, part, take};
use crate::schema::Schema;

/// Which elements of the two lists are one: a group for each combination of the keys' values, numbered as they come,
/// the patch's first.
#[derive(Debug)]
pub(super) struct Regular {
    groups: Vec<Group>,
    /// The group of each element of the target.
    target: Vec<usize>,
    /// Whether more than one key tells the elements apart.
    compound: bool,
}

#[derive(Debug, Default)]
struct Group {
    patch: Option<usize>,
    first: Option<usize>,
    last: Option<usize>,
}

impl Regular {
    /// `None` when an element lacks a key that another one has, or all lack all. A key that none has is not in use.
    pub(super) fn of(target: &[Node], patch: &[Node], keys: &[Box<str>]) -> Option<Self> {
        let all = || patch.iter().chain(target);
        let used: Vec<&str> =
            keys.iter().map(|key| &**key).filter(|key| all().any(|item| !part(item, key).is_empty())).collect();
        if used.is_empty() && all().next().is_some() {
            return None;
        }
        let mut numbers: HashMap<Vec<&str>, usize> = HashMap::with_capacity(target.len() + patch.len());
        let mut groups: Vec<Group> = Vec::new();
        let mut group_of_target = Vec::with_capacity(target.len());
        for (index, item) in all().enumerate() {
            let values: Vec<&str> = used.iter().map(|key| part(item, key)).collect();
            if values.iter().any(|value| value.is_empty()) {
                return None;
            }
            let number = *numbers.entry(values).or_insert_with(|| {
                groups.push(Group::default());
                groups.len() - 1
            });
            let group = groups.get_mut(number)?;
            match index.checked_sub(patch.len()) {
                None => group.patch = group.patch.or(Some(index)),
                Some(index) => {
                    group.first = group.first.or(Some(index));
                    group.last = Some(index);
                    group_of_target.push(number);
                }
            }
        }
        Some(Self { groups, target: group_of_target, compound: used.len() > 1 })
    }

    pub(super) fn combine<'a>(
        self,
        merger: &Merger<'a>,
        mut items: Vec<Node>,
        other: Other<'_>,
        schema: Option<Schema<'a>>,
    ) -> Result<Vec<Node>, Diagnostic> {
        let patch = other.patch();
        let mut added: Vec<Option<Node>> = Vec::with_capacity(self.groups.len());
        let mut gone = vec![false; self.groups.len()];
        for (group, gone) in self.groups.iter().zip(&mut gone) {
            let change = group.patch.and_then(|index| patch.get(index));
            let Some(item) = group.first.and_then(|index| items.get_mut(index)) else {
                added.push(merger.walk(None, change, schema)?);
                continue;
            };
            added.push(None);
            let merged = match (other, change) {
                (Other::Same, _) => merger.add(&take(item), schema, Added::Within)?,
                (_, Some(change)) => merger.merge_element(take(item), change, schema)?,
                (_, None) => merger.walk(Some(take(item)), None, schema)?,
            };
            match merged {
                Some(merged) => *item = merged,
                None => *gone = true,
            }
        }

        // Of each group the last element of the target, or else what was added.
        let mut combined = Vec::with_capacity(self.groups.len());
        if self.compound {
            combined.extend(added.into_iter().flatten());
            for (index, (item, number)) in items.into_iter().zip(self.target).enumerate() {
                let last = self.groups.get(number).and_then(|group| group.last);
                if last == Some(index) && !gone.get(number).copied().unwrap_or_default() {
                    combined.push(item);
                }
            }
        } else {
            for ((group, added), gone) in self.groups.iter().zip(added).zip(gone) {
                match group.last.and_then(|index| items.get_mut(index)) {
                    Some(item) if !gone => combined.push(take(item)),
                    Some(_) => {}
                    None => combined.extend(added),
                }
            }
        }
        Ok(combined)
    }
}
