//! A litep2p over TCP, Noise and yamux, and what it takes part in.

use std::time::Duration;

use anyhow::{ensure, Result};
use futures::stream::{pending, BoxStream, StreamExt};
use litep2p::{
    config::ConfigBuilder,
    protocol::libp2p::{
        identify::{self, IdentifyEvent},
        ping::{self, PingEvent},
    },
    transport::tcp,
    types::multiaddr::Multiaddr,
    yamux, Litep2p,
};
use tokio::sync::mpsc;

use crate::{
    envelope::Keypair,
    streams::{self, Inbound, Opener},
};

/// Whoever connected decides when to leave.
const KEEP_ALIVE: Duration = Duration::from_secs(3600);

/// With its header it just fits one message of Noise.
const FRAME: usize = 65_500;

/// Of a connection.
const MAX_STREAMS: usize = 2048;

pub struct Node {
    pub key: Keypair,
    pub litep2p: Litep2p,
    pub opener: Opener,
    pub inbound: mpsc::UnboundedReceiver<Inbound>,
    pub identities: BoxStream<'static, IdentifyEvent>,
    pub pings: BoxStream<'static, PingEvent>,
}

impl Node {
    /// With ping as litep2p has it, or without.
    pub fn new(listen: Vec<Multiaddr>, protocols: &[&'static str], ping: bool) -> Result<Self> {
        let key = Keypair::generate();
        let (identify, identities) = identify::Config::new("ipfs/0.1.0".into(), None);
        let (opener, inbound, protocols) = streams::protocols(protocols);
        let mut yamux = yamux::Config::default();
        yamux.set_split_send_size(FRAME).set_max_num_streams(MAX_STREAMS);
        let mut config = ConfigBuilder::new()
            .with_keypair(key.clone())
            .with_tcp(tcp::config::Config {
                listen_addresses: listen,
                reuse_port: false,
                nodelay: true,
                yamux_config: yamux,
                ..Default::default()
            })
            .with_keep_alive_timeout(KEEP_ALIVE)
            .with_libp2p_identify(identify);
        let mut pings = pending().boxed();
        if ping {
            let (ping, events) = ping::Config::default();
            config = config.with_libp2p_ping(ping);
            pings = events.boxed();
        }
        for protocol in protocols {
            config = config.with_user_protocol(Box::new(protocol));
        }
        let litep2p = Litep2p::new(config.build())?;
        Ok(Self { key, litep2p, opener, inbound, identities: identities.boxed(), pings })
    }
}

pub fn check_muxers(list: &str) -> Result<()> {
    ensure!(list == "yamux", "litep2p has no muxer but yamux");
    Ok(())
}
