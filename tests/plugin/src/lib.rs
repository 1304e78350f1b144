//! A plugin without WASI. It counts to a thousand and saves every hundred. Its name selects how it misbehaves.

wit_bindgen::generate!({
    path: ["../../wit", "../../host/wasmtime/examples/plugins/plugin.wit"],
    world: "example:plugins/plugin",
    generate_all,
});

use task::checkpoint::checkpointer::{self, ResumePoint};
use task::checkpoint::types::Error;

struct Plugin;

export!(Plugin);

impl Guest for Plugin {
    fn run(name: String) -> Result<String, String> {
        let resumed = !matches!(checkpointer::resume(), Ok(ResumePoint::Fresh));
        let from = match checkpointer::read().map_err(text)? {
            Some(bytes) => *bytes.last().ok_or("an empty checkpoint")?,
            None => 0,
        };
        for hundred in from + 1..=10 {
            let mut state = vec![0; 1];
            if name == "greedy" {
                state.resize(usize::from(hundred) << 20, 0);
                scramble(&mut state, hundred);
            }
            state.push(hundred);
            checkpointer::write(&state, &[]).map_err(text)?;
            if hundred == 5 && !resumed {
                match name.as_str() {
                    "traps" => panic!("the plugin's name asks for a trap"),
                    "loops" => loop {
                        std::hint::spin_loop();
                    },
                    "hoards" => hoard(),
                    _ => {}
                }
            }
        }
        Ok(format!("resumed from {from}00"))
    }
}

/// Allocates memory until none is left.
fn hoard() {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(vec![1; 1 << 20]);
    }
}

/// Fills `bytes` with data that does not compress.
fn scramble(bytes: &mut [u8], seed: u8) {
    let mut state = u64::from(seed) + 1;
    for byte in bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state as u8;
    }
}

fn text(error: Error) -> String {
    match error {
        Error::QuotaExceeded(_) => "quota-exceeded".into(),
        other => format!("{other:?}"),
    }
}
