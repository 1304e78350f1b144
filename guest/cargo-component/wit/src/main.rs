#[allow(warnings)]
mod bindings;

use bindings::task::checkpoint::checkpointer;

/// Counts to ten, and saves after each step. The first attempt dies on the way.
fn main() {
    let saved = checkpointer::read().expect("the checkpoint can be read");
    let mut done = saved.as_ref().map_or(0, |saved| saved.bytes[0]);
    if saved.is_some() {
        println!("resumed at {done}");
    }
    while done < 10 {
        assert!(done != 6 || saved.is_some(), "the first attempt dies");
        done += 1;
        checkpointer::write(&[done], &[]).expect("the checkpoint can be written");
    }
    println!("counted to {done}");
}
