//! A swarm over TCP and Noise with a chosen list of muxers, and what it takes part in.

use std::{
    future::Future,
    io,
    pin::Pin,
    str::FromStr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{bail, Result};
use libp2p::{
    core::{
        muxing::StreamMuxerBox,
        upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo, Version},
    },
    futures::{AsyncRead, AsyncWrite},
    identify,
    identity::Keypair,
    mdns, noise, ping,
    swarm::{behaviour::toggle::Toggle, NetworkBehaviour},
    tcp, yamux, Swarm, SwarmBuilder, Transport,
};
use tokio::sync::mpsc;

use crate::streams;

/// Of a connection.
const MAX_STREAMS: usize = 2048;
const BULK_WINDOW: u32 = 16 << 20;
/// With its header it just fits one message of Noise.
const BULK_FRAME: usize = 65_500;

#[derive(NetworkBehaviour)]
pub struct Behaviour {
    identify: identify::Behaviour,
    ping: Toggle<ping::Behaviour>,
    mdns: Toggle<mdns::tokio::Behaviour>,
    streams: streams::Behaviour,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Mdns {
    Off,
    Ipv4,
    Ipv6,
}

pub struct Config {
    pub muxers: Vec<Muxer>,
    pub mdns: Mdns,
    pub serves: Vec<&'static str>,
    /// Without one there is no ping at all, neither asked nor answered.
    pub ping_interval: Option<Duration>,
    /// Streams are used before the peer has agreed on their protocol.
    pub lazy: bool,
    /// Muxers for many bytes at once; everything else is a little slower with them.
    pub bulk: bool,
}

pub struct Node {
    pub key: Keypair,
    pub swarm: Swarm<Behaviour>,
    pub opener: streams::Opener,
    pub inbound: mpsc::UnboundedReceiver<streams::Inbound>,
    /// The muxer of the first connection.
    pub muxer: Arc<OnceLock<Muxer>>,
}

impl Node {
    pub fn new(config: Config) -> Result<Self> {
        let key = Keypair::generate_ed25519();
        let muxer = Arc::new(OnceLock::new());
        let muxers = Muxers { offered: config.muxers, agreed: muxer.clone(), bulk: config.bulk };
        let mdns = match config.mdns {
            Mdns::Off => None,
            family => {
                let options = mdns::Config { enable_ipv6: family == Mdns::Ipv6, ..Default::default() };
                Some(mdns::tokio::Behaviour::new(options, key.public().to_peer_id())?)
            }
        };
        let (streams, opener, inbound) = streams::Behaviour::new(config.serves);
        let behaviour = Behaviour {
            // Without a signed peer record: rust-libp2p still signs it for the old domain, which makes js-libp2p give up
            // the whole of identify.
            identify: identify::Behaviour::new(identify::Config::new("ipfs/0.1.0".into(), key.public())),
            ping: config
                .ping_interval
                .map(|interval| ping::Behaviour::new(ping::Config::new().with_interval(interval)))
                .into(),
            mdns: mdns.into(),
            streams,
        };
        let swarm = SwarmBuilder::with_existing_identity(key.clone())
            .with_tokio()
            .with_other_transport(|key| {
                // The builder's own TCP step takes no list of muxers that is known only now, and doesn't tell which one
                // was agreed on. Lazy negotiation is what it would use.
                Ok(tcp::tokio::Transport::new(tcp::Config::default())
                    .upgrade(Version::V1Lazy)
                    .authenticate(noise::Config::new(key)?)
                    .multiplex(muxers))
            })?
            .with_behaviour(|_| behaviour)?
            .with_swarm_config(|swarm| {
                let swarm =
                    if config.lazy { swarm.with_substream_upgrade_protocol_override(Version::V1Lazy) } else { swarm };
                swarm
                    // Whoever connected to a test peer decides when to leave; the default hangs up after 10 idle seconds.
                    .with_idle_connection_timeout(Duration::from_secs(3600))
                    // As many as yamux lets a peer open, so that a burst of tasks isn't thinned out while negotiating.
                    .with_max_negotiating_inbound_streams(MAX_STREAMS)
            })
            .build();
        Ok(Self { key, swarm, opener, inbound, muxer })
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Muxer {
    Yamux,
    Mplex,
}

impl Muxer {
    pub const ALL: [Muxer; 2] = [Muxer::Yamux, Muxer::Mplex];

    pub fn name(self) -> &'static str {
        match self {
            Muxer::Yamux => "yamux",
            Muxer::Mplex => "mplex",
        }
    }
}

impl FromStr for Muxer {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match Muxer::ALL.into_iter().find(|muxer| muxer.name() == name) {
            Some(muxer) => Ok(muxer),
            None => bail!("unknown muxer {name:?}: yamux and mplex are known"),
        }
    }
}

/// The name in multistream-select.
impl AsRef<str> for Muxer {
    fn as_ref(&self) -> &str {
        match self {
            Muxer::Yamux => "/yamux/1.0.0",
            Muxer::Mplex => "/mplex/6.7.0",
        }
    }
}

#[derive(Clone)]
struct Muxers {
    offered: Vec<Muxer>,
    agreed: Arc<OnceLock<Muxer>>,
    bulk: bool,
}

impl Muxers {
    fn yamux(&self) -> yamux::Config {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(MAX_STREAMS);
        if self.bulk {
            // What is deprecated is the older yamux that these choose. Its windows don't have to grow first, which makes up
            // for two fifths.
            #[allow(deprecated)]
            config.set_receive_window_size(BULK_WINDOW).set_max_buffer_size(2 * BULK_WINDOW as usize);
        }
        config
    }

    fn mplex(&self) -> libp2p_mplex::Config {
        let mut config = libp2p_mplex::Config::default();
        config.set_max_num_streams(MAX_STREAMS);
        if self.bulk {
            config.set_split_send_size(BULK_FRAME);
        }
        config
    }
}

impl UpgradeInfo for Muxers {
    type Info = Muxer;
    type InfoIter = std::vec::IntoIter<Muxer>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.offered.clone().into_iter()
    }
}

type Muxing = Pin<Box<dyn Future<Output = io::Result<StreamMuxerBox>> + Send>>;

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Muxers {
    type Output = StreamMuxerBox;
    type Error = io::Error;
    type Future = Muxing;

    fn upgrade_inbound(self, socket: C, muxer: Muxer) -> Muxing {
        let _ = self.agreed.set(muxer); // later connections keep the first one's
        Box::pin(async move {
            Ok(match muxer {
                Muxer::Yamux => {
                    let yamux = self.yamux().upgrade_inbound(socket, muxer.name()).await;
                    StreamMuxerBox::new(yamux.map_err(io::Error::other)?)
                }
                Muxer::Mplex => StreamMuxerBox::new(self.mplex().upgrade_inbound(socket, muxer.name()).await?),
            })
        })
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Muxers {
    type Output = StreamMuxerBox;
    type Error = io::Error;
    type Future = Muxing;

    fn upgrade_outbound(self, socket: C, muxer: Muxer) -> Muxing {
        let _ = self.agreed.set(muxer);
        Box::pin(async move {
            Ok(match muxer {
                Muxer::Yamux => {
                    let yamux = self.yamux().upgrade_outbound(socket, muxer.name()).await;
                    StreamMuxerBox::new(yamux.map_err(io::Error::other)?)
                }
                Muxer::Mplex => StreamMuxerBox::new(self.mplex().upgrade_outbound(socket, muxer.name()).await?),
            })
        })
    }
}
