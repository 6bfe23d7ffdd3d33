//! Stand-ins for what the server's files ask of `base`.

pub(crate) mod error;
