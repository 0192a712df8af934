//! What carries a request to Stripe: the network, or a double within this process.

use reqwest::{Client, Method, RequestBuilder, Response, Url};

use crate::http::InProcess;

/// The way to Stripe.
pub(super) struct Transport {
    network: Client,
    double: Option<InProcess>,
}

/// Why no whole answer came.
pub(super) enum Failed {
    /// The network's reason.
    Network(reqwest::Error),
    /// The double hung up.
    HungUp,
}

impl Transport {
    pub(super) fn new(network: Client) -> Self {
        Self { network, double: None }
    }

    /// Sends everything to a double from now on, without a socket.
    pub(super) fn within(&mut self, double: InProcess) {
        self.double = Some(double);
    }

    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.network.request(method, url)
    }

    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, Failed> {
        let Some(double) = &self.double else {
            return request.send().await.map_err(Failed::Network);
        };
        let request = request.build().and_then(http::Request::<reqwest::Body>::try_from);
        // No body of this client is a stream.
        let request = request
            .map_err(Failed::Network)?
            .map(|body| body.as_bytes().unwrap_or_default().to_vec());
        double(request).await.map(Response::from).ok_or(Failed::HungUp)
    }
}
