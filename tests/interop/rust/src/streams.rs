//! Raw streams for the project's own protocols, in both directions.
//!
//! libp2p-stream would be shorter, but it parks one inbound stream per protocol and drops whatever arrives before that
//! one is taken; a provider that gets dozens of tasks at once needs every one of them.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::{ready, Ready},
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use anyhow::{anyhow, Context as _};
pub use libp2p::Stream;
use libp2p::{
    core::{
        transport::PortUse,
        upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo},
        Endpoint,
    },
    swarm::{
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
        ConnectionClosed, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    },
    Multiaddr, PeerId,
};
use tokio::sync::{mpsc, oneshot, watch};

/// A stream that a peer opened, its protocol agreed on.
pub struct Inbound {
    pub peer: PeerId,
    pub protocol: &'static str,
    pub stream: Stream,
    /// Has changed when the connection is gone.
    pub connection: watch::Receiver<()>,
}

type Reply = oneshot::Sender<anyhow::Result<Stream>>;

struct Open {
    protocol: &'static str,
    reply: Reply,
}

/// Each handler takes its requests itself: by way of the behaviour they would wait for the swarm's task too.
type Connections = Arc<Mutex<HashMap<PeerId, Vec<(ConnectionId, mpsc::UnboundedSender<Open>)>>>>;

/// Opens streams from outside the swarm, any number at a time.
#[derive(Clone)]
pub struct Opener(Connections);

impl Opener {
    /// The peer has to be connected; nothing is dialled.
    pub async fn open(&self, peer: PeerId, protocol: &'static str) -> anyhow::Result<Stream> {
        let (reply, answer) = oneshot::channel();
        let newest = self.0.lock().unwrap().get(&peer).and_then(|all| all.last()).map(|(_, handler)| handler.clone());
        let handler = newest.with_context(|| format!("there is no connection to {peer}"))?;
        let _ = handler.send(Open { protocol, reply });
        let stream = answer.await.map_err(|_| anyhow!("the connection went away while {protocol} was being opened"))?;
        stream.map_err(|error| error.context(format!("cannot open a stream for {protocol}")))
    }
}

pub struct Behaviour {
    served: Vec<&'static str>,
    // Unbounded, yet not endless: the muxers bound the streams of a connection.
    inbound: mpsc::UnboundedSender<Inbound>,
    connections: Connections,
}

impl Behaviour {
    pub fn new(served: Vec<&'static str>) -> (Self, Opener, mpsc::UnboundedReceiver<Inbound>) {
        let (inbound, arrivals) = mpsc::unbounded_channel();
        let connections = Connections::default();
        (Self { served, inbound, connections: connections.clone() }, Opener(connections), arrivals)
    }

    fn handler(&self, connection: ConnectionId, peer: PeerId) -> Handler {
        let (opener, requests) = mpsc::unbounded_channel();
        self.connections.lock().unwrap().entry(peer).or_default().push((connection, opener));
        Handler {
            peer,
            served: self.served.clone(),
            inbound: self.inbound.clone(),
            requests,
            alive: watch::Sender::new(()),
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(connection, peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(connection, peer))
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        if let FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) = event {
            let mut connections = self.connections.lock().unwrap();
            if let Some(all) = connections.get_mut(&peer_id) {
                all.retain(|(connection, _)| *connection != connection_id);
                if all.is_empty() {
                    connections.remove(&peer_id);
                }
            }
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

pub struct Handler {
    peer: PeerId,
    served: Vec<&'static str>,
    inbound: mpsc::UnboundedSender<Inbound>,
    requests: mpsc::UnboundedReceiver<Open>,
    alive: watch::Sender<()>, // dropped with the handler, and the handler with the connection
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Bare;
    type OutboundProtocol = Bare;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Reply;

    fn listen_protocol(&self) -> SubstreamProtocol<Bare> {
        SubstreamProtocol::new(Bare(self.served.clone()), ())
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Bare, Reply, Infallible>> {
        match self.requests.poll_recv(cx) {
            Poll::Ready(Some(Open { protocol, reply })) => {
                Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                    protocol: SubstreamProtocol::new(Bare(vec![protocol]), reply),
                })
            }
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Bare, Bare, (), Reply>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol), ..
            }) => {
                // Fails only while the program ends, when dropping the stream is right.
                let _ = self.inbound.send(Inbound {
                    peer: self.peer,
                    protocol,
                    stream,
                    connection: self.alive.subscribe(),
                });
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: (stream, _), info }) => {
                let _ = info.send(Ok(stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let _ = info.send(Err(anyhow!("{error}")));
            }
            _ => {}
        }
    }
}

/// Agrees on one of its protocols and leaves the stream as it is.
pub struct Bare(Vec<&'static str>);

impl UpgradeInfo for Bare {
    type Info = &'static str;
    type InfoIter = std::vec::IntoIter<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Bare {
    type Output = (Stream, &'static str);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: &'static str) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}

impl OutboundUpgrade<Stream> for Bare {
    type Output = (Stream, &'static str);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, protocol: &'static str) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}
