//! The answer to each path of the admin socket.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};

use prometheus_client::registry::Registry;

use super::accept::Format;
use super::http::{self, Code, Request};
use super::{metrics, page};
use crate::server::status::Status;

/// Answers requests about one server.
pub(super) struct Answers {
    status: Status,
    registry: Registry,
}

impl Answers {
    pub(super) fn new(status: Status) -> Self {
        let registry = metrics::registry(status.clone());
        Self { status, registry }
    }

    /// The answer to `request`, with code 500 if making it fails or panics.
    pub(super) fn to(&self, request: &Request) -> Vec<u8> {
        // Making an answer changes nothing, so a panic leaves nothing half done.
        let made = catch_unwind(AssertUnwindSafe(|| self.make(request)));
        match made {
            Ok(Ok(answer)) => return answer,
            Ok(Err(error)) => log::error!("could not answer {:?}: {error}", request.path),
            // The panic hook has reported it already.
            Err(_) => {}
        }
        http::refusal(Code::InternalError, request.head_only)
    }

    fn make(&self, request: &Request) -> Result<Vec<u8>, Box<dyn Error>> {
        let head_only = request.head_only;
        let ok = |kind, body: &str| http::answer(Code::Ok, kind, body, head_only);
        Ok(match &*request.path {
            "/metrics" => {
                let format = Format::preferred(&request.accept);
                ok(format.kind(), &metrics::text(&self.registry, format)?)
            }
            "/healthz" => verdict(self.status.health(), head_only),
            "/readyz" => verdict(self.status.readiness(), head_only),
            "/status.json" => ok("application/json", &page::json(&self.status)?),
            "/" => ok("text/html; charset=utf-8", page::PAGE),
            #[cfg(test)]
            "/panic" => panic!("as asked for"),
            _ => http::refusal(Code::NotFound, head_only),
        })
    }
}

fn verdict(verdict: Result<(), String>, head_only: bool) -> Vec<u8> {
    match verdict {
        Ok(()) => http::line(Code::Ok, "ok", head_only),
        Err(why) => http::line(Code::Unavailable, &why, head_only),
    }
}
