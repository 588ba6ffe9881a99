//! The log: for people, or a JSON object a line with the fields of Flux's controllers, which `flux logs` reads.
//!
//! Guarantee: a line about a BundleSync names it as `controllerKind`, `name` and `namespace`, by the span that its reconcile
//! runs in. What may be in a line is not decided here: a value of a Secret or a parameter is kept out where it is written.

use std::fmt;

use anyhow::Context as _;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Span, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::args::{LogEncoding, LogLevel};
use crate::mirror::Key;

/// Writes the log to standard error from now on.
///
/// # Errors
/// When `RUST_LOG` cannot be read.
pub fn init(level: LogLevel, encoding: LogEncoding) -> anyhow::Result<()> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(asked) if !asked.is_empty() => {
            EnvFilter::try_new(&asked).with_context(|| format!("RUST_LOG={asked} is no log filter"))?
        }
        _ => EnvFilter::new(level.directives()),
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr);
    match encoding {
        LogEncoding::Json => log.fmt_fields(JsonFields::new()).event_format(FluxJson).init(),
        LogEncoding::Console => log.init(),
    }
    Ok(())
}

/// What a reconcile of a BundleSync is in. Its level is that of errors, so that no filter takes the names off these.
pub fn span(sync: &Key) -> Span {
    tracing::error_span!("reconcile", controllerKind = "BundleSync", name = sync.name, namespace = sync.namespace)
}

/// Lines with `ts`, `level` and `msg`, and all else beside them.
struct FluxJson;

impl<S, N> FormatEvent<S, N> for FluxJson
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Map::new();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>().map(|fields| serde_json::from_str(fields));
            if let Some(Ok(Value::Object(fields))) = fields {
                line.extend(fields);
            }
        }
        event.record(&mut Fields(&mut line));
        line.insert("ts".to_owned(), format!("{:.3}", Timestamp::now()).into());
        line.insert("level".to_owned(), event.metadata().level().as_str().to_ascii_lowercase().into());
        writeln!(to, "{}", Value::Object(line))
    }
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn set(&mut self, field: &Field, value: Value) {
        let name = if field.name() == "message" { "msg" } else { field.name() };
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_has_the_fields_of_flux() {
        let lines = Lines::default();
        let to = lines.clone();
        let log = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || to.clone())
            .fmt_fields(JsonFields::new())
            .event_format(FluxJson)
            .finish();
        tracing::subscriber::with_default(log, || {
            span(&Key::new("team", "apps")).in_scope(|| {
                tracing::error!(error = %"no \"answer\"", times = 3, reason = "Why", "not applied: {}", 7);
                tracing::debug!("not told");
            });
            tracing::info!("started");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let mut told: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &mut told {
            let time = line.as_object_mut().unwrap().remove("ts").unwrap();
            assert!(time.as_str().unwrap().parse::<Timestamp>().is_ok(), "{time}");
        }
        let expected = serde_json::json!([
            {"level": "error", "msg": "not applied: 7", "controllerKind": "BundleSync", "name": "apps",
             "namespace": "team", "error": "no \"answer\"", "times": 3, "reason": "Why"},
            {"level": "info", "msg": "started"},
        ]);
        assert_eq!(Value::Array(told), expected);
    }
}
