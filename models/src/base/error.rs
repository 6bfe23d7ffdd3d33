//! A stand-in for the wording of errors.

pub(crate) fn cause(error: &std::io::Error) -> String {
    error.to_string()
}
