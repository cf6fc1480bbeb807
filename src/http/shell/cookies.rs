//! Who asks, where a cookie says it.

use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use super::Shell;
use super::head::About;
use super::routes::Policy;
use crate::actors::auth::{Caller, Right};
use crate::http::cookies::{access, proves};
use crate::http::error::Refusal;

impl Shell {
    /// Takes the caller from the access cookie. A change needs proof that a page of ours asks for it. A cookie comes
    /// along unasked, so on what is open to everybody one that is not good, or any with a change, says nothing.
    pub(super) fn identify_by_cookie(&self, about: &mut About, parts: &Parts, policy: &Policy) -> Result<(), Refusal> {
        let reads = matches!(parts.method, Method::GET | Method::HEAD);
        let open = policy.right == Right::Look;
        let Some(token) = access(&self.app, &parts.headers).map(str::as_bytes) else { return Ok(()) };
        if open && (!reads || (self.routes.identify)(&self.app, token, self.app.clock.now()).is_err()) {
            return Ok(());
        }
        self.identify(about, token, policy.limited)?;
        match about.caller {
            Some(Caller::Person(it)) if reads || proves(&self.app, &parts.headers, it.session) => Ok(()),
            _ => {
                let why = "a change by cookie needs the X-CSRF-Token of the sign-in, from a page of this site";
                Err(Refusal::new(StatusCode::FORBIDDEN, "csrf", why))
            }
        }
    }
}
