//! The link that starts an installation, as the Dashboard gives it.

use url::Url;

/// Where a person is sent to install the app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallLink(Url);

/// The text is not a link that could start an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an absolute https link (http on this machine alone)")]
pub struct InvalidLink;

impl InstallLink {
    /// Takes the link whole, channel segment and parameters included.
    pub fn parse(text: &str) -> Result<Self, InvalidLink> {
        Ok(Self(web_address(text)?))
    }

    /// The link with our `state`, and with `redirect_uri` where it has none of its own.
    pub fn with(&self, state: &str, redirect_uri: &str) -> String {
        let mut link = self.0.clone();
        let kept: Vec<(String, String)> = link
            .query_pairs()
            .filter(|(name, _)| name != "state")
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        let has_redirect = kept.iter().any(|(name, _)| name == "redirect_uri");
        let mut query = link.query_pairs_mut();
        query.clear().extend_pairs(&kept);
        if !has_redirect {
            query.append_pair("redirect_uri", redirect_uri);
        }
        query.append_pair("state", state);
        drop(query);
        link.into()
    }
}

/// An absolute https address; http only where it never leaves this machine.
pub fn web_address(text: &str) -> Result<Url, InvalidLink> {
    let url = Url::parse(text).map_err(|_| InvalidLink)?;
    let is_loopback = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    match url.scheme() {
        "https" if url.host().is_some() => Ok(url),
        "http" if is_loopback => Ok(url),
        _ => Err(InvalidLink),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_keeps_what_the_dashboard_put_in_it() {
        let redirect = "https://keys.example/install/callback";
        for (link, expected) in [
            (
                "https://marketplace.stripe.com/oauth/v2/chnlink_61/authorize?client_id=ca_1",
                "https://marketplace.stripe.com/oauth/v2/chnlink_61/authorize?client_id=ca_1&redirect_uri=https%3A%2F%2Fkeys.example%2Finstall%2Fcallback&state=s",
            ),
            (
                "https://marketplace.stripe.com/apps/install/link/x?redirect_uri=https%3A%2F%2Fa%2Fb&state=old",
                "https://marketplace.stripe.com/apps/install/link/x?redirect_uri=https%3A%2F%2Fa%2Fb&state=s",
            ),
        ] {
            assert_eq!(InstallLink::parse(link).unwrap().with("s", redirect), expected);
        }
    }

    #[test]
    fn a_link_that_leaves_https_is_refused() {
        for link in ["", "marketplace", "http://example.com/x", "javascript:alert(1)", "ftp://a/b"]
        {
            assert_eq!(InstallLink::parse(link), Err(InvalidLink), "{link}");
        }
        assert!(InstallLink::parse("http://127.0.0.1:1/apps/install/link/x").is_ok());
    }
}
