//! The least that an HTTP function can be: the yardstick of `tests/bench`. No logging, no client, no clock.

use std::convert::Infallible;

use lambda_http::{Error, Request, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_http::run(service_fn(|_: Request| async { Ok::<_, Infallible>("hello, world") })).await
}
