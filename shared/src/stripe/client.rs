//! The client: options that are checked once, and the one way in which a call is made.

use std::error::Error as StdError;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use zeroize::Zeroizing;

use super::answer::{self, Answer};
use super::error::{Error, Misconfigured, Refusal};
use super::pace::{Endpoint, Measures, Pace, Turn};
use super::retry::{self, Decision, Effect, Outcome, Rest};
use super::transport::{Failed, Transport};
use super::{time_left, tls};
use crate::domain::id::{AccountId, EventId};
use crate::domain::secret::SecretToken;
use crate::domain::slot::{Kind, Mode};
use crate::http::InProcess;

/// How to reach Stripe, and as whom.
#[expect(missing_debug_implementations, reason = "it holds the app's keys")]
pub struct Options {
    /// `https://api.stripe.com`, or `http:` on this machine for the local bundle and tests. A host alone.
    pub api_base: String,
    /// `Stripe-Version` of every v2 call but those that an intent was recorded for.
    pub stripe_version: String,
    /// The app's own keys.
    pub keys: AppKeys,
    /// Calls a second at most, of this process, both modes together; at least 1. What Stripe refuses is learnt.
    pub max_rps: u32,
    /// For one attempt, from connecting to the last byte.
    pub timeout: Duration,
}

/// The app developer's own keys, one a mode. A mode without one is refused when it is used.
#[derive(Default)]
#[expect(missing_debug_implementations, reason = "it holds the app's keys")]
pub struct AppKeys {
    /// For live accounts.
    pub live: Option<SecretToken>,
    /// For test mode and sandboxes.
    pub test: Option<SecretToken>,
}

/// The client. One a process: it holds the connections and the pace.
#[expect(missing_debug_implementations, reason = "it holds the app's keys")]
pub struct Stripe {
    transport: Transport,
    base: Url,
    pub(super) stripe_version: String,
    keys: AppKeys,
    pace: Pace,
    rest: Rest,
}

/// One call, written out; every attempt sends the same.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) auth: HeaderValue,
    pub(super) stripe_version: Option<&'a str>,
    pub(super) context: Option<&'a AccountId>,
    pub(super) idempotency_key: Option<&'a str>,
    /// The event that made us ask: Stripe shows it in its request log.
    pub(super) trigger: Option<&'a EventId>,
    /// Content type and bytes.
    pub(super) body: Option<(&'static str, &'a [u8])>,
    /// Whether it counts against the app's limits at Stripe.
    pub(super) paced: bool,
}

impl<'a> Call<'a> {
    pub(super) fn get(url: Url, auth: HeaderValue) -> Self {
        Self {
            method: Method::GET,
            url,
            auth,
            stripe_version: None,
            context: None,
            idempotency_key: None,
            trigger: None,
            body: None,
            paced: true,
        }
    }

    pub(super) fn post(
        url: Url,
        auth: HeaderValue,
        content_type: &'static str,
        body: &'a [u8],
    ) -> Self {
        Self { method: Method::POST, body: Some((content_type, body)), ..Self::get(url, auth) }
    }

    fn effect(&self) -> Effect {
        if self.method == Method::GET {
            Effect::Read
        } else if self.idempotency_key.is_some() {
            Effect::Keyed
        } else {
            Effect::Once
        }
    }
}

impl Stripe {
    /// Checks the options and builds the client; makes no connection.
    ///
    /// # Errors
    ///
    /// [`Error::Misconfigured`], by name.
    pub fn new(options: Options) -> Result<Self, Error> {
        Self::build(options).map_err(Error::Misconfigured)
    }

    fn build(options: Options) -> Result<Self, Misconfigured> {
        let base = parse_base(&options.api_base)?;
        check_key(options.keys.live.as_ref(), Mode::Live)?;
        check_key(options.keys.test.as_ref(), Mode::Test)?;
        if options.max_rps == 0 {
            return Err(Misconfigured::Rate);
        }
        Ok(Self {
            transport: Transport::new(tls::http_client(options.timeout)?),
            base,
            stripe_version: options.stripe_version,
            keys: options.keys,
            pace: Pace::new(options.max_rps),
            rest: Rest::STRIPE,
        })
    }

    /// Speaks to a double within this process, rests for nobody between attempts and waits for no turn: a
    /// double's time is not the computer's, and what waited for the computer's would not run the same twice.
    pub fn within(mut self, double: InProcess) -> Self {
        self.transport.within(double);
        self.rest.first = Duration::ZERO;
        self.pace.wait_for_nobody();
        self
    }

    /// Rests only briefly between attempts.
    #[cfg(test)]
    pub(super) fn impatient(mut self) -> Self {
        self.rest.first = Duration::from_millis(1);
        self
    }

    /// Whether there is an app key of this mode.
    pub fn serves(&self, mode: Mode) -> bool {
        self.app_key(mode).is_ok()
    }

    /// The app's key of this mode.
    pub(super) fn app_key(&self, mode: Mode) -> Result<&SecretToken, Error> {
        let key = match mode {
            Mode::Live => &self.keys.live,
            Mode::Test => &self.keys.test,
        };
        key.as_ref().ok_or(Error::MissingAppKey(mode))
    }

    /// A URL on the configured host. The key goes along with every call, so no path that was stored or
    /// received may lead elsewhere.
    pub(super) fn url(&self, path: &str) -> Result<Url, Error> {
        let url = self.base.join(path).map_err(|_| Error::ForeignPage)?;
        // The scheme as well: the origin of `blob:https://a/b` is that of the address inside.
        let same_host = url.scheme() == self.base.scheme() && url.origin() == self.base.origin();
        let anonymous = url.username().is_empty() && url.password().is_none();
        if same_host && anonymous { Ok(url) } else { Err(Error::ForeignPage) }
    }

    /// What was counted of the calls since this was last asked, and the pace as it is now.
    pub fn take_measures(&self) -> Measures {
        self.pace.take_measures()
    }

    /// Makes a call at the app's pace, again where that is harmless, and reads the answer if it is of the 2xx
    /// kind. No attempt starts that would have no time to end, see [`super::within`].
    pub(super) async fn call(&self, call: &Call<'_>) -> Result<Answer, Error> {
        let effect = call.effect();
        let mut attempt = 1;
        let mut unsettled = false;
        loop {
            let turn = match self.turn(call).await {
                Ok(turn) => turn,
                Err(error) if unsettled => return Err(Error::Unsettled(Box::new(error))),
                Err(error) => return Err(error),
            };
            let (error, outcome) = match self.attempt(call, turn.as_ref()).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            drop(turn);
            let rest = self.rest.after(attempt, retry::draw());
            let stops = retry::decide(attempt, effect, outcome) == Decision::Stop;
            if stops || time_left::is_shorter_than(rest + REPEAT_WAITS) {
                let hides = unsettled && !error.is_ambiguous();
                return Err(if hides { Error::Unsettled(Box::new(error)) } else { error });
            }
            unsettled |= effect != Effect::Read && error.is_ambiguous();
            tracing::debug!(
                attempt,
                class = error.class().as_str(),
                request.id = error.request_id(),
                "a call to stripe is made again"
            );
            if !rest.is_zero() {
                tokio::time::sleep(rest).await;
            }
            attempt += 1;
        }
    }

    /// Waits for the turn of an attempt; probes take none.
    async fn turn(&self, call: &Call<'_>) -> Result<Option<Turn<'_>>, Error> {
        let latest = time_left::latest();
        if !call.paced {
            return if time_left::is_shorter_than(Duration::ZERO) {
                Err(time_left::ran_out())
            } else {
                Ok(None)
            };
        }
        let endpoint = Endpoint::of(call.method == Method::GET, call.url.path());
        let turn = self.pace.turn(endpoint, latest).await;
        turn.map(Some).map_err(|_| time_left::ran_out())
    }

    /// Makes a call once. Of a failure it says for the caller what it is, and for `retry` how it came.
    async fn attempt(
        &self,
        call: &Call<'_>,
        turn: Option<&Turn<'_>>,
    ) -> Result<Answer, (Error, Outcome)> {
        let mut response = self.transport.send(self.request(call)).await.map_err(not_sent)?;
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let body = answer::read_body(&mut response).await.map_err(not_answered)?;
        let request_id = answer::request_id(&headers);
        let should_retry = answer::should_retry(&headers);
        let error = match body {
            Some(body) if status.is_success() => return Ok(Answer::new(request_id, body)),
            None if status.is_success() => Error::Malformed { request_id },
            Some(body) => answer::failure(status.as_u16(), &headers, &body),
            None => answer::failure(status.as_u16(), &headers, b""),
        };
        if let (Some(turn), Some(Refusal::RateLimited(reason))) = (turn, error.refusal()) {
            turn.refused(*reason, answer::retry_after(&headers));
        }
        let code = answer::code(&error);
        Err((error, Outcome::Answered { status: status.as_u16(), code, should_retry }))
    }

    /// Makes a call once, and answers status and headers whatever they are.
    pub(super) async fn head_of(&self, call: &Call<'_>) -> Result<(u16, HeaderMap), Error> {
        let _turn = self.turn(call).await?;
        let sent = self.transport.send(self.request(call)).await;
        let response = sent.map_err(|failed| not_sent(failed).0)?;
        Ok((response.status().as_u16(), response.headers().clone()))
    }

    fn request(&self, call: &Call<'_>) -> reqwest::RequestBuilder {
        let mut request = self
            .transport
            .request(call.method.clone(), call.url.clone())
            .header(AUTHORIZATION, call.auth.clone());
        if let Some(version) = call.stripe_version {
            request = request.header("stripe-version", version);
        }
        if let Some(context) = call.context {
            request = request.header("stripe-context", context.as_str());
        }
        if let Some(key) = call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if let Some(event) = call.trigger {
            request = request.header("stripe-request-trigger", format!("event={event}"));
        }
        if let Some((content_type, body)) = call.body {
            request = request.header(CONTENT_TYPE, content_type).body(body.to_vec());
        }
        request
    }
}

/// `Authorization: Bearer …`, marked so that no `Debug` prints it.
pub(super) fn bearer(token: &SecretToken) -> Result<HeaderValue, Error> {
    authorization(&Zeroizing::new(format!("Bearer {}", token.expose())))
}

/// Marks a text as a header that no `Debug` prints.
pub(super) fn authorization(text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text).map_err(|_| Error::Unsendable)?;
    value.set_sensitive(true);
    Ok(value)
}

fn not_sent(failed: Failed) -> (Error, Outcome) {
    match failed {
        Failed::Network(error) => not_answered(error),
        Failed::HungUp => (Error::Interrupted("the double hung up".into()), Outcome::Interrupted),
    }
}

/// What it means that an attempt brought no whole answer.
fn not_answered(error: reqwest::Error) -> (Error, Outcome) {
    let (is_builder, is_connect, is_timeout) =
        (error.is_builder(), error.is_connect(), error.is_timeout());
    // The URL is part of reqwest's message, and holds whatever was put into it.
    let cause: Box<dyn StdError + Send + Sync> = Box::new(error.without_url());
    if is_builder {
        (Error::Unsendable, UNSENDABLE)
    } else if is_connect {
        // A time-out while connecting is one of these: nothing was sent yet.
        (Error::Connect(cause), Outcome::NotReached)
    } else if is_timeout {
        (Error::Timeout(cause), Outcome::TimedOut)
    } else {
        (Error::Interrupted(cause), Outcome::Interrupted)
    }
}

/// How long a repeat may wait for its turn; with less time left it is the sweep's.
const REPEAT_WAITS: Duration = Duration::from_secs(1);

/// A request that cannot be written is as final as one that was refused.
const UNSENDABLE: Outcome =
    Outcome::Answered { status: 400, code: retry::Code::Other, should_retry: None };

fn parse_base(text: &str) -> Result<Url, Misconfigured> {
    let base = Url::parse(text).map_err(|_| Misconfigured::Base)?;
    let host = base.host().ok_or(Misconfigured::Base)?;
    let host_alone = base.path() == "/"
        && base.query().is_none()
        && base.fragment().is_none()
        && base.username().is_empty()
        && base.password().is_none();
    let local = match host {
        url::Host::Domain(name) => name == "localhost",
        url::Host::Ipv4(address) => address.is_loopback(),
        url::Host::Ipv6(address) => address.is_loopback(),
    };
    match base.scheme() {
        _ if !host_alone => Err(Misconfigured::Base),
        "https" => Ok(base),
        "http" if local => Ok(base),
        "http" => Err(Misconfigured::InsecureBase),
        _ => Err(Misconfigured::Base),
    }
}

/// Refuses what is plainly not the key of this mode, and every key that cannot stand in a header. Keys whose
/// prefix says nothing, an organisation's for one, are left to Stripe.
fn check_key(key: Option<&SecretToken>, mode: Mode) -> Result<(), Misconfigured> {
    let Some(key) = key else { return Ok(()) };
    let sendable = !key.expose().is_empty() && bearer(key).is_ok();
    let wrong = key.claims().is_some_and(|claims| claims != (Kind::Secret, mode));
    if sendable && !wrong { Ok(()) } else { Err(Misconfigured::AppKey(mode)) }
}

#[cfg(test)]
mod tests;
