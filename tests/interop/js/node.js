// A js-libp2p node as the peer's commands need it.

import { noise } from '@chainsafe/libp2p-noise'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { identify, identifyPush } from '@libp2p/identify'
import { mdns } from '@libp2p/mdns'
import { mplex } from '@libp2p/mplex'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'

export const AGENT = 'p2p-ai-agents-interop-js/1.0.0'
export const MUXERS = { yamux, mplex }

// Above whatever a measurement may ask for.
const NO_LIMIT = 1_000_000
export const MEASURED_MS = 10 * 60_000

// js-libp2p makes a logger for each stream, which costs much even where nothing is logged.
const silent = Object.assign(() => {}, { enabled: false, trace () {}, error () {}, newScope: () => silent })

/** What a measurement lifts: a refusal or an end that comes from a quota says nothing of the speed. */
const unlimited = {
  muxer: { maxInboundStreams: NO_LIMIT, maxOutboundStreams: NO_LIMIT, maxEarlyStreams: NO_LIMIT, disconnectThreshold: NO_LIMIT },
  ping: { maxInboundStreams: NO_LIMIT, maxOutboundStreams: NO_LIMIT, timeout: MEASURED_MS },
  connectionManager: { maxConnections: NO_LIMIT, maxIncomingPendingConnections: NO_LIMIT, inboundConnectionThreshold: NO_LIMIT, maxParallelDials: NO_LIMIT },
  // no ping every ten seconds on every connection
  rest: { connectionMonitor: { enabled: false }, logger: { forComponent: () => silent } }
}
const usual = {
  connectionManager: { inboundConnectionThreshold: 1000 }, // new ones a second from one host; five are too few for tests
  rest: {}
}

/** The limits of a protocol's streams. */
export const streamLimits = measured => measured ? { maxInboundStreams: NO_LIMIT, maxOutboundStreams: NO_LIMIT } : {}

/** @param measured whether limits are lifted. A node that is not started is returned. */
export async function createNode ({ listen = [], muxers, measured = false, onDiscovered }) {
  const limits = measured ? unlimited : usual
  const privateKey = await generateKeyPair('Ed25519')
  const node = await createLibp2p({
    start: false,
    privateKey,
    addresses: { listen },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: muxers.map(name => MUXERS[name](limits.muxer)),
    services: { identify: identify(), identifyPush: identifyPush(), ping: ping(limits.ping) },
    connectionManager: limits.connectionManager,
    peerDiscovery: onDiscovered == null ? [] : [discovery(onDiscovered)],
    ...limits.rest
  })
  return { node, privateKey, me: node.peerId.toString() }
}

export const muxerOf = connection => connection.multiplexer?.split('/')[1] ?? null

/** mDNS, reporting from the source: libp2p's own peer:discovery also fires for a peer that merely connects. */
function discovery (onDiscovered) {
  const seen = new Map()
  return components => {
    const service = mdns()(components)
    let started
    const start = service.start
    service.start = () => {
      started = performance.now()
      return start.call(service)
    }
    service.addEventListener('peer', ({ detail }) => {
      const peer = detail.id.toString()
      const addrs = detail.multiaddrs.map(address => `${address}/p2p/${peer}`)
      if (seen.get(peer) === addrs.join()) return // every answer to anybody's query comes by here
      seen.set(peer, addrs.join())
      onDiscovered(peer, addrs, performance.now() - started)
    })
    return service
  }
}
