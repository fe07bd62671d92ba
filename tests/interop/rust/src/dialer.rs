//! A swarm of its own for one connection at a time, as `bench` needs it.

use anyhow::{anyhow, bail, Context, Result};
use libp2p::{futures::StreamExt, identify, multiaddr::Protocol, swarm::SwarmEvent, Multiaddr};

use crate::{
    bench,
    envelope::{Keypair, PeerId},
    node::{self, BehaviourEvent, Mdns, Muxer, Node},
    streams::Opener,
    wire,
};

#[derive(Clone)]
pub struct Target {
    address: Multiaddr,
    pub peer: PeerId,
    muxers: Vec<Muxer>,
}

impl Target {
    pub fn new(address: &str, muxers: Option<&str>) -> Result<Self> {
        let address: Multiaddr = address.parse()?;
        let Some(Protocol::P2p(peer)) = address.iter().last() else { bail!("the address does not end in /p2p/…") };
        let muxers = muxers.map_or(Ok(Muxer::ALL.to_vec()), |list| list.split(',').map(str::parse).collect())?;
        Ok(Self { address, peer, muxers })
    }
}

pub struct Dialer {
    node: Node,
    target: Target,
    pub identified: bool,
}

impl Dialer {
    /// For many bytes at once, or for everything else.
    pub fn new(target: &Target, bulk: bool) -> Result<Self> {
        let node = Node::new(node::Config {
            muxers: target.muxers.clone(),
            mdns: Mdns::Off,
            // rust-libp2p's ping would answer as well, but it also opens a stream of its own, for which the peer's forgets
            // the one that is measured. Unanswered, the peer's would take no pings either.
            serves: vec![wire::PING],
            ping_interval: None,
            lazy: true,
            bulk,
        })?;
        Ok(Self { node, target: target.clone(), identified: false })
    }

    pub fn key(&self) -> &Keypair {
        &self.node.key
    }

    pub fn opener(&self) -> Opener {
        self.node.opener.clone()
    }

    pub fn muxer(&self) -> Option<&'static str> {
        self.node.muxer.get().map(|muxer| muxer.name())
    }

    /// Returns when the connection is secured and muxed.
    pub async fn dial(&mut self) -> Result<()> {
        self.identified = false;
        self.node.swarm.dial(self.target.address.clone())?;
        loop {
            match self.node.swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { .. } => return Ok(()),
                SwarmEvent::OutgoingConnectionError { error, .. } => bail!("cannot connect: {error}"),
                _ => {}
            }
        }
    }

    pub async fn close(&mut self) -> Result<()> {
        let _ = self.node.swarm.disconnect_peer_id(self.target.peer);
        while !matches!(self.node.swarm.select_next_some().await, SwarmEvent::ConnectionClosed { .. }) {}
        Ok(())
    }

    /// Fails when the connection is lost.
    pub async fn step(&mut self) -> Result<()> {
        let event = tokio::select! {
            event = self.node.swarm.select_next_some() => event,
            Some(inbound) = self.node.inbound.recv() => {
                tokio::spawn(bench::serve_ping(inbound.stream));
                return Ok(());
            }
        };
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { .. })) => self.identified = true,
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Error { error, .. })) => {
                return Err(error).context("identify");
            }
            SwarmEvent::ConnectionClosed { cause, .. } => {
                return Err(cause.map_or_else(|| anyhow!("the connection was closed"), Into::into));
            }
            _ => {}
        }
        Ok(())
    }
}
