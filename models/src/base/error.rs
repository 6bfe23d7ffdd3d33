//! The little of the server's errors that its files ask for.

pub(crate) fn cause(error: &std::io::Error) -> String {
    error.to_string()
}
