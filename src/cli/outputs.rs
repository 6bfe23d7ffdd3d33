//! Options that name what a command writes.

use super::exit::usage_error;
use crate::base::output::Output;

/// Ends the program as for wrong usage where two options, given by name, write the same file
/// or both write standard output: only what was written last would be left.
pub(super) fn check_distinct(outputs: &[(&'static str, &Output)]) {
    for (index, (option, output)) in outputs.iter().enumerate() {
        let mut before = outputs.iter().take(index);
        if let Some((other, _)) = before.find(|(_, other)| other.is_same(output)) {
            let place = match output {
                Output::Standard => String::from("standard output"),
                Output::Path(path) => path.display().to_string(),
            };
            usage_error(&format!(
                "{other} and {option} can't both write {place}; give each a file of its own"
            ));
        }
    }
}
