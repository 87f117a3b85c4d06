//! The log: what happened inside, for people who look for the reason. Data and errors never go through it.

use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Mutex;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, fmt as lines};

use super::output::Out;
use super::{Global, LogFormat};
use crate::error::Error;

/// Starts the log of this process, on stderr or at the end of a file.
///
/// # Errors
/// E-IO when the file cannot be written.
pub fn start(flags: &Global, out: &Out) -> Result<(), Error> {
    let filter = EnvFilter::try_from_env("DATNODE_LOG")
        .unwrap_or_else(|_| EnvFilter::new(level(flags.verbose, flags.log_file.is_some())));
    let builder = lines().with_env_filter(filter);
    let json = flags.log_format == LogFormat::Json;
    match &flags.log_file {
        Some(path) => {
            // It tells what is read and from whom.
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
            let file = file.map_err(|error| Error::io("write the log", path, &error))?;
            let builder = builder.with_writer(Mutex::new(file)).with_ansi(false);
            if json { builder.event_format(Json).init() } else { builder.init() }
        }
        None => {
            let builder = builder.with_writer(std::io::stderr).with_ansi(out.colour);
            if json { builder.event_format(Json).init() } else { builder.init() }
        }
    }
    Ok(())
}

/// Returns what is logged; a file gets more, as nobody has to read past it. That a packet of mDNS could not be sent is no error of
/// anybody: an address of IPv6 is useless for a moment when it is new, and whether mDNS can be spoken is found out elsewhere.
fn level(verbose: u8, file: bool) -> &'static str {
    match (verbose, file) {
        (0 | 1, false) => "error,libp2p_mdns=off",
        (0 | 1, true) | (2, false) => "datnode=info",
        _ => "datnode=debug,datnode_proto=debug",
    }
}

/// One JSON object a line.
struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        // Behind the event's own fields, which must not take these names.
        let about = event.metadata();
        fields.0.insert("type".into(), "log".into());
        fields.0.insert("time".into(), jiff::Timestamp::now().to_string().into());
        fields.0.insert("level".into(), about.level().as_str().to_ascii_lowercase().into());
        fields.0.insert("target".into(), about.target().into());
        writeln!(writer, "{}", super::escape::json(&Value::Object(fields.0).to_string()))
    }
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").into());
    }
}
