//! What is answered at which path.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};

use prometheus_client::registry::Registry;

use super::http::{self, Code, Request};
use super::{metrics, page};
use crate::server::status::Status;

/// Knows the answers of one server.
pub(super) struct Answers {
    status: Status,
    registry: Registry,
}

impl Answers {
    pub(super) fn new(status: Status) -> Self {
        let registry = metrics::registry(status.clone());
        Self { status, registry }
    }

    /// The answer, whatever happens while it is made.
    pub(super) fn to(&self, request: &Request) -> Vec<u8> {
        // What is read for it is only read, so nothing can be left half done.
        let made = catch_unwind(AssertUnwindSafe(|| self.make(request)));
        match made {
            Ok(Ok(answer)) => return answer,
            Ok(Err(error)) => log::error!("could not answer {:?}: {error}", request.path),
            // The panic has told itself.
            Err(_) => {}
        }
        http::refusal(Code::InternalError, request.head_only)
    }

    fn make(&self, request: &Request) -> Result<Vec<u8>, Box<dyn Error>> {
        let head_only = request.head_only;
        let ok = |kind, body: &str| http::answer(Code::Ok, kind, body, head_only);
        Ok(match &*request.path {
            "/metrics" => ok(metrics::KIND, &metrics::text(&self.registry)?),
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
