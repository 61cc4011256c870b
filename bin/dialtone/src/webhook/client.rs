use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use dialtone_batch::{Delivery, WebhookClient, is_forbidden};
use dialtone_contract::limits;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;

/// Posts to webhooks, over http and https. No redirects, no proxies; an address is looked
/// at after it has been resolved, and the one that was looked at is connected to.
pub struct Client(reqwest::Client);

impl Client {
    /// A client with connections of its own.
    ///
    /// # Errors
    /// If the TLS of this machine cannot be used.
    pub fn new() -> anyhow::Result<Self> {
        // The provider that the LiveKit client uses; whoever installed one before is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .timeout(limits::WEBHOOK_TIMEOUT)
            .dns_resolver(Arc::new(Checked))
            .user_agent(concat!("dialtone/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self(client))
    }
}

/// Resolves names, and forgets addresses that no webhook may reach.
struct Checked;

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|at| !is_forbidden(at.ip())).collect();
            if allowed.is_empty() {
                return Err("the name leads to no address that a webhook may reach".into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// An address is not resolved, however it is spelled.
fn is_forbidden_host(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    plain.parse::<IpAddr>().is_ok_and(is_forbidden)
}

#[async_trait]
impl WebhookClient for Client {
    async fn post(&self, delivery: &Delivery) -> Result<(), String> {
        let url = reqwest::Url::parse(&delivery.url).map_err(|error| error.to_string())?;
        if is_forbidden_host(&url) {
            return Err("the address is one that no webhook may reach".to_owned());
        }
        let request = self
            .0
            .post(url)
            .header("content-type", "application/json")
            .header("idempotency-key", &delivery.idempotency_key)
            .header("x-dialtone-signature", &delivery.signature)
            .body(delivery.body.clone());
        let mut answer = request.send().await.map_err(|error| chain(&error.without_url()))?;
        let status = answer.status();
        // Read, so that the connection can be used again; what it says is not needed.
        let mut read = 0;
        while let Ok(Some(chunk)) = answer.chunk().await {
            read += chunk.len();
            if read > limits::WEBHOOK_ANSWER_MAX {
                break;
            }
        }
        if status.is_success() { Ok(()) } else { Err(format!("it answered {}", status.as_u16())) }
    }
}

/// An error with its causes.
fn chain(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    std::iter::once(error.to_string()).chain(causes).collect::<Vec<_>>().join(": ")
}
