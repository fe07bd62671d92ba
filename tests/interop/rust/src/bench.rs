//! `peer bench`: what it measures is in tests/interop/README.md. An implementation brings a `dialer` for it.

use std::{
    future::Future,
    sync::{
        atomic::{AtomicUsize, Ordering::Relaxed},
        Arc,
    },
    time::{Duration, Instant},
};

use anyhow::{bail, ensure, Context, Result};
use futures::{AsyncReadExt, AsyncWriteExt};
use serde_json::{json, Value};
use tokio::{
    sync::{mpsc, Semaphore},
    task::JoinSet,
    time::timeout,
};

use crate::{
    console::{input_end, print},
    dialer::{Dialer, Target},
    envelope::{Keypair, PeerId},
    json::Object,
    requester::{self, Question},
    streams::{Opener, Stream},
    wire,
};

const PROMPT: &str = "Hello, P2P AI!";

/// Tasks of `--tasks` that don't count.
const WARM_UP: usize = 200;
/// Connections of `--hold` that are being opened at once.
const OPENING: usize = 16;
/// Of bulk, in one write.
const BLOCK: usize = 64 << 10;
/// For each thing that is measured.
const PATIENCE: Duration = Duration::from_secs(600);

/// What every implementation's dialer does with its `step` and `identified`.
impl Dialer {
    async fn until_identified(&mut self) -> Result<()> {
        while !self.identified {
            self.step().await?;
        }
        Ok(())
    }

    /// Does the work, and what the connection needs meanwhile.
    async fn during<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let lost = async {
            loop {
                if let Err(error) = self.step().await {
                    break error;
                }
            }
        };
        tokio::select! {
            done = work => done,
            error = lost => Err(error),
        }
    }
}

#[derive(Default)]
struct Plan {
    pings: usize,
    tasks: usize,
    samples: bool,
    total: usize,
    concurrency: usize,
    connections: usize,
    parallel: usize,
    bulk: u64,
    hold: usize,
}

pub async fn run(arguments: &[String]) -> Result<()> {
    let (mut address, mut muxers, mut plan) = (None, None, Plan::default());
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        let mut number = || value()?.parse::<usize>().with_context(|| argument.clone());
        match argument.as_str() {
            "--pings" => plan.pings = number()?,
            "--tasks" => plan.tasks = number()?,
            "--samples" => plan.samples = true,
            "--total" => plan.total = number()?,
            "--concurrency" => plan.concurrency = number()?,
            "--connections" => plan.connections = number()?,
            "--parallel" => plan.parallel = number()?,
            "--bulk" => plan.bulk = number()? as u64,
            "--hold" => plan.hold = number()?,
            "--muxer" => muxers = Some(value()?.as_str()),
            text if text.starts_with('/') => address = Some(text),
            _ => bail!("unknown argument {argument:?}"),
        }
    }
    let target = Target::new(address.context("bench needs an address")?, muxers)?;
    ensure!(plan.tasks == 0 || plan.tasks > WARM_UP, "--tasks has to be above {WARM_UP}");
    ensure!(plan.tasks > 0 || !plan.samples, "--samples goes with --tasks");
    ensure!((plan.total > 0) == (plan.concurrency > 0), "--total and --concurrency go together");
    ensure!(plan.total == 0 || plan.total > 2 * plan.concurrency, "--total has to be above twice --concurrency");
    ensure!((plan.connections > 0) == (plan.parallel > 0), "--connections and --parallel go together");

    let mut report = Report::default();
    if plan.pings > 0 {
        report.add("pings", pings(&target, plan.pings)).await?;
    }
    if plan.tasks > 0 {
        report.add("tasks", tasks(&target, plan.tasks, plan.samples)).await?;
    }
    if plan.total > 0 {
        report.add("concurrent tasks", concurrent_tasks(&target, plan.total, plan.concurrency)).await?;
    }
    if plan.connections > 0 {
        report.add("connections", connections(&target, plan.connections, plan.parallel)).await?;
    }
    if plan.bulk > 0 {
        report.add("bulk", bulk(&target, plan.bulk << 20)).await?;
    }
    if report.measured > 1 {
        print(Value::Object(report.all));
    }
    if plan.hold > 0 {
        hold(&target, plan.hold).await.context("hold failed")?;
    }
    Ok(())
}

#[derive(Default)]
struct Report {
    all: Object,
    measured: usize,
}

impl Report {
    async fn add(&mut self, what: &str, figures: impl Future<Output = Result<Figures>>) -> Result<()> {
        let figures = timeout(PATIENCE, figures).await.with_context(|| format!("{what} take too long"))?;
        let (muxer, figures) = figures.with_context(|| format!("{what} failed"))?;
        let mut line = json!({"event": "bench", "muxer": muxer});
        for (name, value) in figures {
            line[name] = value;
        }
        print(line.clone());
        if let Value::Object(line) = line {
            self.all.extend(line);
        }
        self.measured += 1;
        Ok(())
    }
}

/// The muxer, and members of the line.
type Figures = (Option<&'static str>, Vec<(&'static str, Value)>);

async fn pings(target: &Target, count: usize) -> Result<Figures> {
    let mut dialer = Dialer::new(target, false)?;
    dialer.dial().await?;
    let (opener, peer) = (dialer.opener(), target.peer);
    let times = async move {
        let mut stream = opener.open(peer, wire::PING).await?;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let payload: [u8; 32] = rand::random();
            let mut answer = [0; 32];
            let start = Instant::now();
            stream.write_all(&payload).await?;
            stream.flush().await?;
            stream.read_exact(&mut answer).await?;
            ensure!(answer == payload, "a ping was answered with other bytes");
            times.push(start.elapsed());
        }
        Ok(times)
    };
    let times = dialer.during(times).await?;
    dialer.close().await?;
    Ok((dialer.muxer(), vec![("ping_ms", distribution(times))]))
}

/// The time to the verified result.
async fn task(opener: &Opener, key: &Keypair, peer: PeerId) -> Result<Duration> {
    let start = Instant::now();
    let question = Question::new(key, peer, PROMPT, json!({}))?;
    let mut stream = opener.open(peer, wire::TASK).await?;
    requester::answer(&mut stream, &question, peer).await?.completed()?;
    let time = start.elapsed();
    requester::end(&mut stream).await?;
    Ok(time)
}

async fn tasks(target: &Target, count: usize, samples: bool) -> Result<Figures> {
    let mut dialer = Dialer::new(target, false)?;
    dialer.dial().await?;
    dialer.until_identified().await?;
    let (opener, key, peer) = (dialer.opener(), dialer.key().clone(), target.peer);
    let times = async move {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            times.push(task(&opener, &key, peer).await?);
        }
        Ok(times.split_off(WARM_UP))
    };
    let times = dialer.during(times).await?;
    dialer.close().await?;
    let samples = samples.then(|| times.iter().copied().map(milliseconds).collect());
    let mut figures = distribution(times);
    if let Some(samples) = samples {
        figures["samples"] = samples;
    }
    Ok((dialer.muxer(), vec![("task_seq_ms", figures)]))
}

async fn concurrent_tasks(target: &Target, total: usize, concurrency: usize) -> Result<Figures> {
    let mut dialer = Dialer::new(target, false)?;
    dialer.dial().await?;
    dialer.until_identified().await?;
    let left = Arc::new(AtomicUsize::new(total));
    let mut workers = JoinSet::new();
    for _ in 0..concurrency {
        let (left, opener, key, peer) = (left.clone(), dialer.opener(), dialer.key().clone(), target.peer);
        workers.spawn(async move {
            let mut done = Vec::new();
            while take(&left) {
                let time = task(&opener, &key, peer).await?;
                done.push((Instant::now(), time));
            }
            anyhow::Ok(done)
        });
    }
    let mut done = dialer.during(collect(workers)).await?;
    dialer.close().await?;
    done.sort_by_key(|(end, _)| *end);
    let span = done[total - 1].0 - done[concurrency - 1].0;
    let latencies: Vec<_> = done[concurrency..].iter().map(|(_, time)| *time).collect();
    let figures = json!({
        "in_flight": concurrency,
        "total": total,
        "per_s": per_second(latencies.len(), span),
        "latency_ms": distribution(latencies),
    });
    Ok((dialer.muxer(), vec![("task_conc", figures)]))
}

async fn connections(target: &Target, count: usize, parallel: usize) -> Result<Figures> {
    let (muxer, span, connected) = connection_round(target, count, parallel, false).await?;
    let (_, _, answered) = connection_round(target, count, parallel, true).await?;
    let figures = vec![
        ("connect_ms", distribution(connected)),
        ("conn", json!({"per_s": per_second(count, span)})),
        ("first_byte_ms", distribution(answered)),
    ];
    Ok((muxer, figures))
}

/// The muxer, the time that the round took, and the time for each connection: until it is there, or to a ping's answer.
async fn connection_round(
    target: &Target,
    count: usize,
    parallel: usize,
    ping: bool,
) -> Result<(Option<&'static str>, Duration, Vec<Duration>)> {
    let left = Arc::new(AtomicUsize::new(count));
    let dialers = (0..parallel).map(|_| Dialer::new(target, false)).collect::<Result<Vec<_>>>()?;
    let mut workers = JoinSet::new();
    let start = Instant::now();
    for mut dialer in dialers {
        let (left, peer) = (left.clone(), target.peer);
        workers.spawn(async move {
            let mut times = Vec::new();
            while take(&left) {
                let start = Instant::now();
                dialer.dial().await?;
                if ping {
                    let opener = dialer.opener();
                    dialer.during(first_byte(opener, peer)).await?;
                }
                times.push((dialer.muxer(), start.elapsed()));
                dialer.close().await?;
            }
            anyhow::Ok(times)
        });
    }
    let times = collect(workers).await?;
    let span = start.elapsed();
    let muxer = times.first().and_then(|(muxer, _)| *muxer);
    Ok((muxer, span, times.into_iter().map(|(_, time)| time).collect()))
}

async fn first_byte(opener: Opener, peer: PeerId) -> Result<()> {
    let mut stream = opener.open(peer, wire::PING).await?;
    let payload: [u8; 32] = rand::random();
    stream.write_all(&payload).await?;
    stream.flush().await?;
    let mut answer = [0; 32];
    let count = stream.read(&mut answer).await?;
    ensure!(count > 0 && answer[..count] == payload[..count], "a ping was not answered with its bytes");
    Ok(())
}

async fn bulk(target: &Target, bytes: u64) -> Result<Figures> {
    let mut dialer = Dialer::new(target, true)?;
    dialer.dial().await?;
    let (opener, peer) = (dialer.opener(), target.peer);
    let both = async move {
        let start = Instant::now();
        perf(opener.open(peer, wire::PERF).await?, bytes, 0).await.context("up")?;
        let up = start.elapsed();
        let start = Instant::now();
        perf(opener.open(peer, wire::PERF).await?, 0, bytes).await.context("down")?;
        Ok((up, start.elapsed()))
    };
    let (up, down) = dialer.during(both).await?;
    dialer.close().await?;
    let figure = |time: Duration| {
        let rate = bytes as f64 / time.as_secs_f64() / 1e6;
        json!({"bytes": bytes, "ms": milliseconds(time), "MBps": (rate * 10.0).round() / 10.0})
    };
    Ok((dialer.muxer(), vec![("bulk_up", figure(up)), ("bulk_down", figure(down))]))
}

async fn perf(mut stream: Stream, up: u64, down: u64) -> Result<()> {
    stream.write_all(&down.to_be_bytes()).await?;
    write_zeros(&mut stream, up).await?;
    stream.close().await?;
    let received = read_all(&mut stream).await?;
    ensure!(received == down, "{received} bytes came instead of {down}");
    Ok(())
}

/// The other side of it.
pub async fn serve_perf(stream: &mut Stream) -> Result<()> {
    let mut down = [0; 8];
    stream.read_exact(&mut down).await?;
    read_all(stream).await?;
    write_zeros(stream, u64::from_be_bytes(down)).await?;
    Ok(stream.close().await?)
}

pub async fn serve_ping(mut stream: Stream) -> Result<()> {
    let mut payload = [0; 32];
    loop {
        stream.read_exact(&mut payload).await?;
        stream.write_all(&payload).await?;
        stream.flush().await?;
    }
}

async fn write_zeros(stream: &mut Stream, mut count: u64) -> Result<()> {
    let block = vec![0; BLOCK];
    while count > 0 {
        let size = count.min(BLOCK as u64);
        stream.write_all(&block[..size as usize]).await?;
        count -= size;
    }
    Ok(())
}

async fn read_all(stream: &mut Stream) -> Result<u64> {
    let mut block = vec![0; 4 * BLOCK];
    let mut received = 0;
    loop {
        match stream.read(&mut block).await? {
            0 => return Ok(received),
            size => received += size as u64,
        }
    }
}

async fn hold(target: &Target, count: usize) -> Result<()> {
    let opening = Arc::new(Semaphore::new(OPENING));
    let (opened, mut openings) = mpsc::channel(OPENING);
    let mut holders = JoinSet::new();
    for _ in 0..count {
        let (target, opening, opened) = (target.clone(), opening.clone(), opened.clone());
        holders.spawn(async move {
            let permit = opening.acquire().await?;
            let mut dialer = Dialer::new(&target, false)?;
            dialer.dial().await?;
            dialer.until_identified().await?;
            drop(permit);
            opened.send(()).await?;
            dialer.during(futures::future::pending::<Result<()>>()).await
        });
    }
    let lost = async move {
        match holders.join_next().await {
            Some(lost) => lost?,
            None => futures::future::pending().await,
        }
    };
    let held = async move {
        for _ in 0..count {
            openings.recv().await;
        }
        print(json!({"event": "held", "n": count}));
        input_end().await;
        Ok(())
    };
    tokio::select! {
        lost = lost => lost,
        held = held => held,
    }
}

fn take(left: &AtomicUsize) -> bool {
    left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
}

async fn collect<T: 'static>(mut workers: JoinSet<Result<Vec<T>>>) -> Result<Vec<T>> {
    let mut all = Vec::new();
    while let Some(some) = workers.join_next().await {
        all.append(&mut some??);
    }
    Ok(all)
}

fn per_second(count: usize, span: Duration) -> f64 {
    (count as f64 / span.as_secs_f64() * 10.0).round() / 10.0
}

fn distribution(mut times: Vec<Duration>) -> Value {
    times.sort();
    let rank = |percent: usize| milliseconds(times[(times.len() * percent).div_ceil(100).max(1) - 1]);
    json!({"n": times.len(), "min": rank(0), "p50": rank(50), "p99": rank(99), "max": rank(100)})
}

pub fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let figures = |count: u64| distribution((1..=count).rev().map(Duration::from_millis).collect());
        assert_eq!(figures(1), json!({"n": 1, "min": 1.0, "p50": 1.0, "p99": 1.0, "max": 1.0}));
        assert_eq!(figures(2), json!({"n": 2, "min": 1.0, "p50": 1.0, "p99": 2.0, "max": 2.0}));
        assert_eq!(figures(200), json!({"n": 200, "min": 1.0, "p50": 100.0, "p99": 198.0, "max": 200.0}));
    }
}
