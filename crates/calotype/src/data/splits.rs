//! Parts of a data set, as the names of its files and folders say them in the way of Hugging Face.

/// Words of splits that are not for training.
const HELD_OUT: [&str; 6] = ["test", "validation", "valid", "val", "dev", "eval"];

/// Whether a name begins with the word of a split that is held out: `test-00000-of-00001.parquet`.
pub(super) fn is_held_out(name: &str) -> bool {
    let name = name.to_lowercase();
    let word = name.split(|c: char| !c.is_alphanumeric()).next();
    word.is_some_and(|word| HELD_OUT.contains(&word) || word == "testing" || word == "evaluation")
}

/// Whether a folder is a split by its name, and no class: `train`, `test`.
pub(super) fn is_split(folder: &str) -> bool {
    let name = folder.to_lowercase();
    name.chars().all(char::is_alphanumeric) && (name == "train" || name == "training" || is_held_out(&name))
}
