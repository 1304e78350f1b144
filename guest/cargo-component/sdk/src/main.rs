/// Counts to ten, and saves after each step. The first attempt dies on the way.
fn main() -> task_checkpoint::Result<()> {
    let saved = task_checkpoint::read()?;
    let mut done = saved.as_ref().and_then(|bytes| bytes.first().copied()).unwrap_or(0);
    if saved.is_some() {
        println!("resumed at {done}");
    }
    while done < 10 {
        assert!(done != 6 || saved.is_some(), "the first attempt dies");
        done += 1;
        task_checkpoint::write([done])?;
    }
    println!("counted to {done}");
    Ok(())
}
