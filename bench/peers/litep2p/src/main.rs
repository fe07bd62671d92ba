//! A peer on litep2p to measure against; tests/interop/README.md says what `serve` and `bench` are. What speaks the task
//! protocol and what measures is the same code as that of the interop peer on rust-libp2p.

mod dialer;
mod envelope;
mod node;
mod streams;

#[path = "../../../../tests/interop/rust/src/bench.rs"]
mod bench;
#[path = "../../../../tests/interop/rust/src/console.rs"]
mod console;
#[path = "../../../../tests/interop/rust/src/json.rs"]
mod json;
#[path = "../../../../tests/interop/rust/src/memory.rs"]
mod memory;
#[path = "../../../../tests/interop/rust/src/plan.rs"]
mod plan;
#[path = "../../../../tests/interop/rust/src/provider.rs"]
mod provider;
#[path = "../../../../tests/interop/rust/src/requester.rs"]
#[allow(dead_code)] // the steps of `dial`
mod requester;
#[path = "../../../../tests/interop/rust/src/wire.rs"]
mod wire;

use anyhow::{bail, Context, Result};
use futures::StreamExt;
use litep2p::Litep2pEvent;
use serde_json::json;
use tokio::{
    signal::unix::{signal, SignalKind},
    sync::mpsc,
};

use console::{input_end, print};
use node::Node;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    console::run(run(&arguments));
}

async fn run(arguments: &[String]) -> Result<()> {
    let (command, rest) = arguments.split_first().context("usage: peer serve|bench …")?;
    match command.as_str() {
        "serve" => serve(rest).await,
        "bench" => bench::run(rest).await,
        _ => bail!("unknown command {command:?}: serve and bench are known"),
    }
}

async fn serve(arguments: &[String]) -> Result<()> {
    let (mut listen, mut quiet) = (Vec::new(), false);
    let mut serves = vec![wire::TASK, wire::INFO, wire::ECHO];
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--listen" => listen.push(value()?.parse().context("--listen")?),
            "--muxer" => node::check_muxers(value()?)?,
            "--perf" => serves.push(wire::PERF),
            "--quiet" => quiet = true,
            _ => bail!("unknown argument {argument:?}"),
        }
    }
    if listen.is_empty() {
        listen.push("/ip4/127.0.0.1/tcp/0".parse()?);
    }
    // Before the first line, which may be what somebody waits for to send a signal.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut node = Node::new(listen, &serves, true)?;
    let addresses: Vec<_> = node.litep2p.listen_addresses().map(ToString::to_string).collect();
    print(json!({"event": "listening", "peer": node.litep2p.local_peer_id().to_base58(), "addrs": addresses}));
    let (drops, mut to_drop) = mpsc::unbounded_channel();
    let provider = provider::Provider::new(node.key.clone(), drops, quiet);
    let mut input_end = tokio::spawn(input_end());
    loop {
        tokio::select! {
            event = node.litep2p.next_event() => {
                match event.context("litep2p has stopped")? {
                    Litep2pEvent::ConnectionEstablished { peer, .. } if !quiet => {
                        print(json!({"event": "connected", "peer": peer.to_base58()}));
                    }
                    Litep2pEvent::ConnectionClosed { peer, .. } if !quiet => {
                        print(json!({"event": "disconnected", "peer": peer.to_base58()}));
                    }
                    _ => {}
                }
            }
            // Both would stop when nobody takes what they tell.
            _ = node.identities.next() => {}
            _ = node.pings.next() => {}
            Some(inbound) = node.inbound.recv() => {
                let provider = provider.clone();
                tokio::spawn(async move {
                    let (peer, protocol) = (inbound.peer, inbound.protocol);
                    if let Err(error) = provider.serve(inbound).await {
                        eprintln!("{protocol} of {peer} ended: {error:#}");
                    }
                });
            }
            Some(peer) = to_drop.recv() => node.opener.close(peer),
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = &mut input_end => return Ok(()),
        }
    }
}
