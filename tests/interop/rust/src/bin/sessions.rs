//! rust-libp2p's yamux and mplex for ../../../differential/run.py: reads inputs on standard input and prints what became of
//! each, a line an input.

use std::{
    fmt::Display,
    io::{self, Read, Write},
    pin::Pin,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc, Mutex,
    },
    task::{Context, Poll, Wake, Waker},
};

use futures::{executor::block_on, AsyncRead, AsyncWrite};
use libp2p::{
    core::{muxing::StreamMuxer, upgrade::InboundConnectionUpgrade},
    yamux,
};

/// A connection whose other side says `input` up to `limit`, and for the time being nothing more.
#[derive(Clone)]
struct Feed(Arc<Mutex<Said>>);

struct Said {
    input: Vec<u8>,
    given: usize,
    limit: usize,
    written: Vec<u8>,
}

impl AsyncRead for Feed {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut said = self.0.lock().unwrap();
        let count = into.len().min(said.limit - said.given);
        if count == 0 {
            return Poll::Pending;
        }
        into[..count].copy_from_slice(&said.input[said.given..said.given + count]);
        said.given += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Feed {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap().written.extend(from);
        Poll::Ready(Ok(from.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Stream<S> {
    label: String,
    stream: Option<S>, // none once we have reset it
    bytes: Vec<u8>,
    ended: bool, // closed or reset; the muxers do not say which
    closing: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    /// Takes what has arrived, and does what the bytes tell the application to do.
    fn take(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) {
        while let Some(stream) = self.stream.as_mut() {
            if self.closing && Pin::new(&mut *stream).poll_close(context).is_ready() {
                self.closing = false;
            }
            if self.ended {
                return;
            }
            // An error is the connection's, which tells it itself.
            let Poll::Ready(Ok(count)) = Pin::new(stream).poll_read(context, buffer) else { return };
            let taken = &buffer[..count];
            self.bytes.extend(taken);
            self.ended = count == 0;
            self.closing |= taken.contains(&b'c');
            if taken.contains(&b'r') {
                self.stream = None;
            }
        }
    }

    fn end(&self) -> &str {
        match (&self.stream, self.ended) {
            (None, _) => "left",
            (_, true) => "ended",
            _ => "open",
        }
    }
}

struct Session<M: StreamMuxer> {
    muxer: M,
    streams: Vec<Stream<M::Substream>>,
    accepted: usize,
    woken: Arc<Woken>,
}

impl<M: StreamMuxer + Unpin> Session<M>
where
    M::Substream: Unpin,
    M::Error: Display,
{
    fn new(muxer: M, opened: usize) -> Self {
        let mut session = Session { muxer, streams: vec![], accepted: 0, woken: Default::default() };
        let waker = Waker::from(session.woken.clone());
        for number in 0..opened {
            match Pin::new(&mut session.muxer).poll_outbound(&mut Context::from_waker(&waker)) {
                Poll::Ready(Ok(stream)) => session.add(format!("o{number}"), stream),
                _ => panic!("a stream could not be opened"),
            }
        }
        session
    }

    fn add(&mut self, label: String, stream: M::Substream) {
        self.streams.push(Stream { label, stream: Some(stream), bytes: vec![], ended: false, closing: false });
    }

    /// Deals with all that has arrived. An error is the session's end.
    fn hear(&mut self, buffer: &mut [u8]) -> Result<(), M::Error> {
        let waker = Waker::from(self.woken.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            self.woken.0.store(false, Ordering::Relaxed);
            if let Poll::Ready(stream) = Pin::new(&mut self.muxer).poll_inbound(&mut context) {
                let label = format!("t{}", self.accepted);
                self.accepted += 1;
                self.add(label, stream?);
                self.woken.0.store(true, Ordering::Relaxed);
            }
            for stream in &mut self.streams {
                stream.take(&mut context, buffer);
            }
            if !self.woken.0.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }
}

/// yamux goes on reading behind a GoAway of its own. None of its frames has a body, as nobody writes here.
fn gone_away(written: &[u8]) -> bool {
    written.chunks(12).any(|header| header[1] == 3)
}

/// One byte, so that it shows which one ends the session, but for the midst of long bodies, which are all zeros.
fn step(frames: &[u8], at: usize) -> usize {
    const AROUND: usize = 100;
    let Some(behind) = at.checked_sub(AROUND) else { return 1 };
    let zeros = frames[behind..].iter().take_while(|byte| **byte == 0).count();
    zeros.saturating_sub(2 * AROUND).max(1)
}

fn run<M: StreamMuxer + Unpin>(
    upgrade: impl InboundConnectionUpgrade<Feed, Output = M>,
    over: fn(&[u8]) -> bool,
    input: &[u8],
) -> String
where
    M::Substream: Unpin,
    M::Error: Display,
{
    let opened = input.first().map_or(0, |first| first % 4);
    let frames = input.get(1..).unwrap_or_default();
    let feed = Feed(Arc::new(Mutex::new(Said { input: frames.to_vec(), given: 0, limit: 0, written: vec![] })));
    let name = upgrade.protocol_info().into_iter().next().unwrap();
    let Ok(muxer) = block_on(upgrade.upgrade_inbound(feed.clone(), name)) else { panic!("no muxer") };
    let mut session = Session::new(muxer, opened.into());
    let mut buffer = vec![0; 1 << 20];
    let mut state = ("alive", input.len(), String::new());
    let mut limit = 0;
    loop {
        feed.0.lock().unwrap().limit = limit;
        if let Err(error) = session.hear(&mut buffer) {
            state = ("dead", 1 + limit, error.to_string());
            break;
        }
        if over(&feed.0.lock().unwrap().written) {
            state = ("dead", 1 + limit, "protocol error".to_string());
            break;
        }
        if limit == frames.len() {
            break;
        }
        limit += step(frames, limit);
    }
    let streams: Vec<String> = session
        .streams
        .iter()
        .map(|stream| {
            let bytes: String = stream.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{}={}:{bytes}", stream.label, stream.end())
        })
        .collect();
    format!("{}\t{}\t{}\t{}", state.0, state.1, state.2, streams.join(","))
}

fn main() -> io::Result<()> {
    let mut all = io::stdin().lock();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut head = [0; 5];
    while all.read_exact(&mut head).is_ok() {
        let mut input = vec![0; u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize];
        all.read_exact(&mut input)?;
        let line = match head[0] {
            b'r' => run(yamux::Config::default(), gone_away, &input),
            b'm' => {
                let mut config = libp2p_mplex::Config::new();
                config.set_max_num_streams(256);
                run(config, |_| false, &input)
            }
            kind => panic!("an input of an unknown kind, {kind}"),
        };
        writeln!(out, "{line}")?;
    }
    out.flush()
}
