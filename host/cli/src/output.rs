//! All output of this program: results on stdout, messages on stderr. Both are escaped, because names in a storage or a
//! component may contain terminal control sequences.

use std::borrow::Cow;
use std::fmt::{Arguments, Write as _};
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use anyhow::Context;
use serde::Serialize;

/// Prints a message on stderr. Ignores errors: a stderr that is closed or full must not change the outcome of a run.
pub(crate) fn say(message: impl AsRef<str>) {
    say_raw(&format!("wasm-checkpoint: {}", message.as_ref()));
}

/// Prints a line on stderr without the program's name, for further lines of a message.
pub(crate) fn say_raw(line: &str) {
    // Use one write, so that the lines of several processes do not mix.
    let _ = io::stderr().write_all(format!("{}\n", escape(line)).as_bytes());
}

/// The lines of a result.
#[derive(Debug)]
pub(crate) struct Lines<W: Write = BufWriter<StdoutLock<'static>>>(W);

impl<W: Write> Lines<W> {
    /// Prints one line. Escapes newlines in it too, so that a name cannot forge a line.
    pub(crate) fn line(&mut self, line: Arguments<'_>) -> io::Result<()> {
        let line = line.to_string();
        writeln!(self.0, "{}", escape(&line))
    }
}

/// Prints the lines that `print` makes on stdout. A closed pipe is not an error: its reader has seen enough.
///
/// # Errors
/// If writing to stdout fails for another reason.
pub(crate) fn print(print: impl FnOnce(&mut Lines) -> io::Result<()>) -> anyhow::Result<()> {
    let mut lines = Lines(BufWriter::new(io::stdout().lock()));
    let printed = print(&mut lines).and_then(|()| lines.0.flush());
    if printed.is_err() {
        // Otherwise dropping the buffer would try to write the rest again.
        let _ = lines.0.into_parts();
    }
    match printed {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("cannot write to stdout"),
    }
}

/// Prints the result of a command on stdout, as one JSON object.
pub(crate) fn print_json(result: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(result)?;
    print(|out| writeln!(out.0, "{}", escape_json(&text)))
}

/// Escapes the characters that a terminal acts upon, in Rust's syntax: `\u{1b}`.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    escape_as(text, acts, |c, escaped| {
        escaped.extend(c.escape_default());
    })
}

/// Escapes the same characters in the strings of serialized JSON. Keeps the newlines between its tokens.
pub(crate) fn escape_json(json: &str) -> Cow<'_, str> {
    escape_as(
        json,
        |c| acts(c) && c != '\n',
        |c, escaped| {
            // All of these are below U+10000, so JSON needs no surrogate pair.
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

/// Returns whether a terminal acts upon a character instead of showing it: the controls C0, DEL and C1, line
/// separators, and marks that change the direction of text and so can disguise it.
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
    fn terminal_controls_are_escaped() {
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
    fn escaped_json_keeps_its_meaning() {
        let text = "\u{1b}[31m \u{7f} \u{9b}2J \u{202e} \u{2028} \n ä \u{1f600}";
        let json = serde_json::to_string_pretty(&[text]).unwrap();
        let escaped = escape_json(&json).into_owned();
        assert!(!escaped.replace('\n', "").contains(acts), "{escaped:?}");
        let parsed: Vec<String> = serde_json::from_str(&escaped).unwrap();
        assert_eq!(parsed, [text]);
    }

    #[test]
    fn a_name_cannot_forge_a_line() {
        let mut lines = Lines(Vec::new());
        lines.line(format_args!("name {}", "a\nforged")).unwrap();
        assert_eq!(lines.0, b"name a\\nforged\n");
    }
}
