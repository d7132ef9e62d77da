//! What the scheduler is to others beside redirects: a name server and an adviser of autoscalers.

use std::net::SocketAddr;
use std::sync::Arc;

use cluster::config::Common;
use prometheus_client::registry::Registry as Metrics;
use transport::clock::Clock;
use transport::drain::Drain;
use transport::router::Router;

use crate::config::Config;
use crate::dns::directory::Directory;
use crate::dns::service::Server;
use crate::forecast::Forecasts;
use crate::redirect::Redirector;
use crate::scale::service::{self as scale, Scaling};

/// Both of them.
pub(super) struct Faces {
    scaling: Arc<Scaling>,
    dns: Option<Server>,
}

impl Faces {
    /// Binds the name server when there is a zone.
    pub(super) async fn load(
        config: &Config,
        redirector: &Redirector,
        (forecasts, common): (&Forecasts, &Common),
        metrics: &mut Metrics,
    ) -> anyhow::Result<Self> {
        let Redirector { snapshot, geo, .. } = redirector;
        let clock = Clock::system();
        let sources = scale::Sources {
            snapshot: snapshot.clone(),
            outlook: forecasts.outlook(),
            geo: geo.clone(),
            scale: common.time.scale(),
            clock: clock.clone(),
        };
        let scaling = Scaling::load(config.scale.clone(), sources, metrics)?;
        let dns = match &config.dns {
            Some(config) => {
                // A later start has a higher serial, as a changed zone must (RFC 1982).
                let serial = (clock.unix_ms() / 1000) as u32;
                let edges = Directory::new(snapshot.clone(), geo.clone(), clock, &config.zone);
                Some(Server::load(config, edges, serial, metrics).await?)
            }
            None => None,
        };
        Ok(Self { scaling, dns })
    }

    /// Where the name server listens.
    pub(super) fn dns_addr(&self) -> std::io::Result<Option<SocketAddr>> {
        self.dns.as_ref().map(Server::local_addr).transpose()
    }

    /// What the admin API tells of them.
    pub(super) fn router(&self) -> Router {
        scale::router(self.scaling.clone())
    }

    /// Runs both until the drain stops.
    pub(super) fn run(self, drain: &Drain) {
        drain.background(self.scaling.run());
        if let Some(dns) = self.dns {
            dns.run(drain);
        }
    }
}
