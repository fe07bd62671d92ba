//! Signed envelopes (libp2p's RFC 0002), which litep2p doesn't have.

use anyhow::{bail, ensure, Context, Result};
use litep2p::crypto::{PublicKey, RemotePublicKey};
pub use litep2p::{crypto::ed25519::Keypair, PeerId};

use crate::wire::{length_prefix, Kind};

const DOMAIN: &[u8] = b"p2p-ai-agents";

// The tags of its members, all of which are bytes.
const PUBLIC_KEY: u8 = 1 << 3 | 2;
const PAYLOAD_TYPE: u8 = 2 << 3 | 2;
const PAYLOAD: u8 = 3 << 3 | 2;
const SIGNATURE: u8 = 5 << 3 | 2;

/// The envelope around a payload, without the length of its frame.
pub fn seal(key: &Keypair, kind: Kind, payload: &[u8]) -> Result<Vec<u8>> {
    let signature = key.sign(&signed(kind.payload_type(), payload));
    let public_key = PublicKey::from(key.public()).to_protobuf_encoding();
    let mut envelope = Vec::with_capacity(payload.len() + 160);
    for (tag, value) in [
        (PUBLIC_KEY, public_key.as_slice()),
        (PAYLOAD_TYPE, kind.payload_type()),
        (PAYLOAD, payload),
        (SIGNATURE, &signature),
    ] {
        envelope.push(tag);
        append(&mut envelope, value);
    }
    Ok(envelope)
}

/// The payload of an envelope that `signer` made and whose type is one of `expected`.
pub fn open(envelope: &[u8], signer: PeerId, expected: &[Kind]) -> Result<(Kind, Vec<u8>)> {
    let (mut public_key, mut payload_type, mut payload, mut signature) = Default::default();
    let mut rest = envelope;
    while let Some((tag, after)) = rest.split_first() {
        let member: &mut &[u8] = match *tag {
            PUBLIC_KEY => &mut public_key,
            PAYLOAD_TYPE => &mut payload_type,
            PAYLOAD => &mut payload,
            SIGNATURE => &mut signature,
            _ => bail!("not an envelope: it has a member that none has"),
        };
        rest = after;
        *member = take(&mut rest).context("not an envelope")?;
    }
    let Some(kind) = expected.iter().find(|kind| kind.payload_type() == payload_type) else {
        bail!("the payload type is none of {expected:?}, which may come now");
    };
    let peer = PeerId::from_public_key_protobuf(public_key);
    ensure!(peer == signer, "the envelope is signed by another peer: {peer}");
    let key = RemotePublicKey::from_protobuf_encoding(public_key).context("the envelope's key")?;
    ensure!(key.verify(&signed(payload_type, payload), signature), "the envelope's signature does not verify");
    Ok((*kind, payload.to_vec()))
}

fn signed(payload_type: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 64);
    for part in [DOMAIN, payload_type, payload] {
        append(&mut bytes, part);
    }
    bytes
}

fn append(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend(length_prefix(part.len()));
    bytes.extend_from_slice(part);
}

/// Bytes with their length before them.
fn take<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8]> {
    let mut length = 0;
    for shift in (0..28).step_by(7) {
        let (byte, after) = bytes.split_first().context("it ends within a length")?;
        *bytes = after;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let (taken, after) = bytes.split_at_checked(length).context("it ends within a member")?;
            *bytes = after;
            return Ok(taken);
        }
    }
    bail!("a length takes more than four bytes")
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::wire::tests::unhex;

    pub fn requester() -> Keypair {
        let mut bytes = unhex(concat!(
            "7e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d",
            "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
        ));
        Keypair::try_from_bytes(&mut bytes).unwrap()
    }

    pub fn provider() -> Keypair {
        litep2p::crypto::ed25519::SecretKey::try_from_bytes([0; 32]).unwrap().into()
    }
}
