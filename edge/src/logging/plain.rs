//! Fields of log lines as text, in which nothing from outside begins a line of its own or steers a terminal.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// The longest value of a field, in characters. What an event says by itself is not cut.
const MOST_CHARS: usize = 200;

/// Writes `message name=value ...`, with control characters spelled out and long values cut.
#[derive(Debug, Default)]
pub(super) struct Plain;

impl<'a> FormatFields<'a> for Plain {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'a>, fields: R) -> fmt::Result {
        let mut line = Line { writer: &mut writer, is_first: true, result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'w, 'a> {
    writer: &'w mut Writer<'a>,
    is_first: bool,
    result: fmt::Result,
}

impl Line<'_, '_> {
    fn write(&mut self, field: &Field, value: fmt::Arguments<'_>) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.writer.write_char(' ')?;
        }
        let left = match field.name() {
            "message" => usize::MAX,
            name => {
                write!(self.writer, "{}=", name.trim_start_matches("r#"))?;
                MOST_CHARS
            }
        };
        let mut spelled = Spelled { to: self.writer, left };
        spelled.write_fmt(value)?;
        if spelled.left == 0 { self.writer.write_str("...") } else { Ok(()) }
    }
}

impl Visit for Line<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.record_debug(field, &format_args!("{value}")),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.result.is_ok() {
            self.result = self.write(field, format_args!("{value:?}"));
        }
    }
}

/// Passes text on with control characters spelled out, as many characters as are left.
struct Spelled<'w, W> {
    to: &'w mut W,
    left: usize,
}

impl<W: Write> Write for Spelled<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.left == 0 {
                return Ok(());
            }
            self.left -= 1;
            match is_steering(character) {
                true => write!(self.to, "{}", character.escape_default())?,
                false => self.to.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// Control characters, and those that turn the direction of writing or end a line for some readers.
fn is_steering(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing_subscriber::fmt;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let layer = fmt::layer()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .fmt_fields(Plain);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        String::from_utf8(kept.0.lock().clone()).expect("text")
    }

    #[test]
    fn what_came_from_outside_stays_within_its_line() {
        let reason = "bye\n2026-11-28T00:00:00Z  INFO request: admin logged in \u{1b}[31m\u{9b}1m\u{202e}";
        let line = logged(|| tracing::warn!(%reason, count = 3, "lost {reason}"));
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(line.trim_end().chars().all(|character| !is_steering(character)), "{line:?}");
        assert!(line.contains(r"reason=bye\n2026") && line.contains("count=3"), "{line}");
    }

    #[test]
    fn long_values_are_cut() {
        let line = logged(|| tracing::warn!(reason = %"x".repeat(5_000), "lost"));
        assert!(line.len() < 300 && line.contains("xxx..."), "{line}");
    }

    #[test]
    fn an_ordinary_line_reads_as_ever() {
        let line =
            logged(|| tracing::info!(stream = %"6a31", why = "a text", taken_over = true, "stream runs"));
        assert_eq!(line.trim_end(), r#" INFO stream runs stream=6a31 why="a text" taken_over=true"#);
    }
}
