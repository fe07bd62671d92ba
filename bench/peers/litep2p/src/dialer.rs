//! A node of its own for one connection at a time, as `bench` needs it. litep2p has no use for more than one connection to a
//! peer in any case.

use anyhow::{anyhow, bail, Context, Result};
use futures::StreamExt;
use litep2p::{types::multiaddr::Multiaddr, Litep2pEvent};

use crate::{
    bench,
    envelope::{Keypair, PeerId},
    node::{check_muxers, Node},
    streams::Opener,
    wire,
};

#[derive(Clone)]
pub struct Target {
    address: Multiaddr,
    pub peer: PeerId,
}

impl Target {
    pub fn new(address: &str, muxers: Option<&str>) -> Result<Self> {
        muxers.map_or(Ok(()), check_muxers)?;
        let address: Multiaddr = address.parse()?;
        let peer = PeerId::try_from_multiaddr(&address).context("the address does not end in /p2p/…")?;
        Ok(Self { address, peer })
    }
}

pub struct Dialer {
    node: Node,
    target: Target,
    pub identified: bool,
}

impl Dialer {
    /// It makes no difference here what for.
    pub fn new(target: &Target, _bulk: bool) -> Result<Self> {
        // litep2p's ping would open a stream of its own, for which the peer's forgets the one that is measured.
        let node = Node::new(vec![], &[wire::TASK, wire::PING, wire::PERF], false)?;
        Ok(Self { node, target: target.clone(), identified: false })
    }

    pub fn key(&self) -> &Keypair {
        &self.node.key
    }

    pub fn opener(&self) -> Opener {
        self.node.opener.clone()
    }

    pub fn muxer(&self) -> Option<&'static str> {
        Some("yamux")
    }

    /// Returns when the connection is secured and muxed.
    pub async fn dial(&mut self) -> Result<()> {
        self.identified = false;
        self.node.litep2p.dial_address(self.target.address.clone()).await?;
        loop {
            match self.node.litep2p.next_event().await.context("litep2p has stopped")? {
                Litep2pEvent::ConnectionEstablished { .. } => return Ok(()),
                Litep2pEvent::DialFailure { error, .. } => bail!("cannot connect: {error}"),
                Litep2pEvent::ListDialFailures { errors } => bail!("cannot connect: {errors:?}"),
                Litep2pEvent::ConnectionClosed { .. } => {}
            }
        }
    }

    pub async fn close(&mut self) -> Result<()> {
        self.node.opener.close(self.target.peer);
        while !matches!(
            self.node.litep2p.next_event().await.context("litep2p has stopped")?,
            Litep2pEvent::ConnectionClosed { .. }
        ) {}
        Ok(())
    }

    /// Fails when the connection is lost.
    pub async fn step(&mut self) -> Result<()> {
        tokio::select! {
            event = self.node.litep2p.next_event() => match event.context("litep2p has stopped")? {
                Litep2pEvent::ConnectionClosed { .. } => Err(anyhow!("the connection was closed")),
                _ => Ok(()),
            },
            Some(_) = self.node.identities.next() => {
                self.identified = true;
                Ok(())
            }
            Some(inbound) = self.node.inbound.recv() => {
                if inbound.protocol == wire::PING {
                    tokio::spawn(bench::serve_ping(inbound.stream));
                }
                Ok(())
            }
        }
    }
}
