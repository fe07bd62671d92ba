//! Raw streams for the protocols that are not litep2p's own, in both directions.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use anyhow::{anyhow, Context};
use futures::StreamExt;
use litep2p::{
    codec::ProtocolCodec,
    error::SubstreamError,
    protocol::{Direction, TransportEvent, TransportService, UserProtocol},
    substream::Substream,
    types::{protocol::ProtocolName, SubstreamId},
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use crate::envelope::PeerId;

pub type Stream = Compat<Substream>;

/// A stream that a peer opened, its protocol agreed on.
pub struct Inbound {
    pub peer: PeerId,
    pub protocol: &'static str,
    pub stream: Stream,
    /// Has changed when the connection is gone.
    pub connection: watch::Receiver<()>,
}

type Reply = oneshot::Sender<anyhow::Result<Stream>>;

enum Request {
    Open(PeerId, Reply),
    Close(PeerId),
}

/// Opens streams of the node's protocols from outside of them, any number at a time.
#[derive(Clone)]
pub struct Opener(Arc<HashMap<&'static str, mpsc::UnboundedSender<Request>>>);

impl Opener {
    /// The peer has to be connected; nothing is dialled.
    pub async fn open(&self, peer: PeerId, protocol: &'static str) -> anyhow::Result<Stream> {
        let (reply, answer) = oneshot::channel();
        let requests = self.0.get(protocol).with_context(|| format!("{protocol} is none of the node's protocols"))?;
        let _ = requests.send(Request::Open(peer, reply));
        let stream = answer.await.map_err(|_| anyhow!("the connection went away while {protocol} was being opened"))?;
        stream.map_err(|error| error.context(format!("cannot open a stream for {protocol}")))
    }

    /// Closes the connection to a peer.
    pub fn close(&self, peer: PeerId) {
        if let Some(requests) = self.0.values().next() {
            let _ = requests.send(Request::Close(peer));
        }
    }
}

pub fn protocols(names: &[&'static str]) -> (Opener, mpsc::UnboundedReceiver<Inbound>, Vec<Protocol>) {
    // Unbounded, yet not endless: yamux bounds the streams of a connection.
    let (inbound, arrivals) = mpsc::unbounded_channel();
    let (mut openers, mut protocols) = (HashMap::new(), Vec::new());
    for name in names {
        let (opener, requests) = mpsc::unbounded_channel();
        openers.insert(*name, opener);
        protocols.push(Protocol {
            name,
            inbound: inbound.clone(),
            requests,
            connections: HashMap::new(),
            asked: VecDeque::new(),
            opening: HashMap::new(),
        });
    }
    (Opener(Arc::new(openers)), arrivals, protocols)
}

pub struct Protocol {
    name: &'static str,
    inbound: mpsc::UnboundedSender<Inbound>,
    requests: mpsc::UnboundedReceiver<Request>,
    connections: HashMap<PeerId, watch::Sender<()>>,
    /// What the connection had no room for.
    asked: VecDeque<(PeerId, Reply)>,
    opening: HashMap<SubstreamId, Reply>,
}

impl Protocol {
    fn open_what_is_asked(&mut self, service: &mut TransportService) {
        while let Some((peer, reply)) = self.asked.pop_front() {
            match service.open_substream(peer) {
                Ok(id) => drop(self.opening.insert(id, reply)),
                // Until one of those that are being opened is.
                Err(SubstreamError::ChannelClogged) if !self.opening.is_empty() => {
                    return self.asked.push_front((peer, reply));
                }
                Err(error) => drop(reply.send(Err(error.into()))),
            }
        }
    }

    fn take(&mut self, event: TransportEvent) {
        match event {
            TransportEvent::ConnectionEstablished { peer, .. } => {
                self.connections.insert(peer, watch::Sender::new(()));
            }
            TransportEvent::ConnectionClosed { peer } => {
                self.connections.remove(&peer);
            }
            TransportEvent::SubstreamOpened { peer, direction: Direction::Inbound, substream, .. } => {
                if let Some(connection) = self.connections.get(&peer) {
                    // Fails only while the program ends, when dropping the stream is right.
                    let _ = self.inbound.send(Inbound {
                        peer,
                        protocol: self.name,
                        stream: substream.compat(),
                        connection: connection.subscribe(),
                    });
                }
            }
            TransportEvent::SubstreamOpened { direction: Direction::Outbound(id), substream, .. } => {
                if let Some(reply) = self.opening.remove(&id) {
                    let _ = reply.send(Ok(substream.compat()));
                }
            }
            TransportEvent::SubstreamOpenFailure { substream, error } => {
                if let Some(reply) = self.opening.remove(&substream) {
                    let _ = reply.send(Err(error.into()));
                }
            }
            TransportEvent::DialFailure { .. } => {}
        }
    }
}

#[async_trait::async_trait]
impl UserProtocol for Protocol {
    fn protocol(&self) -> ProtocolName {
        self.name.into()
    }

    /// None: the streams are bytes.
    fn codec(&self) -> ProtocolCodec {
        ProtocolCodec::Unspecified
    }

    async fn run(mut self: Box<Self>, mut service: TransportService) -> litep2p::Result<()> {
        loop {
            tokio::select! {
                biased; // a connection is known before the streams that somebody wants on it
                event = service.next() => match event {
                    Some(event) => self.take(event),
                    None => return Ok(()),
                },
                request = self.requests.recv() => match request {
                    Some(Request::Open(peer, reply)) => self.asked.push_back((peer, reply)),
                    Some(Request::Close(peer)) => drop(service.force_close(peer)),
                    None => return Ok(()),
                },
            }
            self.open_what_is_asked(&mut service);
        }
    }
}
