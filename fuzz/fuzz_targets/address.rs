//! An address as a person may write it: whatever is understood is understood
//! again as it is shown, and the same.
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
