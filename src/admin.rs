//! The admin port: `/health`, `/metrics` and `/scrub`. Runs on the control thread.
//!
//! Invariant: nothing here changes what is stored. A pass of scrubbing is begun only by a request with the header
//! `x-stria-admin`, which no page in a browser can send across origins.

use std::{convert::Infallible, time::Instant};

use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Bytes, service::service_fn};
use hyper_util::rt::TokioIo;

use crate::{
    control::Cores,
    metrics,
    scrub::{self, Pass},
};

/// Header of requests that begin something.
pub const ADMIN_HEADER: &str = "x-stria-admin";

/// What is said of the process.
#[derive(Clone)]
pub struct About {
    /// When it started.
    pub started: Instant,
    /// Data cores.
    pub cores: u16,
    /// `sync` as the operator chose it.
    pub sync: String,
    /// Memory budget, bytes.
    pub memory_bytes: u64,
    /// Periods of deep and light scrubbing in seconds, share of a drive's time in percent, and one in how many
    /// writes is read back.
    pub scrub: (u64, u64, u32, u64),
}

const TEXT: &str = "text/plain; charset=utf-8";

/// Connections served at once.
const CONNECTIONS_MAX: usize = 64;

/// Serves the admin port for ever.
pub async fn serve(listener: tokio::net::TcpListener, cores: Cores, about: About) {
    let slots = std::sync::Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: the S3 port has the better claim to the next one.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let (cores, about) = (cores.clone(), about.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, cores.clone(), about.clone()));
            let connection = hyper::server::conn::http1::Builder::new()
                .header_read_timeout(std::time::Duration::from_secs(10))
                .timer(hyper_util::rt::TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            // A client of the admin port that breaks off is nothing to report.
            let _ = connection.await;
            drop(slot);
        });
    }
}

async fn answer(
    request: Request<hyper::body::Incoming>,
    cores: Cores,
    about: About,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/health") => health(&cores, &about).await,
        (&Method::GET | &Method::HEAD, "/metrics") => metrics_page(&cores, &about).await,
        (&Method::GET | &Method::HEAD, "/scrub") => scrub_page(&cores, &about).await,
        (&Method::POST, "/scrub/light") => begin_scrub(&cores, &request, Pass::Light).await,
        (&Method::POST, "/scrub/deep") => begin_scrub(&cores, &request, Pass::Deep).await,
        (_, "/health" | "/metrics" | "/scrub") => {
            (StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".to_owned())
        }
        (_, "/scrub/light" | "/scrub/deep") => {
            (StatusCode::METHOD_NOT_ALLOWED, TEXT, "only POST\n".to_owned())
        }
        _ => (StatusCode::NOT_FOUND, TEXT, "there are /health, /metrics and /scrub\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static(kind));
    response
        .headers_mut()
        .insert("x-content-type-options", hyper::header::HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// Answers within [`Cores::reports`]'s bound, also when a core hangs. 503 for everything that a human must look at.
async fn health(cores: &Cores, about: &About) -> (StatusCode, &'static str, String) {
    let reports = cores.reports().await;
    let answering: Vec<u16> = reports.iter().map(|report| report.core).collect();
    let silent: Vec<u16> = (0..about.cores).filter(|core| !answering.contains(core)).collect();
    let failed: Vec<u16> =
        reports.iter().filter(|report| report.store.failed).map(|report| report.core).collect();
    let absent: Vec<u16> =
        reports.iter().filter(|report| report.store.absent).map(|report| report.core).collect();
    let repair: u64 = reports.iter().map(|report| report.store.needs_repair).sum();
    let (status, word) = match (silent.is_empty() && failed.is_empty(), repair + absent.len() as u64) {
        (true, 0) => (StatusCode::OK, "ok"),
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "degraded"),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "failing"),
    };
    let body = serde_json::json!({
        "status": word,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": about.started.elapsed().as_secs(),
        "cores": about.cores,
        "cores_not_answering": silent,
        "cores_with_failed_log": failed,
        "cores_with_missing_volume": absent,
        "placement_groups_needing_repair": repair,
        "sync": about.sync,
    });
    (status, "application/json", format!("{body}\n"))
}

async fn begin_scrub(
    cores: &Cores,
    request: &Request<hyper::body::Incoming>,
    pass: Pass,
) -> (StatusCode, &'static str, String) {
    if !request.headers().contains_key(ADMIN_HEADER) {
        return (StatusCode::FORBIDDEN, TEXT, format!("send the header {ADMIN_HEADER}\n"));
    }
    cores.scrub(pass).await;
    (StatusCode::ACCEPTED, TEXT, "begun; GET /scrub says how far it is\n".to_owned())
}

/// How far scrubbing is and what it knows to be damaged.
async fn scrub_page(cores: &Cores, about: &About) -> (StatusCode, &'static str, String) {
    let (period, light_period, share, readback) = about.scrub;
    let reports = cores.reports().await;
    let of_core = |report: &metrics::CoreReport| {
        let scrub = &report.store.scrub;
        serde_json::json!({
            "core": report.core,
            "bytes_verified": scrub.bytes,
            "bytes_of_pass": scrub.pass_bytes,
            "bytes_in_use": scrub.total_bytes,
            "position": scrub.position(report.pg_count),
            "deep_passes": scrub.deep_passes,
            "light_passes": scrub.light_passes,
            "deep_begun_ms": scrub.mark.deep_begun_ms,
            "deep_done_ms": scrub.mark.deep_done_ms,
            "light_done_ms": scrub.mark.light_done_ms,
            "writes_read_back": scrub.read_back,
            "damage_open": scrub.open,
            "read_only": report.store.needs_repair,
        })
    };
    let damage: Vec<_> = cores.damage().await.iter().map(scrub::to_json).collect();
    let body = serde_json::json!({
        "period_seconds": period,
        "light_period_seconds": light_period,
        "share_percent": share,
        "readback_one_in": readback,
        "cores": reports.iter().map(of_core).collect::<Vec<_>>(),
        "damage": damage,
    });
    (StatusCode::OK, "application/json", format!("{body}\n"))
}

async fn metrics_page(cores: &Cores, about: &About) -> (StatusCode, &'static str, String) {
    let mut page = metrics::prometheus(&cores.reports().await);
    page.push_str(&format!(
        "# HELP stria_memory_budget_bytes Memory budget of the process.\n# TYPE stria_memory_budget_bytes gauge\nstria_memory_budget_bytes {}\n",
        about.memory_bytes
    ));
    (StatusCode::OK, "text/plain; version=0.0.4", page)
}
