//! `fake-stripe [--port 12111] [--webhook URL]`: the double with a demo account, until it is stopped.

use std::io::{self, Write as _};
use std::process::ExitCode;

use fake_stripe::{AccountSpec, Destination, FakeStripe, Options, Payload};

const USAGE: &str = "usage: fake-stripe [--port PORT] [--webhook http://127.0.0.1:PORT/PATH]";
const DEMO_ACCOUNT: &str = "acct_1FakeDemo";
const WEBHOOK_SECRET: &str = "whsec_fake_stripe";

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            let _ = writeln!(io::stderr(), "fake-stripe: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(serve(options)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "fake-stripe: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { port: 12111, ..Options::default() };
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--port" => options.port = value.parse().map_err(|_| format!("no port: {value}"))?,
            "--webhook" => {
                for payload in [Payload::Thin, Payload::Snapshot] {
                    options.destinations.push(Destination {
                        url: value.clone(),
                        signing_secrets: vec![WEBHOOK_SECRET.to_owned()],
                        payload,
                    });
                }
            }
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(options)
}

async fn serve(options: Options) -> io::Result<()> {
    let fake = FakeStripe::start(options).await?;
    fake.add_account(DEMO_ACCOUNT, AccountSpec::default());
    fake.install(DEMO_ACCOUNT, true);
    fake.install(DEMO_ACCOUNT, false);
    writeln!(io::stdout(), "{}", fake.url())?;
    io::stdout().flush()?;
    // Until the process is stopped.
    std::future::pending().await
}
