//! Raw streams for the project's own protocols, in both directions.
//!
//! libp2p-stream would be shorter, but it parks one inbound stream per protocol and drops whatever arrives before that
//! one is taken; a provider that gets dozens of tasks at once needs every one of them.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{ready, Ready},
    task::{Context, Poll},
};

use anyhow::anyhow;
use libp2p::{
    core::{
        transport::PortUse,
        upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo},
        Endpoint,
    },
    swarm::{
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        NotifyHandler, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    },
    Multiaddr, PeerId, Stream, StreamProtocol,
};
use tokio::sync::{mpsc, oneshot, watch};

/// A stream that a peer opened, its protocol agreed on.
pub struct Inbound {
    pub peer: PeerId,
    pub protocol: StreamProtocol,
    pub stream: Stream,
    /// Has changed when the connection is gone.
    pub connection: watch::Receiver<()>,
}

type Reply = oneshot::Sender<anyhow::Result<Stream>>;

#[derive(Debug)]
pub struct Open {
    protocol: StreamProtocol,
    reply: Reply,
}

/// Opens streams from outside the swarm, any number at a time.
#[derive(Clone)]
pub struct Opener(mpsc::UnboundedSender<(PeerId, Open)>);

impl Opener {
    /// The peer has to be connected; nothing is dialled.
    pub async fn open(&self, peer: PeerId, protocol: StreamProtocol) -> anyhow::Result<Stream> {
        let (reply, answer) = oneshot::channel();
        let name = protocol.clone();
        self.0.send((peer, Open { protocol, reply })).map_err(|_| anyhow!("the node has stopped"))?;
        let stream = answer.await.map_err(|_| anyhow!("the connection went away while {name} was being opened"))?;
        stream.map_err(|error| error.context(format!("cannot open a stream for {name}")))
    }
}

pub struct Behaviour {
    served: Vec<StreamProtocol>,
    // Unbounded, yet not endless: the muxers allow a connection 512 or 128 streams.
    inbound: mpsc::UnboundedSender<Inbound>,
    requests: mpsc::UnboundedReceiver<(PeerId, Open)>,
}

impl Behaviour {
    pub fn new(served: Vec<StreamProtocol>) -> (Self, Opener, mpsc::UnboundedReceiver<Inbound>) {
        let (inbound, arrivals) = mpsc::unbounded_channel();
        let (opener, requests) = mpsc::unbounded_channel();
        (Self { served, inbound, requests }, Opener(opener), arrivals)
    }

    fn handler(&self, peer: PeerId) -> Handler {
        Handler {
            peer,
            served: self.served.clone(),
            inbound: self.inbound.clone(),
            requests: VecDeque::new(),
            alive: watch::Sender::new(()),
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        match self.requests.poll_recv(cx) {
            Poll::Ready(Some((peer_id, event))) => {
                Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::Any, event })
            }
            // Without any Opener left there will be no request; the other half goes on.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

pub struct Handler {
    peer: PeerId,
    served: Vec<StreamProtocol>,
    inbound: mpsc::UnboundedSender<Inbound>,
    requests: VecDeque<Open>,
    alive: watch::Sender<()>, // dropped with the handler, and the handler with the connection
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = Infallible;
    type InboundProtocol = Bare;
    type OutboundProtocol = Bare;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Reply;

    fn listen_protocol(&self) -> SubstreamProtocol<Bare> {
        SubstreamProtocol::new(Bare(self.served.clone()), ())
    }

    fn on_behaviour_event(&mut self, open: Open) {
        self.requests.push_back(open);
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Bare, Reply, Infallible>> {
        // No waker is kept: requests come only through on_behaviour_event, after which this is polled anyway.
        match self.requests.pop_front() {
            Some(Open { protocol, reply }) => Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(Bare(vec![protocol]), reply),
            }),
            None => Poll::Pending,
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
pub struct Bare(Vec<StreamProtocol>);

impl UpgradeInfo for Bare {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Bare {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}

impl OutboundUpgrade<Stream> for Bare {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}
