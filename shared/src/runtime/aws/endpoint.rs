//! Where the services are.

use aws_sdk_dynamodb::config::Region;

use super::Aws;

/// A service that is called, or to which a connection is opened before it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// The table.
    DynamoDb,
    /// The key that wraps private keys.
    Kms,
    /// The two secrets of the bundle.
    SecretsManager,
}

impl Service {
    /// As it stands in host names, and in the scope of a signature.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::DynamoDb => "dynamodb",
            Self::Kms => "kms",
            Self::SecretsManager => "secretsmanager",
        }
    }
}

impl Aws {
    /// Where a service is, as the SDK would find it.
    pub(super) fn address(&self, service: Service) -> String {
        let own = match service {
            Service::DynamoDb => &self.dynamodb,
            Service::Kms => &self.kms,
            Service::SecretsManager => &self.secrets_manager,
        };
        if let Some(endpoint) = own.as_deref().or(self.shared.endpoint_url()) {
            return endpoint.to_owned();
        }
        let region = self.shared.region().map_or("", Region::as_ref);
        let other = SUFFIXES.iter().find(|(prefix, _)| region.starts_with(prefix));
        let suffix = other.map_or("amazonaws.com", |(_, suffix)| suffix);
        format!("https://{}.{region}.{suffix}", service.name())
    }
}

/// How host names end in the partitions that are not the public one, by how their regions begin.
const SUFFIXES: [(&str, &str); 6] = [
    ("cn-", "amazonaws.com.cn"),
    ("eusc-", "amazonaws.eu"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("us-isof-", "csp.hci.ic.gov"),
];

#[cfg(test)]
mod tests {
    use super::super::settings::tests::settings;
    use super::*;

    #[tokio::test]
    async fn a_service_is_where_its_sdk_finds_it_in_every_partition() {
        for region in [
            "eu-central-1",
            "us-gov-west-1",
            "cn-north-1",
            "eusc-de-east-1",
            "us-iso-east-1",
            "us-isob-east-1",
            "eu-isoe-west-1",
            "us-isof-south-1",
        ] {
            let aws = Aws::from_settings(settings(&[("AWS_REGION", region)])).unwrap();
            macro_rules! found {
                ($sdk:ident) => {{
                    use $sdk::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
                    let params = Params::builder().region(region.to_owned()).build().unwrap();
                    let found = DefaultResolver::new().resolve_endpoint(&params).await.unwrap();
                    found.url().to_owned()
                }};
            }
            assert_eq!(aws.address(Service::DynamoDb), found!(aws_sdk_dynamodb));
            assert_eq!(aws.address(Service::Kms), found!(aws_sdk_kms));
            assert_eq!(aws.address(Service::SecretsManager), found!(aws_sdk_secretsmanager));
        }
        let own = settings(&[
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
            ("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:2/"),
        ]);
        let aws = Aws::from_settings(own).unwrap();
        assert_eq!(aws.address(Service::DynamoDb), "http://127.0.0.1:1");
        assert_eq!(aws.address(Service::Kms), "http://127.0.0.1:2/");
    }
}
