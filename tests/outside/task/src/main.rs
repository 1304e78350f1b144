//! Counts its attempts.

fn main() -> Result<(), task_checkpoint::Error> {
    let counted = task_checkpoint::read()?.map_or(0, |bytes| bytes.len());
    task_checkpoint::write(vec![0; counted + 1])?;
    println!("{}", counted + 1);
    Ok(())
}
