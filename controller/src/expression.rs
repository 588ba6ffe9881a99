//! `readyExpr`: a CEL expression over the BundleSync (`self`) and what it depends on (`dep`).
//!
//! Guarantee: an expression is evaluated only when an upper bound of its work, made of the sizes of the two objects, is below
//! [`MOST_WORK`]; the evaluator itself knows no limit. Reading and evaluating recurse as deep as an expression nests, which
//! its length limits; so both are done in [`with_room`]. No message holds a value of either object.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::{Context, Env, ExecutionError, extensions};
use serde_json::Value;

/// The most work that an evaluation may be, in visited nodes and characters.
const MOST_WORK: u64 = 1_000_000;
/// How deep brackets may nest.
const DEEPEST: usize = 32;
/// The longest expression, in bytes. The CRD says so too.
const LONGEST: usize = 2048;
/// The stack for one expression. A test has the deepest ones.
const ROOM: usize = 64 << 20;
/// The objects that an expression is over.
const OBJECTS: [&str; 2] = ["self", "dep"];
/// Names of types, and of groups of functions.
const KNOWN: [&str; 13] = [
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "timestamp",
    "duration",
    "strings",
];

/// An expression that reads as one.
pub struct Expression(IdedExpr);

/// Why an expression has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is none, for whatever object.
    Invalid(String),
    /// It is none for these objects: a field may be missing that will be there.
    Evaluation(String),
}

/// Does what may recurse deeply, on a stack of its own.
///
/// # Errors
/// When it panicked, or no thread can be had.
pub async fn with_room<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let (done, result) = tokio::sync::oneshot::channel();
    // Nobody may wait for it any longer.
    let run = move || drop(done.send(work()));
    let thread = std::thread::Builder::new().name("expression".to_owned()).stack_size(ROOM).spawn(run);
    thread.map_err(|error| error.to_string())?;
    result.await.map_err(|_| "it panicked; the controller's log has the place".to_owned())
}

impl Expression {
    /// Reads an expression. Within [`with_room`].
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("it has {} bytes, and at most {LONGEST} are read", text.len()));
        }
        if nesting(text) > DEEPEST {
            return Err(format!("its brackets nest deeper than {DEEPEST}"));
        }
        let parsed = environment().parser().parse(text).map_err(|errors| {
            let told = |error: &cel::ParseError| format!("{}:{}: {}", error.pos.0, error.pos.1, error.msg);
            errors.errors.iter().map(told).collect::<Vec<_>>().join("; ")
        })?;
        match unknown_name(&parsed, &mut OBJECTS.iter().chain(&KNOWN).map(|name| (*name).to_owned()).collect()) {
            Some(name) => Err(format!("undeclared reference to {name:?}: an expression is over self and dep")),
            None => Ok(Self(parsed)),
        }
    }

    /// Whether it holds. Within [`with_room`].
    ///
    /// # Errors
    /// [`Fault`].
    pub fn holds(&self, own: &Value, dependency: &Value) -> Result<bool, Fault> {
        let names = HashMap::from([("self", Bound::of(own)), ("dep", Bound::of(dependency))]);
        let work = Scope { names, outer: None }.bound(&self.0).work;
        if work > MOST_WORK {
            return Err(Fault::Invalid(
                "it may be too much work: nest fewer macros, or narrow what they are over".to_owned(),
            ));
        }
        let mut context = Context::with_env(environment());
        context.add_variable_from_value("self", value(own));
        context.add_variable_from_value("dep", value(dependency));
        match cel::Value::resolve(&self.0, &context) {
            Ok(cel::Value::Bool(holds)) => Ok(holds),
            Ok(_) => Err(Fault::Invalid("its result is neither true nor false".to_owned())),
            Err(ExecutionError::UndeclaredReference(name)) => {
                Err(Fault::Invalid(format!("undeclared reference to {name:?}")))
            }
            // Other errors quote values.
            Err(ExecutionError::NoSuchKey(name)) => Err(Fault::Evaluation(format!("no such key: {name}"))),
            Err(ExecutionError::NoSuchOverload(error)) => Err(Fault::Evaluation(error.to_string())),
            Err(_) => Err(Fault::Evaluation("a part of it has no result for these objects".to_owned())),
        }
    }
}

/// How deep brackets nest, those in texts included.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn environment() -> Arc<Env> {
    static ENVIRONMENT: OnceLock<Arc<Env>> = OnceLock::new();
    let make = || {
        let mut environment = Env::stdlib();
        // As Flux has it. Fails only where a name is taken, and none is.
        let _ = environment.add_extension(extensions::strings);
        Arc::new(environment)
    };
    ENVIRONMENT.get_or_init(make).clone()
}

/// JSON as CEL has it: every whole number is an int.
fn value(json: &Value) -> cel::Value {
    match json {
        Value::Null => cel::Value::Null,
        Value::Bool(flag) => cel::Value::Bool(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => cel::Value::Int(whole),
            None => cel::Value::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => cel::Value::from(text.as_str()),
        Value::Array(items) => cel::Value::List(Arc::new(items.iter().map(value).collect())),
        Value::Object(fields) => {
            let fields: HashMap<String, cel::Value> =
                fields.iter().map(|(key, field)| (key.clone(), value(field))).collect();
            cel::Value::from(fields)
        }
    }
}

/// The parts of an expression that are evaluated in its own scope.
fn parts(expression: &Expr) -> Vec<&IdedExpr> {
    match expression {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).collect(),
        Expr::Struct(made) => made.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Comprehension(_) | Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Vec::new(),
    }
}

fn entry_parts(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

/// A name that stands for nothing.
fn unknown_name(expression: &IdedExpr, known: &mut Vec<String>) -> Option<String> {
    match &expression.expr {
        Expr::Ident(name) => (!known.contains(name)).then(|| name.clone()),
        Expr::Comprehension(made) => {
            let outer = unknown_name(&made.iter_range, known).or_else(|| unknown_name(&made.accu_init, known));
            let before = known.len();
            known.extend([made.iter_var.clone(), made.accu_var.clone()]);
            known.extend(made.iter_var2.clone());
            let inner = [&made.loop_cond, &made.loop_step, &made.result];
            let found = outer.or_else(|| inner.into_iter().find_map(|part| unknown_name(part, known)));
            known.truncate(before);
            found
        }
        other => parts(other).into_iter().find_map(|part| unknown_name(part, known)),
    }
}

/// How large a value can be, and how much work it is to come by it.
#[derive(Clone, Copy, Debug)]
struct Bound<'a> {
    /// The value, where it is a part of one of the objects.
    known: Option<&'a Value>,
    /// Nodes and characters.
    size: u64,
    /// How many items it can be gone through by.
    items: u64,
    work: u64,
}

impl<'a> Bound<'a> {
    fn of(value: &'a Value) -> Self {
        let items = match value {
            Value::Array(items) => items.len(),
            Value::Object(fields) => fields.len(),
            _ => 0,
        };
        Self { known: Some(value), size: size(value), items: count(items), work: 1 }
    }

    fn made(size: u64, items: u64, work: u64) -> Self {
        Self { known: None, size, items, work }
    }

    /// One of the items that it is gone through by.
    fn item(&self) -> Self {
        let largest = match self.known {
            Some(Value::Array(items)) => items.iter().map(size).max(),
            Some(Value::Object(fields)) => fields.keys().map(|key| 1 + count(key.len())).max(),
            _ => Some(self.size),
        };
        let size = largest.unwrap_or_default();
        Self::made(size, size, 1)
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn size(value: &Value) -> u64 {
    match value {
        Value::String(text) => 1 + count(text.len()),
        Value::Array(items) => 1 + items.iter().map(size).sum::<u64>(),
        Value::Object(fields) => 1 + fields.iter().map(|(key, field)| 1 + count(key.len()) + size(field)).sum::<u64>(),
        _ => 1,
    }
}

/// The bounds of the names in sight.
struct Scope<'a, 'o> {
    names: HashMap<&'a str, Bound<'a>>,
    outer: Option<&'o Scope<'a, 'o>>,
}

impl<'a> Scope<'a, '_> {
    fn name(&self, name: &str) -> Bound<'a> {
        let own = self.names.get(name).copied();
        own.or_else(|| self.outer.map(|outer| outer.name(name))).unwrap_or(Bound::made(1, 0, 1))
    }

    fn bound(&self, expression: &'a IdedExpr) -> Bound<'a> {
        match &expression.expr {
            Expr::Ident(name) => self.name(name),
            Expr::Literal(LiteralValue::String(text)) => Bound::made(1 + count(text.inner().len()), 0, 1),
            Expr::Literal(LiteralValue::Bytes(bytes)) => Bound::made(1 + count(bytes.inner().len()), 0, 1),
            Expr::Literal(_) | Expr::Unspecified => Bound::made(1, 0, 1),
            Expr::Select(select) => {
                let of = self.bound(&select.operand);
                let found = of.known.map(|value| value.get(&select.field).map_or(Bound::made(1, 0, 1), Bound::of));
                let found = found.unwrap_or(Bound::made(of.size, of.size, 1));
                Bound { work: of.work.saturating_add(1), ..found }
            }
            Expr::List(list) => self.all(&expression.expr, count(list.elements.len())),
            Expr::Map(map) => self.all(&expression.expr, count(map.entries.len())),
            Expr::Struct(made) => self.all(&expression.expr, count(made.entries.len())),
            Expr::Call(call) => self.call(call, &expression.expr),
            Expr::Comprehension(made) => self.comprehension(made),
        }
    }

    /// What is made of all of its parts.
    fn all(&self, expression: &'a Expr, items: u64) -> Bound<'a> {
        let parts = parts(expression).into_iter().map(|part| self.bound(part));
        parts.fold(Bound::made(1, items, 1), |all, part| Bound {
            size: all.size.saturating_add(part.size),
            work: all.work.saturating_add(part.work),
            ..all
        })
    }

    fn call(&self, call: &'a CallExpr, expression: &'a Expr) -> Bound<'a> {
        let parts: Vec<Bound<'_>> = parts(expression).into_iter().map(|part| self.bound(part)).collect();
        let sum = |of: fn(&Bound<'_>) -> u64| parts.iter().map(of).fold(1u64, u64::saturating_add);
        let product = || parts.iter().fold(1u64, |all, part| all.saturating_mul(part.size.max(1)));
        let (sizes, work, items) = (sum(|part| part.size), sum(|part| part.work), sum(|part| part.items));
        match call.func_name.as_str() {
            operators::CONDITIONAL => {
                let branches = || parts.iter().skip(1);
                let size = branches().map(|part| part.size).max().unwrap_or_default();
                let items = branches().map(|part| part.items).max().unwrap_or_default();
                Bound::made(size, items, work)
            }
            operators::EQUALS
            | operators::NOT_EQUALS
            | operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS
            | operators::LOGICAL_AND
            | operators::LOGICAL_OR
            | operators::LOGICAL_NOT
            | operators::IN
            | operators::NOT_STRICTLY_FALSE
            | "size"
            | "startsWith"
            | "endsWith"
            | "contains" => Bound::made(1, 0, work.saturating_add(sizes)),
            operators::ADD => Bound::made(sizes, items, work.saturating_add(sizes)),
            // What repeats one text in another, and what tries a pattern at each place.
            "replace" | "join" | "format" | "matches" => {
                Bound::made(product(), product(), work.saturating_add(product()))
            }
            _ => Bound::made(sizes, sizes, work.saturating_add(sizes)),
        }
    }

    fn comprehension(&self, made: &'a ComprehensionExpr) -> Bound<'a> {
        let (range, begin) = (self.bound(&made.iter_range), self.bound(&made.accu_init));
        let item = range.item();
        let second = made.iter_var2.as_deref().map(|name| (name, Bound::made(range.size, range.size, 1)));
        // What each round adds: a macro's step is its last result and something more.
        let nothing = Bound::made(0, 0, 1);
        let names = [(made.iter_var.as_str(), item), (made.accu_var.as_str(), nothing)].into_iter().chain(second);
        let inner = Scope { names: names.collect(), outer: Some(self) };
        let (condition, step) = (inner.bound(&made.loop_cond), inner.bound(&made.loop_step));
        let rounds = range.items;
        let grown = |begin: u64, step: u64| begin.saturating_add(rounds.saturating_mul(step));
        let all = Bound::made(grown(begin.size, step.size), grown(begin.items, step.items), 1);
        let last = Scope { names: HashMap::from([(made.accu_var.as_str(), all)]), outer: Some(self) };
        let result = last.bound(&made.result);
        let round = condition.work.saturating_add(step.work).saturating_add(item.size);
        let parts = [range.work, begin.work, rounds.saturating_mul(round), result.work];
        Bound::made(
            all.size.max(result.size),
            all.items.max(result.items),
            parts.into_iter().fold(1, u64::saturating_add),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn holds(text: &str) -> Result<bool, Fault> {
        let own = json!({"metadata": {"name": "apps", "generation": 3, "annotations": {"version": "1.2"}}});
        let conditions: Vec<Value> = ["Ready", "Healthy"]
            .iter()
            .map(|kind| json!({"type": kind, "status": "True", "observedGeneration": 2, "message": "x".repeat(300)}))
            .collect();
        let dependency = json!({
            "metadata": {"name": "infra", "generation": 2, "labels": {"version": "1.2", "stage": "prod"}},
            "spec": {"postBuild": {"substitute": {"password": "hunter2"}}},
            "status": {"conditions": conditions, "observedGeneration": 2, "big": vec!["y"; 500]},
        });
        Expression::parse(text).map_err(Fault::Invalid)?.holds(&own, &dependency)
    }

    /// On a stack as the controller has it.
    fn in_room(test: fn()) {
        std::thread::Builder::new().stack_size(ROOM).spawn(test).unwrap().join().unwrap();
    }

    #[test]
    fn the_deepest_expressions_have_room() {
        in_room(|| {
            let filled = |part: &str, last: &str| part.repeat((LONGEST - last.len()) / part.len()) + last;
            for text in [
                filled("!", "true"),
                filled("-", "1"),
                filled("- ", "1"),
                filled("1+", "1"),
                filled("true&&", "true"),
                filled("true||", "true"),
                filled("true?true:", "true"),
                "dep".to_owned() + &filled(".a", ""),
                "dep".to_owned() + &".size()".repeat(200),
                "dep".to_owned() + &"[0]".repeat(500),
                filled("(", ""),
                filled("[", ""),
                filled("{1:", ""),
                filled("has(", ""),
                "[1].map(a,".repeat(31) + "a" + &")".repeat(31),
                filled("a ? ", ""),
                filled("'", ""),
            ] {
                let _ = holds(&text);
            }
        });
    }

    #[test]
    fn what_people_write_of_flux_has_a_result() {
        in_room(|| {
            for (text, expected) in [
                ("dep.status.conditions.filter(e, e.type == 'Ready').all(e, e.status == 'True')", true),
                (
                    "dep.status.conditions.exists(c, c.type == 'Ready' && c.status == 'True' && c.observedGeneration == dep.metadata.generation)",
                    true,
                ),
                ("dep.metadata.labels['version'] == self.metadata.annotations['version']", true),
                ("has(dep.status.observedGeneration) && dep.status.observedGeneration >= 2", true),
                ("dep.status.?nothing.orValue('') == 'x'", false),
                ("self.metadata.name.startsWith('a') && dep.metadata.name.matches('^in.*$')", true),
                ("dep.metadata.name.lowerAscii().replace('i', 'o') == 'onfra'", true),
                ("dep.status.big.map(x, x + 'z').size() == 500", true),
                ("dep.metadata.labels.all(k, k != 'none') && dep.metadata.generation == 2.0", true),
                ("size(dep.status.conditions) > 5 ? true : string(dep.metadata.generation) == '2'", true),
                ("timestamp('2026-01-01T00:00:00Z') < timestamp('2026-01-02T00:00:00Z')", true),
                ("!(dep.metadata.name in ['a', 'b'])", true),
            ] {
                assert_eq!(holds(text), Ok(expected), "{text}");
            }
        });
    }

    #[test]
    fn what_is_no_expression_is_told_and_holds_no_value() {
        in_room(|| {
            let deep = "(".repeat(60) + "true" + &")".repeat(60);
            let doubled = "[dep.status.big].map(a, a + a)".to_owned() + &".map(a, a + a)".repeat(30) + ".size() == 1";
            for (text, words) in [
                ("dep.status.", "1:1"),
                ("", "1:1"),
                ("depp.status.ready", "undeclared reference to \"depp\""),
                ("dep.status.conditions.exists(c, d.type == 'x')", "undeclared reference to \"d\""),
                ("dep.metadata.generation.sometimes()", "sometimes"),
                ("dep.metadata.name", "neither true nor false"),
                (&deep, "nest deeper than 32"),
                (&doubled, "too much work"),
                (
                    "dep.status.big.all(a, dep.status.big.all(b, dep.status.big.all(c, a == b && b == c)))",
                    "too much work",
                ),
            ] {
                match holds(text) {
                    Err(Fault::Invalid(why) | Fault::Evaluation(why)) => assert!(why.contains(words), "{text}: {why}"),
                    Ok(holds) => panic!("{text}: {holds}"),
                }
            }
            for text in [
                "dep.status.nothing == 1",
                "dep.spec.postBuild.substitute.password + 1 == 2",
                "dep.spec.postBuild.substitute[1] == 2",
            ] {
                let Err(Fault::Evaluation(why)) = holds(text) else { panic!("{text}") };
                assert!(!why.contains("hunter2"), "{why}");
            }
        });
    }
}
