use http::StatusCode;
use http::header;
use keysteward_local::Bundle;
use keysteward_local::browser::{Browser, Page};
use keysteward_local::dev::{DevOptions, start};
use tempfile::TempDir;

struct Dev {
    bundle: Bundle,
    browser: Browser,
    folder: TempDir,
}

impl Dev {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bundle = start(options(&folder, false)).await.unwrap();
        Self { bundle, browser: Browser::new(), folder }
    }

    async fn page(&mut self) -> String {
        let page = self.browser.get(&format!("{}/", self.bundle.url())).await.unwrap();
        assert_eq!(page.status, StatusCode::OK);
        page.body
    }

    /// Installs the app and answers the page that a person then sees.
    async fn install(&mut self, form: &str, account: &str) -> Page {
        let start = format!("{}/install?mode=test&form={form}", self.bundle.url());
        let away = self.browser.get(&start).await.unwrap();
        let marketplace = self.browser.follow(&away).await.unwrap();
        let choice = [("account", account), ("decision", "install")];
        let back = self.browser.submit(marketplace.url.as_str(), &choice).await.unwrap();
        let done = self.browser.follow(&back).await.unwrap();
        self.browser.follow(&done).await.unwrap()
    }

    fn action(&self, name: &str) -> String {
        format!("{}/actions/{name}", self.bundle.url())
    }
}

fn options(folder: &TempDir, keep: bool) -> DevOptions {
    DevOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        stripe_port: 0,
        folder: folder.path().join("state"),
        keep,
    }
}

const BAKERY: &str = "acct_1FakeBakery";

#[tokio::test(flavor = "multi_thread")]
async fn the_page_leads_through_the_flow() {
    let mut dev = Dev::start().await;
    assert!(dev.page().await.contains("install the app on an account"));

    let page = dev.install("oauth", BAKERY).await;
    assert!(page.body.contains("The app is installed.") && page.body.contains("then rotate it"));
    assert!(page.body.contains("✓ verified"));
    let key = format!("{}/v1/accounts/{BAKERY}/keys/default?mode=test", dev.bundle.url());
    let token =
        dev.browser.get(&key).await.unwrap().json().unwrap()["token"].as_str().unwrap().to_owned();
    assert!(!page.body.contains(&token) && page.body.contains(&token[token.len() - 4..]));

    let mut page = page;
    for _ in 0..50 {
        let done = dev.browser.submit(&dev.action("rotate"), &[("account", BAKERY)]).await.unwrap();
        assert_eq!(done.status, StatusCode::SEE_OTHER);
        page = dev.browser.follow(&done).await.unwrap();
        if page.body.contains("The key is rotated.") {
            break;
        }
        // The events of the installation are being applied.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(page.body.contains("Let that day pass"), "two keys overlap");

    let done = dev.browser.submit(&dev.action("jump"), &[("by", "day")]).await.unwrap();
    let page = dev.browser.follow(&done).await.unwrap();
    assert!(page.body.contains("Time has passed") && page.body.contains("1 d 0 h ahead"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_page_is_refused_and_does_nothing() {
    let mut dev = Dev::start().await;
    let url = dev.action("jump");
    for origin in ["http://evil.example", "null", &dev.bundle.stripe().url()] {
        let refused = dev.browser.submit_from(origin, &url, &[("by", "month")]).await.unwrap();
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{origin}");
    }
    let own = dev.bundle.url().to_owned();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let without = dev.browser.post(&url, &form, b"by=month").await.unwrap();
    assert_eq!(without.status, StatusCode::FORBIDDEN, "one that does not say where it comes from");
    let sent = [form[0], ("origin", own.as_str()), ("sec-fetch-site", "cross-site")];
    let cross = dev.browser.post(&url, &sent, b"by=month").await.unwrap();
    assert_eq!(cross.status, StatusCode::FORBIDDEN);
    let read = dev.browser.get(&url).await.unwrap();
    assert_eq!(read.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(dev.bundle.clock().ahead().is_zero(), "no time has passed");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_name_for_this_machine_gets_nothing() {
    let mut dev = Dev::start().await;
    let url = format!("{}/", dev.bundle.url());
    let key = format!("{url}v1/accounts/{BAKERY}/keys/default?mode=test");
    for url in [&url, &key] {
        let refused = dev.browser.get_with(url, &[("host", "rebound.example")]).await.unwrap();
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
    }
    let port = dev.bundle.url().rsplit(':').next().unwrap().to_owned();
    let other =
        dev.browser.get_with(&url, &[("host", &format!("localhost:{port}"))]).await.unwrap();
    assert_eq!(Browser::redirect_of(&other).unwrap(), url, "cookies belong to one name");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_lets_nothing_in() {
    let mut dev = Dev::start().await;
    let url = format!("{}/?done=%3Cscript%3Ealert(1)%3C/script%3E", dev.bundle.url());
    let page = dev.browser.get(&url).await.unwrap();
    assert!(!page.body.contains("alert(1)") && !page.body.contains("role=\"status\""));
    let policy = page.header(&header::CONTENT_SECURITY_POLICY).unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
    for (path, status) in [("page.css", 200), ("page.js", 200), ("health", 200), ("nothing", 404)] {
        let answer = dev.browser.get(&format!("{}/{path}", dev.bundle.url())).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{path}");
    }
    let live = dev.browser.get(&format!("{}/install?mode=live", dev.bundle.url())).await.unwrap();
    assert_eq!(live.status, StatusCode::BAD_REQUEST, "there is no live mode here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_begins_anew_unless_the_table_is_kept() {
    let mut dev = Dev::start().await;
    dev.install("link", BAKERY).await;
    let Dev { bundle, folder, .. } = dev;
    bundle.pass(std::time::Duration::from_secs(3600));
    let at = bundle.accounts()[0].clone();
    drop(bundle);

    let kept = start(options(&folder, true)).await.unwrap();
    assert!(kept.store().load(&at).await.unwrap().is_some());
    assert!(kept.clock().ahead().as_secs() >= 3600, "what is stored does not lie in the future");
    drop(kept);

    let fresh = start(options(&folder, false)).await.unwrap();
    assert!(fresh.store().load(&at).await.unwrap().is_none());
    assert!(fresh.clock().ahead().is_zero());
}
