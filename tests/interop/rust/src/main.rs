//! An interop peer on rust-libp2p; ../README.md says what its commands are.

mod bench;
mod console;
mod dialer;
mod envelope;
mod json;
mod memory;
mod node;
mod plan;
mod provider;
mod requester;
mod streams;
mod wire;

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use anyhow::{anyhow, bail, ensure, Context, Result};
use libp2p::{
    futures::StreamExt, identify, identity::Keypair, mdns, multiaddr::Protocol, ping, swarm::SwarmEvent, Multiaddr,
    PeerId, Stream, StreamProtocol, Swarm,
};
use serde_json::{json, Value};
use tokio::{
    signal::unix::{signal, SignalKind},
    sync::{mpsc, oneshot, watch},
    time::{sleep_until, timeout},
};

use console::{input_end, print};
use requester::{Answer, Question};

use node::{Behaviour, BehaviourEvent, Mdns, Muxer, Node};

/// rust-libp2p's mplex holds the reset of a dropped stream back until something else is flushed on the connection, so
/// there should always be a ping soon.
const SERVE_PING: Duration = Duration::from_secs(1);
/// What is measured pings as often as the implementation would by itself.
const QUIET_PING: Duration = Duration::from_secs(15);
const DIAL_PING: Duration = Duration::from_millis(250);

const STEP: Duration = Duration::from_secs(60);
const STEPS: &str = "identify,ping,info,task,stream,tampered,echo";
const MORE_STEPS: &str = "cancel,retry,conflict,codes,deadline";

const LINGER_MS: u64 = 10_000;
const DEADLINE: Duration = Duration::from_millis(500);

/// js-libp2p's mplex ends a connection on which more than five streams are opened within a second. Two are identify and
/// ping, opened at once; at this pace no second has more than three others.
const BETWEEN_OPENS: Duration = Duration::from_millis(350);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    console::run(run(&arguments));
}

async fn run(arguments: &[String]) -> Result<()> {
    let (command, rest) = arguments.split_first().context("usage: peer serve|dial|discover|bench …")?;
    if command == "bench" {
        return bench::run(rest).await;
    }
    let options = Options::parse(rest)?;
    match command.as_str() {
        "serve" => serve(options).await,
        "dial" => dial(options).await,
        "discover" => discover(options).await,
        _ => bail!("unknown command {command:?}: serve, dial, discover and bench are known"),
    }
}

struct Options {
    address: Option<Multiaddr>,
    listen: Vec<Multiaddr>,
    muxers: Vec<Muxer>,
    mdns: bool,
    ipv6: bool,
    perf: bool,
    quiet: bool,
    steps: String,
    prompt: String,
    bytes: u64,
    peer: Option<PeerId>,
    wait: Duration,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Options {
            address: None,
            listen: Vec::new(),
            muxers: Muxer::ALL.to_vec(),
            mdns: false,
            ipv6: false,
            perf: false,
            quiet: false,
            steps: STEPS.into(),
            prompt: "Hello, P2P AI!".into(),
            bytes: 64 << 20,
            peer: None,
            wait: Duration::from_secs(30),
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--listen" => options.listen.push(value()?.parse().context("--listen")?),
                "--muxer" => options.muxers = value()?.split(',').map(str::parse).collect::<Result<_>>()?,
                "--mdns" => options.mdns = true,
                "--ipv6" => options.ipv6 = true,
                "--perf" => options.perf = true,
                "--quiet" => options.quiet = true,
                "--do" => options.steps = value()?.clone(),
                "--prompt" => options.prompt = value()?.clone(),
                "--bytes" => options.bytes = value()?.parse().context("--bytes")?,
                "--for" => options.peer = Some(value()?.parse().context("--for")?),
                "--wait" => {
                    options.wait = Duration::try_from_secs_f64(value()?.parse().context("--wait")?).context("--wait")?
                }
                address if address.starts_with('/') => options.address = Some(address.parse()?),
                _ => bail!("unknown argument {argument:?}"),
            }
        }
        Ok(options)
    }

    fn family(&self) -> Mdns {
        if self.ipv6 {
            Mdns::Ipv6
        } else {
            Mdns::Ipv4
        }
    }
}

async fn serve(options: Options) -> Result<()> {
    let mut serves = vec![wire::TASK, wire::INFO, wire::ECHO];
    if options.perf {
        serves.push(wire::PERF);
    }
    let mut node = Node::new(node::Config {
        mdns: if options.mdns { options.family() } else { Mdns::Off },
        muxers: options.muxers,
        serves,
        ping_interval: Some(if options.quiet { QUIET_PING } else { SERVE_PING }),
        lazy: false,
        bulk: options.perf,
    })?;
    let mut listen = options.listen;
    if listen.is_empty() {
        listen.push("/ip4/127.0.0.1/tcp/0".parse()?);
    }
    // Before the first line, which may be what somebody waits for to send a signal.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (addresses, events) = listen_on(&mut node.swarm, listen).await?;
    print(json!({"event": "listening", "peer": node.swarm.local_peer_id().to_base58(), "addrs": addresses}));
    let report = if options.quiet { |_| {} } else { report };
    events.into_iter().for_each(report);
    let (drops, mut to_drop) = mpsc::unbounded_channel();
    let provider = provider::Provider::new(node.key.clone(), drops, options.quiet);
    let mut input_end = tokio::spawn(input_end());
    loop {
        tokio::select! {
            event = node.swarm.select_next_some() => report(event),
            Some(inbound) = node.inbound.recv() => {
                let provider = provider.clone();
                tokio::spawn(async move {
                    let (peer, protocol) = (inbound.peer, inbound.protocol);
                    if let Err(error) = provider.serve(inbound).await {
                        eprintln!("{protocol} of {peer} ended: {error:#}");
                    }
                });
            }
            Some(peer) = to_drop.recv() => {
                let _ = node.swarm.disconnect_peer_id(peer);
            }
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = &mut input_end => return Ok(()),
        }
    }
}

type Event = SwarmEvent<BehaviourEvent>;

/// Returns every address once each listener has at least one, and what else happened meanwhile.
async fn listen_on(swarm: &mut Swarm<Behaviour>, addresses: Vec<Multiaddr>) -> Result<(Vec<String>, Vec<Event>)> {
    // A listener on the unspecified address tells its interfaces one after the other.
    const QUIET: Duration = Duration::from_millis(100);
    let unspecified = |part| match part {
        Protocol::Ip4(address) => address.is_unspecified(),
        Protocol::Ip6(address) => address.is_unspecified(),
        _ => false,
    };
    let several = addresses.iter().flatten().any(unspecified);
    let mut waiting = HashSet::new();
    for address in addresses {
        waiting.insert(swarm.listen_on(address.clone()).with_context(|| format!("cannot listen on {address}"))?);
    }
    let (mut found, mut others) = (Vec::new(), Vec::new());
    loop {
        let patience = if waiting.is_empty() { QUIET } else { STEP };
        match timeout(patience, swarm.select_next_some()).await {
            Ok(SwarmEvent::NewListenAddr { listener_id, address }) => {
                waiting.remove(&listener_id);
                found.push(with_peer(address, *swarm.local_peer_id()));
                if waiting.is_empty() && !several {
                    return Ok((found, others));
                }
            }
            Ok(SwarmEvent::ListenerClosed { reason: Err(error), .. }) => bail!("cannot listen: {error}"),
            Ok(event) => others.push(event),
            Err(_) if waiting.is_empty() => return Ok((found, others)),
            Err(_) => bail!("a listener has no address"),
        }
    }
}

/// An address that can be dialled as it is printed.
fn with_peer(address: Multiaddr, peer: PeerId) -> String {
    address.with_p2p(peer).unwrap_or_else(|other| other).to_string()
}

fn report(event: Event) {
    match event {
        SwarmEvent::ConnectionEstablished { peer_id, num_established, .. } if num_established.get() == 1 => {
            print(json!({"event": "connected", "peer": peer_id.to_base58()}));
        }
        SwarmEvent::ConnectionClosed { peer_id, num_established: 0, cause, .. } => {
            print(json!({"event": "disconnected", "peer": peer_id.to_base58()}));
            if let Some(cause) = cause {
                eprintln!("the connection to {peer_id} ended: {cause}");
            }
        }
        SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
            eprintln!("no connection from {send_back_addr}: {error}");
        }
        SwarmEvent::Behaviour(BehaviourEvent::Mdns(mdns::Event::Discovered(found))) => {
            for (peer, addresses) in by_peer(found) {
                print(discovered(peer, addresses));
            }
        }
        _ => {}
    }
}

fn by_peer(found: Vec<(PeerId, Multiaddr)>) -> BTreeMap<PeerId, Vec<String>> {
    let mut peers: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (peer, address) in found {
        peers.entry(peer).or_default().push(with_peer(address, peer));
    }
    peers
}

fn discovered(peer: PeerId, addresses: Vec<String>) -> Value {
    json!({"event": "peer_discovered", "peer": peer.to_base58(), "addrs": addresses})
}

async fn dial(options: Options) -> Result<()> {
    let address = options.address.context("dial needs an address")?;
    let Some(Protocol::P2p(peer)) = address.iter().last() else { bail!("the address does not end in /p2p/…") };
    let steps: Vec<&str> = options.steps.split(',').filter(|step| !step.is_empty()).collect();
    for step in &steps {
        let known = [STEPS, MORE_STEPS].iter().flat_map(|steps| steps.split(',')).any(|known| known == *step);
        ensure!(known, "unknown step {step:?}: {STEPS},{MORE_STEPS} are known");
    }
    let mut node = Node::new(node::Config {
        muxers: options.muxers,
        mdns: Mdns::Off,
        serves: vec![],
        ping_interval: Some(DIAL_PING),
        lazy: false,
        bulk: false,
    })?;
    node.swarm.dial(address.clone())?;
    let established = timeout(STEP, connect(&mut node.swarm, peer)).await.context("dialling takes too long")?;
    established?;
    let muxer = node.muxer.get().map(|muxer| muxer.name());
    print(json!({"event": "connected", "peer": peer.to_base58(), "muxer": muxer}));

    let (identified, identity) = watch::channel(None);
    let (pinged, pings) = mpsc::unbounded_channel();
    let (reconnect, reconnects) = mpsc::unbounded_channel();
    let mut session = Session {
        key: node.key,
        peer,
        opener: node.opener,
        next_open: Instant::now() + BETWEEN_OPENS,
        paced: node.muxer.get() != Some(&Muxer::Yamux),
        identity,
        pings,
        reconnect,
        prompt: options.prompt,
        bytes: options.bytes,
    };
    let all_steps = async {
        for step in steps {
            let line =
                timeout(STEP, session.step(step)).await.with_context(|| format!("{step} takes more than 60 s"))?;
            print(line.with_context(|| format!("{step} failed"))?);
        }
        anyhow::Ok(())
    };
    tokio::select! {
        done = all_steps => done?,
        lost = follow(&mut node.swarm, address, identified, pinged, reconnects) => return Err(lost),
    }

    let _ = node.swarm.disconnect_peer_id(peer);
    let closed = async { while !matches!(node.swarm.select_next_some().await, SwarmEvent::ConnectionClosed { .. }) {} };
    timeout(Duration::from_secs(5), closed).await.context("the connection does not close")
}

async fn connect(swarm: &mut Swarm<Behaviour>, peer: PeerId) -> Result<()> {
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { peer_id, .. } if peer_id == peer => return Ok(()),
            SwarmEvent::OutgoingConnectionError { error, .. } => bail!("cannot connect: {error}"),
            _ => {}
        }
    }
}

type Identity = Option<Result<identify::Info, String>>;

/// Hands the swarm's events to the steps until the connection is lost, and makes another connection when told to.
async fn follow(
    swarm: &mut Swarm<Behaviour>,
    address: Multiaddr,
    identified: watch::Sender<Identity>,
    pinged: mpsc::UnboundedSender<Result<Duration, ping::Failure>>,
    mut reconnects: mpsc::UnboundedReceiver<oneshot::Sender<Result<()>>>,
) -> anyhow::Error {
    loop {
        let event = tokio::select! {
            event = swarm.select_next_some() => event,
            Some(done) = reconnects.recv() => {
                let _ = done.send(reconnect(swarm, &address).await);
                continue;
            }
        };
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { info, .. })) => {
                identified.send_replace(Some(Ok(info)));
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Error { error, .. })) => {
                identified.send_replace(Some(Err(error.to_string())));
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { result, .. })) => {
                let _ = pinged.send(result);
            }
            SwarmEvent::ConnectionClosed { cause: Some(cause), .. } => {
                return anyhow!("the connection was lost: {cause}");
            }
            SwarmEvent::ConnectionClosed { cause: None, .. } => return anyhow!("the connection was closed"),
            _ => {}
        }
    }
}

/// Drops the connection and dials again.
async fn reconnect(swarm: &mut Swarm<Behaviour>, address: &Multiaddr) -> Result<()> {
    let Some(Protocol::P2p(peer)) = address.iter().last() else { bail!("the address does not end in /p2p/…") };
    let _ = swarm.disconnect_peer_id(peer);
    while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionClosed { .. }) {}
    swarm.dial(address.clone())?;
    connect(swarm, peer).await
}

/// One connection and what the steps need.
struct Session {
    key: Keypair,
    peer: PeerId,
    opener: streams::Opener,
    next_open: Instant,
    paced: bool,
    identity: watch::Receiver<Identity>,
    pings: mpsc::UnboundedReceiver<Result<Duration, ping::Failure>>,
    reconnect: mpsc::UnboundedSender<oneshot::Sender<Result<()>>>,
    prompt: String,
    bytes: u64,
}

impl Session {
    async fn step(&mut self, name: &str) -> Result<Value> {
        match name {
            "identify" => self.identify().await,
            "ping" => {
                let mut times = Vec::new();
                for _ in 0..3 {
                    times.push(bench::milliseconds(self.ping().await?));
                }
                Ok(json!({"event": "ping", "ms": times}))
            }
            "info" => {
                let mut stream = self.open(wire::INFO).await?;
                let me = self.key.public().to_peer_id();
                let info = requester::ask_info(&mut stream, me, self.peer).await?;
                let part = |name: &str| info.get(name).cloned().unwrap_or_default();
                Ok(
                    json!({"event": name, "agent": part("agent"), "executors": part("executors"), "queue": part("queue")}),
                )
            }
            "task" | "stream" => {
                let streamed = name == "stream";
                let answer = self.ask(&self.question(json!({"stream": streamed}))?).await?.completed()?;
                let mut line = json!({"event": name, "status": answer.status, "text": answer.text});
                if streamed {
                    line["updates"] = answer.updates.into();
                } else {
                    line["executor"] = answer.executor.into();
                }
                Ok(line)
            }
            "cancel" => self.cancel().await,
            "retry" => self.retry().await,
            "conflict" => {
                let question = self.question(json!({}))?;
                self.ask(&question).await?.completed()?;
                let input = json!({"prompt": format!("{}!", self.prompt)});
                let other = self.question(json!({"task_id": question.id, "input": input}))?;
                let answer = self.ask(&other).await?;
                let code = answer.refused("rejected", "task_id_conflict")?;
                Ok(json!({"event": name, "task_id": question.id, "status": answer.status, "code": code}))
            }
            "codes" => self.codes().await,
            "deadline" => {
                let question = self.question(json!({"stream": true, "timeout_ms": DEADLINE.as_millis() as u64}))?;
                let answer = timeout(DEADLINE + Duration::from_secs(5), self.ask(&question)).await;
                let answer = answer.context("nothing came five seconds after the deadline")??;
                let code = answer.refused("cancelled", "deadline_exceeded")?;
                Ok(json!({
                    "event": name, "task_id": question.id, "status": answer.status, "code": code,
                    "text": answer.text, "updates": answer.updates,
                }))
            }
            "tampered" => {
                let mut stream = self.open(wire::TASK).await?;
                requester::ask_tampered(&mut stream, &self.key, self.peer, &self.prompt).await?;
                // A lost connection ends the stream too, and would be the wrong answer.
                while self.ping().await.is_err() {}
                Ok(json!({"event": "tampered", "refused": true}))
            }
            "echo" => {
                let stream = self.open(wire::ECHO).await?;
                let start = Instant::now();
                let sha256 = requester::echo(stream, self.bytes).await?;
                let ms = bench::milliseconds(start.elapsed());
                Ok(json!({"event": "echo", "bytes": self.bytes, "sha256": sha256, "ms": ms}))
            }
            _ => bail!("unknown step"),
        }
    }

    fn question(&self, extra: Value) -> Result<Question> {
        Question::new(&self.key, self.peer, &self.prompt, extra)
    }

    async fn ask(&mut self, question: &Question) -> Result<Answer> {
        let mut stream = self.open(wire::TASK).await?;
        requester::ask(&mut stream, question, self.peer).await
    }

    /// The task lingers, so that only the reset can be what stops it.
    async fn cancel(&mut self) -> Result<Value> {
        let question = self.question(json!({"stream": true, "linger_ms": LINGER_MS}))?;
        let mut stream = self.open(wire::TASK).await?;
        let updates = requester::begin(&mut stream, &question, self.peer).await?;
        drop(stream);
        // What is answered behind the reset proves that it has arrived; the first answer may be to an earlier ping.
        for _ in 0..2 {
            self.ping().await.context("after the reset")?;
        }
        Ok(json!({"event": "cancel", "task_id": question.id, "updates": updates}))
    }

    /// One envelope three times: until the connection is dropped in its midst, until the result, and once more.
    async fn retry(&mut self) -> Result<Value> {
        let question = self.question(json!({"stream": true, "linger_ms": LINGER_MS}))?;
        let mut stream = self.open(wire::TASK).await?;
        requester::begin(&mut stream, &question, self.peer).await?;
        let (done, reconnected) = oneshot::channel();
        self.reconnect.send(done)?;
        reconnected.await?.context("no second connection")?;
        drop(stream); // not before, because that would be a reset
        self.next_open = Instant::now() + BETWEEN_OPENS;
        let second = self.ask(&question).await.context("over a new connection")?.completed()?;
        let third = self.ask(&question).await.context("after its end")?;
        let same = second.envelope == third.envelope;
        Ok(json!({
            "event": "retry", "task_id": question.id, "status": second.status, "text": second.text, "same": same,
        }))
    }

    async fn codes(&mut self) -> Result<Value> {
        let mut codes = Vec::new();
        for (code, named, question) in requester::faults(&self.key, self.peer)? {
            let answer = self.ask(&question).await.with_context(|| question.to_string())?;
            codes.push(answer.refused("rejected", code).with_context(|| question.to_string())?.to_owned());
            let known = answer.task_id != wire::NIL_UUID;
            ensure!(named.is_none_or(|named| named == known), "{question} is answered for {}", answer.task_id);
        }
        Ok(json!({"event": "codes", "codes": codes}))
    }

    async fn open(&mut self, protocol: &'static str) -> Result<Stream> {
        if self.paced {
            sleep_until(self.next_open.into()).await;
        }
        self.next_open = Instant::now() + BETWEEN_OPENS;
        self.opener.open(self.peer, protocol).await
    }

    async fn identify(&mut self) -> Result<Value> {
        let info = match self.identity.wait_for(Option::is_some).await?.clone() {
            Some(Ok(info)) => info,
            Some(Err(error)) => bail!(error),
            None => bail!("no result"),
        };
        ensure!(info.public_key.to_peer_id() == self.peer, "identify tells another peer's key");
        Ok(json!({
            "event": "identify",
            "agent": info.agent_version,
            "protocol_version": info.protocol_version,
            "protocols": info.protocols.iter().map(StreamProtocol::as_ref).collect::<Vec<_>>(),
            "listen_addrs": info.listen_addrs,
            "observed": info.observed_addr,
        }))
    }

    /// One that ends after now.
    async fn ping(&mut self) -> Result<Duration> {
        while self.pings.try_recv().is_ok() {}
        Ok(self.pings.recv().await.context("no ping any more")??)
    }
}

async fn discover(options: Options) -> Result<()> {
    let wanted = options.peer.context("discover needs --for PEERID")?;
    let start = Instant::now();
    let mut node = Node::new(node::Config {
        mdns: options.family(),
        muxers: options.muxers,
        serves: vec![],
        ping_interval: Some(SERVE_PING),
        lazy: false,
        bulk: false,
    })?;
    node.swarm.listen_on(if options.ipv6 { "/ip6/::/tcp/0" } else { "/ip4/0.0.0.0/tcp/0" }.parse()?)?;
    let search = async {
        loop {
            if let SwarmEvent::Behaviour(BehaviourEvent::Mdns(mdns::Event::Discovered(found))) =
                node.swarm.select_next_some().await
            {
                if let Some(addresses) = by_peer(found).remove(&wanted) {
                    return (addresses, start.elapsed());
                }
            }
        }
    };
    let found = timeout(options.wait, search).await;
    let (addresses, time) = found.with_context(|| format!("{wanted} was not discovered"))?;
    let mut line = discovered(wanted, addresses);
    line["ms"] = bench::milliseconds(time).into();
    print(line);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(muxer: Muxer, serves: Vec<&'static str>) -> Node {
        let ping_interval = Some(SERVE_PING);
        Node::new(node::Config {
            muxers: vec![muxer],
            mdns: Mdns::Off,
            serves,
            ping_interval,
            lazy: false,
            bulk: false,
        })
        .unwrap()
    }

    /// Each stream waits until all are open, so that none is served before the last has been accepted.
    async fn many_tasks_at_once(muxer: Muxer, count: usize) {
        let mut provider = node(muxer, vec![wire::TASK]);
        let peer = *provider.swarm.local_peer_id();
        let (address, _) = listen_on(&mut provider.swarm, vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()]).await.unwrap();
        let (drops, mut to_drop) = mpsc::unbounded_channel();
        let tasks = provider::Provider::new(provider.key.clone(), drops, true);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = provider.swarm.select_next_some() => {}
                    Some(peer) = to_drop.recv() => provider.swarm.disconnect_peer_id(peer).unwrap(),
                    Some(inbound) = provider.inbound.recv() => {
                        let tasks = tasks.clone();
                        tokio::spawn(async move { tasks.serve(inbound).await });
                    }
                }
            }
        });

        let mut requester = node(muxer, vec![]);
        requester.swarm.dial(address[0].parse::<Multiaddr>().unwrap()).unwrap();
        connect(&mut requester.swarm, peer).await.unwrap();
        tokio::spawn(async move { while let Some(_) = requester.swarm.next().await {} });
        let all_open = std::sync::Arc::new(tokio::sync::Barrier::new(count));
        let tasks: Vec<_> = (0..count)
            .map(|nth| {
                let (opener, key, all_open) = (requester.opener.clone(), requester.key.clone(), all_open.clone());
                tokio::spawn(async move {
                    let mut stream = opener.open(peer, wire::TASK).await?;
                    all_open.wait().await;
                    let extra = json!({"stream": nth % 2 == 0});
                    let question = Question::new(&key, peer, &format!("task {nth}"), extra)?;
                    requester::ask(&mut stream, &question, peer).await
                })
            })
            .collect();
        for (nth, task) in tasks.into_iter().enumerate() {
            let answer = task.await.unwrap().unwrap();
            assert_eq!(answer.text.unwrap(), format!("Processed: task {nth}"));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn yamux_serves_many_tasks_at_once() {
        // Further streams would wait for an acknowledgement, which comes with a provider's first bytes.
        many_tasks_at_once(Muxer::Yamux, 250).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn mplex_serves_many_tasks_at_once() {
        many_tasks_at_once(Muxer::Mplex, 120).await;
    }
}
