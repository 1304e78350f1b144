//! Everything that this program prints: results on stdout, messages on stderr. Both are escaped, because names in
//! a storage or a component may hold what moves a terminal's cursor.

use std::borrow::Cow;
use std::fmt::{Arguments, Write as _};
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use anyhow::Context;
use serde::Serialize;

/// Prints a message on stderr. A stderr that is closed or full must not change how a run ends, so errors are
/// ignored.
pub(crate) fn say(message: impl AsRef<str>) {
    say_raw(&format!("wasm-checkpoint: {}", message.as_ref()));
}

/// The same without the program's name, for the lines that belong to a message.
pub(crate) fn say_raw(line: &str) {
    // In one write, so that the lines of several processes do not mix.
    let _ = io::stderr().write_all(format!("{}\n", escape(line)).as_bytes());
}

/// The lines of a result.
#[derive(Debug)]
pub(crate) struct Lines<W: Write = BufWriter<StdoutLock<'static>>>(W);

impl<W: Write> Lines<W> {
    /// Prints one line. A newline in it is escaped too, so that a name cannot pass for a line.
    pub(crate) fn line(&mut self, line: Arguments<'_>) -> io::Result<()> {
        let line = line.to_string();
        writeln!(self.0, "{}", escape(&line))
    }
}

/// Prints the lines that `print` makes on stdout. Whoever has closed the other end of a pipe has seen enough,
/// which is no error.
///
/// # Errors
/// If stdout cannot be written for another reason.
pub(crate) fn print(print: impl FnOnce(&mut Lines) -> io::Result<()>) -> anyhow::Result<()> {
    let mut lines = Lines(BufWriter::new(io::stdout().lock()));
    let printed = print(&mut lines).and_then(|()| lines.0.flush());
    if printed.is_err() {
        // Or dropping it would try to write the rest once more.
        let _ = lines.0.into_parts();
    }
    match printed {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("stdout cannot be written"),
    }
}

/// Prints the result of a command, one object, on stdout.
pub(crate) fn print_json(result: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(result)?;
    print(|out| writeln!(out.0, "{}", escape_json(&text)))
}

/// Escapes what a terminal would act upon, as Rust does: `\u{1b}`.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    escape_as(text, acts, |c, escaped| {
        escaped.extend(c.escape_default());
    })
}

/// The same of serialized JSON, within its strings. The newlines between its tokens stay.
pub(crate) fn escape_json(json: &str) -> Cow<'_, str> {
    escape_as(
        json,
        |c| acts(c) && c != '\n',
        |c, escaped| {
            // All of them lie in the plane that JSON needs no pair of escapes for.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        },
    )
}

fn escape_as(
    text: &str,
    acts: impl Fn(char) -> bool,
    escape: impl Fn(char, &mut String),
) -> Cow<'_, str> {
    if !text.contains(&acts) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match acts(c) {
            true => escape(c, &mut escaped),
            false => escaped.push(c),
        }
    }
    escaped.into()
}

/// Whether a terminal acts upon a character instead of showing it: the controls C0, DEL and C1; what separates
/// lines; and what changes the direction of text, so that it shows as other text.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_upon_is_escaped() {
        for (text, escaped) in [
            ("plain ä 漢 \u{1f600}", "plain ä 漢 \u{1f600}"),
            ("\u{1b}[31m", "\\u{1b}[31m"),
            ("a\nb\tc\rd\0", "a\\nb\\tc\\rd\\u{0}"),
            ("\u{7f}\u{9b}2J", "\\u{7f}\\u{9b}2J"),
            ("\u{202e}gnp.exe\u{2066}", "\\u{202e}gnp.exe\\u{2066}"),
            ("a\u{2028}b", "a\\u{2028}b"),
        ] {
            assert_eq!(escape(text), escaped);
        }
    }

    #[test]
    fn json_is_escaped_and_keeps_its_meaning() {
        let text = "\u{1b}[31m \u{7f} \u{9b}2J \u{202e} \u{2028} \n ä \u{1f600}";
        let json = serde_json::to_string_pretty(&[text]).unwrap();
        let escaped = escape_json(&json).into_owned();
        assert!(!escaped.replace('\n', "").contains(acts), "{escaped:?}");
        let parsed: Vec<String> = serde_json::from_str(&escaped).unwrap();
        assert_eq!(parsed, [text]);
    }

    #[test]
    fn a_name_cannot_pass_for_a_line() {
        let mut lines = Lines(Vec::new());
        lines.line(format_args!("name {}", "a\nforged")).unwrap();
        assert_eq!(lines.0, b"name a\\nforged\n");
    }
}
