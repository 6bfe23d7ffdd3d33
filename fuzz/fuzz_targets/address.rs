//! Parses an address as a user writes it: every address that parses is displayed in a
//! form that parses to the same address.
#![no_main]

use echopool::base::address::Address;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(address) = text.parse::<Address>() else {
        return;
    };
    assert_eq!(address.to_string().parse(), Ok(address.clone()));
    assert!(address.host().is_some() || address.port().is_some());
    let host = address.host().unwrap_or_default();
    assert!(!host.contains(['[', ']', ' ', '\n', '\x1b']), "{host:?}");
});
