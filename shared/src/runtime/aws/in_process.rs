//! Calls of AWS clients answered within this process: the SDK's HTTP client, without HTTP.

use std::fmt;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;

use crate::http::InProcess;

/// A connector whose every request goes to `emulator`.
pub(super) fn connector(emulator: InProcess) -> SharedHttpConnector {
    SharedHttpConnector::new(Connector(emulator))
}

struct Connector(InProcess);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let emulator = self.0.clone();
        HttpConnectorFuture::new(async move {
            let user = |cause| ConnectorError::user(Box::new(cause));
            let request = request.try_into_http1x().map_err(user)?;
            let request = request.map(|body| body.bytes().unwrap_or_default().to_vec());
            let Some(reply) = emulator(request).await else {
                return Err(ConnectorError::io("the emulator hung up".into()));
            };
            HttpResponse::try_from(reply.map(SdkBody::from)).map_err(user)
        })
    }
}
