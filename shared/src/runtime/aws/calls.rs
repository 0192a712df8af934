//! Calls of an AWS service by the operations of its SDK, without the SDK's client.
//!
//! A client parses AWS's list of regions and compiles a pattern for each of its partitions when it is made, though
//! its endpoint is known: time that a cold start does not have. An operation brings its own wire form, its errors
//! and what it thinks worth repeating; here is what a client puts around it: endpoint, credentials, signature,
//! time limits, repeats.

use std::error::Error;
use std::fmt;

use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_smithy_runtime::client::defaults::{DefaultPluginParams, default_plugins};
use aws_smithy_runtime::client::http::connection_poisoning::ConnectionPoisoningInterceptor;
use aws_smithy_runtime::client::orchestrator::endpoints::StaticUriEndpointResolver;
use aws_smithy_runtime::client::orchestrator::invoke;
use aws_smithy_runtime::client::retries::classifiers::HttpStatusCodeClassifier;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextMut, Input,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::{CreateUnhandledError, SdkError};
use aws_smithy_runtime_api::client::runtime_components::{
    RuntimeComponents, RuntimeComponentsBuilder,
};
use aws_smithy_runtime_api::client::runtime_plugin::{
    RuntimePlugin, RuntimePlugins, StaticRuntimePlugin,
};
use aws_smithy_types::config_bag::{ConfigBag, Layer};
use aws_types::SigningName;
use aws_types::region::SigningRegion;

use super::{Aws, Service};

/// The way to call one service. Cheap to clone; clones share connections and what may be repeated.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    service: Service,
    plugins: RuntimePlugins,
}

impl Calls {
    pub(super) fn new(aws: &Aws, service: Service) -> Self {
        let mut settings = Layer::new("keysteward");
        settings.store_put(SigningName::from_static(service.name()));
        if let Some(region) = aws.shared.region() {
            settings.store_put(region.clone());
            settings.store_put(SigningRegion::from(region.clone()));
        }
        if let Some(repeats) = aws.shared.retry_config() {
            settings.store_put(repeats.clone());
        }
        if let Some(limits) = aws.shared.timeout_config() {
            settings.store_put(limits.clone());
        }
        let mut parts = RuntimeComponentsBuilder::new("keysteward")
            .with_http_client(aws.shared.http_client())
            .with_endpoint_resolver(Some(StaticUriEndpointResolver::uri(aws.address(service))))
            .with_auth_scheme_option_resolver(Some(StaticAuthSchemeOptionResolver::new(vec![
                SCHEME_ID,
            ])))
            .with_auth_scheme(SigV4AuthScheme::new())
            .with_retry_classifier(HttpStatusCodeClassifier::default())
            .with_interceptor(ConnectionPoisoningInterceptor::new())
            .with_interceptor(Named);
        if let Some(credentials) = aws.shared.credentials_provider() {
            parts.set_identity_resolver(SCHEME_ID, credentials);
        }
        let region = aws.shared.region().map_or("", AsRef::as_ref);
        let mut defaults = DefaultPluginParams::new()
            .with_retry_partition_name(format!("{}-{region}", service.name()))
            .with_is_aws_sdk(true);
        if let Some(version) = aws.shared.behavior_version() {
            defaults = defaults.with_behavior_version(version);
        }
        let own = StaticRuntimePlugin::new()
            .with_config(settings.freeze())
            .with_runtime_components(parts);
        let plugins = RuntimePlugins::new()
            .with_client_plugins(default_plugins(defaults))
            .with_client_plugin(own);
        Self { service, plugins }
    }

    /// Makes one call. `I`, `O` and `E` have to be those of `operation`: another pair is an error, not a panic.
    pub(crate) async fn call<I, O, E>(
        &self,
        operation: impl RuntimePlugin + fmt::Debug + 'static,
        input: I,
    ) -> Result<O, SdkError<E, HttpResponse>>
    where
        I: fmt::Debug + Send + Sync + 'static,
        O: fmt::Debug + Send + Sync + 'static,
        E: Error + CreateUnhandledError + Send + Sync + 'static,
    {
        let plugins = self.plugins.clone().with_operation_plugin(operation);
        let answer = invoke(self.service.name(), "call", Input::erase(input), &plugins).await;
        let answer = answer.map_err(|failed| {
            failed.map_service_error(|error| {
                error
                    .downcast()
                    .unwrap_or_else(|other| E::create_unhandled_error(Box::new(other), None))
            })
        })?;
        answer
            .downcast()
            .map_err(|_| SdkError::construction_failure("the answer is another call's"))
    }
}

/// Who calls, for CloudTrail. The SDK's own interceptor renders some hundred bytes of it for each call.
#[derive(Debug)]
struct Named;

impl Intercept for Named {
    fn name(&self) -> &'static str {
        "Named"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let headers = context.request_mut().headers_mut();
        headers.insert("user-agent", concat!("keysteward/", env!("CARGO_PKG_VERSION")));
        Ok(())
    }
}
