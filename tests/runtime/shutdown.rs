//! Lambda ends a sandbox without asking: SIGTERM where there are extensions, SIGKILL where there are none.
//! There is nothing to flush, so no function handles the signal: it ends at once, and what it left half done
//! is found by the sweep.

use std::os::unix::process::ExitStatusExt as _;

use keysteward_tests::{Deployment, Name, events};

use crate::{account, key_path};

#[tokio::test]
async fn an_idle_function_ends_when_it_is_told_to() -> anyhow::Result<()> {
    let deployment = Deployment::start().await?;
    for name in Name::ALL {
        let mut function = deployment.function(name).await?;
        function.terminate()?;
        let status = function.ended().await?;
        assert!(status.success() || status.signal() == Some(15), "{name:?} ended with {status}");
        assert_eq!(function.stderr()?, "", "{name:?} has nothing to say about it");
    }
    Ok(())
}

#[tokio::test]
async fn a_function_that_is_ended_in_the_middle_of_a_write_leaves_what_the_sweep_completes()
-> anyhow::Result<()> {
    let deployment = Deployment::start().await?;
    let mut install = deployment.function(Name::Install).await?;
    let at = account("acct_1Ended")?;
    deployment.stripe.add_account("acct_1Ended", fake_stripe::AccountSpec::default());
    let (cookie, callback) = deployment.click_install(&mut install, &at).await?;
    // The account is written; the process ends while the next call to the table is under way.
    let held = deployment.table.hold(1);
    let callback = events::http_install(&callback, Some(&cookie))?;
    let _outcome = install.api.invoke(serde_json::to_vec(&callback)?);
    held.reached().await;
    install.terminate()?;
    let status = install.ended().await?;
    assert!(!status.success(), "it was cut off, and says so: {status}");
    held.let_go();

    // The lease of the process that is gone runs out, by the machine's clock, in two minutes: a retry by
    // the person does not wait for it.
    let mut install = deployment.function(Name::Install).await?;
    let page = deployment.install_app(&mut install, &at).await?;
    assert_eq!(page.status, 200);
    let mut keys = deployment.function(Name::Keys).await?;
    let answer = keys.http(&events::http_key(&key_path(&at))?).await?;
    assert!([200, 409].contains(&answer.status), "known, and with a key once the sweep was there");
    Ok(())
}

#[tokio::test]
async fn a_function_whose_runtime_is_gone_ends_by_itself() -> anyhow::Result<()> {
    let deployment = Deployment::start().await?;
    let environment = deployment.environment_with("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1");
    for name in Name::ALL {
        let mut function = deployment.begin(name, &environment).await?;
        let status = function.ended().await?;
        assert!(!status.success(), "{name:?} ended with {status}");
    }
    Ok(())
}
