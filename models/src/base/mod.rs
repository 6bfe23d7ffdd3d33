//! Stand-ins for what the included files import from `base`.

pub(crate) mod error;
