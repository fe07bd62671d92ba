//! Signed envelopes, as rust-libp2p makes and reads them.

use anyhow::{bail, ensure, Context, Result};
use libp2p::core::signed_envelope::{ReadPayloadError, SignedEnvelope};
pub use libp2p::{identity::Keypair, PeerId};

use crate::wire::Kind;

const DOMAIN: &str = "p2p-ai-agents";

/// The envelope around a payload, without the length of its frame.
pub fn seal(key: &Keypair, kind: Kind, payload: &[u8]) -> Result<Vec<u8>> {
    let envelope = SignedEnvelope::new(key, DOMAIN.into(), kind.payload_type().to_vec(), payload.to_vec())?;
    Ok(envelope.into_protobuf_encoding())
}

/// The payload of an envelope that `signer` made and whose type is one of `expected`.
pub fn open(envelope: &[u8], signer: PeerId, expected: &[Kind]) -> Result<(Kind, Vec<u8>)> {
    let envelope = SignedEnvelope::from_protobuf_encoding(envelope).context("not an envelope")?;
    for kind in expected {
        match envelope.payload_and_signing_key(DOMAIN.into(), kind.payload_type()) {
            Ok((payload, key)) => {
                ensure!(key.to_peer_id() == signer, "the envelope is signed by another peer: {}", key.to_peer_id());
                return Ok((*kind, payload.to_vec()));
            }
            Err(ReadPayloadError::UnexpectedPayloadType { .. }) => continue,
            Err(ReadPayloadError::InvalidSignature) => bail!("the envelope's signature does not verify"),
        }
    }
    bail!("the payload type is none of {expected:?}, which may come now")
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::wire::tests::unhex;

    pub fn requester() -> Keypair {
        Keypair::from_protobuf_encoding(&unhex(concat!(
            "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d",
            "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
        )))
        .unwrap()
    }

    pub fn provider() -> Keypair {
        Keypair::ed25519_from_bytes([0; 32]).unwrap()
    }
}
