//! The same over TCP, health, reflection, and going away while clients do not.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use contract::order::v1::WatchOrderRequest;
use contract::order::v1::order_query_service_client::OrderQueryServiceClient;
use ctx::Role;
use fault::{Fault, Kind};
use hyper::client::conn::http2::handshake;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serve::{Drain, Mesh, Peer, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::ServiceExt;

use crate::house::{House, bearer, say};

const GET_POLICY: &str = "/ordermesh.identity.v1.PolicyService/GetPolicy";
const QUICK: Drain = Drain { lame_duck: Duration::from_millis(50), limit: Duration::from_millis(400) };

struct Running {
    house: House,
    address: SocketAddr,
    shutdown: CancellationToken,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

async fn running(drain: Drain) -> Running {
    let house = House::new();
    let server = Server::bind(([127, 0, 0, 1], 0).into(), drain).await.expect("a free port");
    let address = server.local_addr().expect("bound");
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(server.run(house.mesh.front(), shutdown.clone()));
    Running { house, address, shutdown, server }
}

impl Running {
    async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).expect("a URL").connect().await.expect("connects")
    }

    /// A bare HTTP/2 connection: tonic's channel has a timer of its own for `grpc-timeout`.
    async fn peer(&self) -> Peer {
        let address = self.address;
        let stream = TcpStream::connect(address).await.expect("connects");
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("speaks HTTP/2");
        tokio::spawn(connection);
        Peer::new(tower::service_fn(move |mut request: http::Request<tonic::body::Body>| {
            let mut sender = sender.clone();
            let uri = format!("http://{address}{}", request.uri().path());
            *request.uri_mut() = uri.parse().expect("a URL");
            async move { Ok(sender.send_request(request).await?.map(tonic::body::Body::new)) }
        }))
    }

    /// Drains and says how long it took.
    async fn stop(self) -> Duration {
        let started = Instant::now();
        self.shutdown.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(60), self.server).await.expect("ends in bounded time");
        ended.expect("no panic").expect("no failure");
        started.elapsed()
    }
}

#[tokio::test]
async fn over_tcp_the_same_rules_hold() {
    let running = running(QUICK).await;
    let peer = running.peer().await;
    let token = bearer(&running.house.token(&[Role::Csr]));
    let tenant = running.house.tenant.to_string();
    let good = [("authorization", token.as_str()), ("x-tenant-id", tenant.as_str())];
    assert_eq!(say(peer.clone(), GET_POLICY, &good, Bytes::new()).await.code, Code::Ok);
    assert_eq!(say(peer.clone(), GET_POLICY, &[], Bytes::new()).await.reason, "TOKEN_INVALID");
    let twice = [good[0], good[1], good[1]];
    assert_eq!(say(peer.clone(), GET_POLICY, &twice, Bytes::new()).await.reason, "TENANT_INVALID");
    let customer = bearer(&running.house.token(&[Role::Customer]));
    let said = say(peer.clone(), GET_POLICY, &[("authorization", &customer)], Bytes::new()).await;
    assert_eq!(said.reason, "ROLE_MISSING");
    let said = say(peer.clone(), GET_POLICY, &good, vec![0; 70_000].into()).await;
    assert_eq!(said.reason, "REQUEST_TOO_LARGE");
    let said = say(peer.clone(), "/ordermesh.order.v1.OrderService/Nothing", &good, Bytes::new()).await;
    assert_eq!(said.code, Code::Unimplemented);
    running.house.log.policy_silent.store(1, Ordering::SeqCst);
    let hurried = [good[0], ("grpc-timeout", "60m")];
    let said = say(peer, GET_POLICY, &hurried, Bytes::new()).await;
    assert_eq!(said.code, Code::DeadlineExceeded, "ours, not tonic's CANCELLED");
    running.stop().await;
}

/// So many calls at once that wait for their answers; they end when these are dropped.
async fn crowd(running: &Running, token: &str, many: u32) -> JoinSet<()> {
    running.house.log.policy_calls.store(0, Ordering::SeqCst);
    let mut calls = JoinSet::new();
    let mut peer = running.peer().await;
    for call in 0..many {
        // A connection takes 64 at once.
        if call % 32 == 31 {
            peer = running.peer().await;
        }
        let (peer, token, tenant) = (peer.clone(), bearer(token), running.house.tenant.to_string());
        calls.spawn(async move {
            let headers = [("authorization", token.as_str()), ("x-tenant-id", tenant.as_str())];
            say(peer, GET_POLICY, &headers, Bytes::new()).await;
        });
    }
    let started = Instant::now();
    while running.house.log.policy_calls.load(Ordering::SeqCst) < many {
        assert!(started.elapsed() < Duration::from_secs(60), "not all have come");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_who_call_the_port_themselves_are_waited_for_and_services_are_not() {
    let running = running(QUICK).await;
    running.house.log.policy_silent.store(1, Ordering::SeqCst);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let many = u32::try_from(cores * 8 + 4).expect("few");
    let services = crowd(&running, &running.house.service_token("order"), many).await;
    assert!(!ctx::foreground::is_busy(), "services can wait");
    drop(services);
    let people = crowd(&running, &running.house.token(&[Role::Csr]), many).await;
    assert!(ctx::foreground::is_busy(), "people cannot");
    drop(people);
    let started = Instant::now();
    while ctx::foreground::is_busy() {
        assert!(started.elapsed() < Duration::from_secs(60), "they have left");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn a_peer_in_another_process_is_reached_like_one_in_this() {
    let far = running(QUICK).await;
    let near = Mesh::new(far.house.mesh_key.clone());
    near.remote("identity", format!("http://{}", far.address)).expect("a URL");
    near.remote("order", "http://127.0.0.1:9".into()).expect("a URL");
    let token = bearer(&far.house.token(&[Role::Csr]));
    let headers = [("authorization", token.as_str())];
    assert_eq!(say(near.plain("identity"), GET_POLICY, &headers, Bytes::new()).await.code, Code::Ok);
    let away = say(near.plain("order"), "/ordermesh.order.v1.OrderQueryService/GetOrder", &headers, Bytes::new()).await;
    assert_eq!((away.code, away.reason.as_str()), (Code::Unavailable, "PEER_UNREACHABLE"));
    far.house.log.policy_silent.store(1, Ordering::SeqCst);
    let hurried = [headers[0], ("grpc-timeout", "80m")];
    let said = say(near.plain("identity"), GET_POLICY, &hurried, Bytes::new()).await;
    assert_eq!(said.code, Code::DeadlineExceeded, "{said:?}");
    far.stop().await;
}

#[tokio::test]
async fn health_and_reflection_need_no_token() {
    let running = running(QUICK).await;
    let mut health = HealthClient::new(running.channel().await);
    for service in ["", "ordermesh.identity.v1.PolicyService", "ordermesh.order.v1.OrderService"] {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.expect("known").into_inner();
        assert_eq!(answer.status, 1, "{service} serves");
    }
    assert_eq!(
        health.check(HealthCheckRequest { service: "no.Such".into() }).await.expect_err("unknown").code(),
        Code::NotFound
    );

    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let list = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(running.channel().await);
    let mut answers = client.server_reflection_info(tokio_stream::once(list)).await.expect("open").into_inner();
    let answer = answers.next().await.expect("one").expect("good");
    let Some(MessageResponse::ListServicesResponse(services)) = answer.message_response else { panic!("{answer:?}") };
    assert!(services.service.iter().any(|service| service.name == "ordermesh.order.v1.OrderService"));
    drop(answers);
    running.stop().await;
}

#[tokio::test]
async fn what_is_not_grpc_is_not_served() {
    let running = running(QUICK).await;
    let request = http::Request::post(GET_POLICY)
        .header("content-type", "application/json")
        .header("authorization", bearer(&running.house.token(&[Role::Csr])))
        .body(tonic::body::Body::empty())
        .expect("a request");
    let response = running.peer().await.oneshot(request).await.expect("an answer");
    assert_eq!(response.headers()["grpc-status"], "12");
    assert_eq!(running.house.log.reached(), 0);
    running.stop().await;
}

#[tokio::test]
async fn silent_connections_and_open_streams_do_not_hold_up_the_end() {
    let running = running(QUICK).await;
    let address = running.address;
    let mut silent = Vec::new();
    for sent in [&b""[..], b"", b"", b"PRI * HTTP/2.0\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(sent).await.expect("sends");
        silent.push(stream);
    }
    let mut client = OrderQueryServiceClient::new(running.channel().await);
    let mut request = tonic::Request::new(WatchOrderRequest::default());
    let token = bearer(&running.house.token(&[Role::Customer]));
    request.metadata_mut().insert("authorization", token.parse().expect("ascii"));
    let mut orders = client.watch_order(request).await.expect("a stream").into_inner();
    assert!(orders.message().await.expect("one order").is_some());
    let mut health = HealthClient::new(running.channel().await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.expect("a stream").into_inner();
    assert_eq!(watch.next().await.expect("now").expect("good").status, 1);

    let stopped = tokio::spawn(running.stop());
    assert_eq!(watch.next().await.expect("told").expect("good").status, 2, "not serving any more");
    let ended = Fault::from(orders.message().await.expect_err("the stream ends"));
    assert_eq!((ended.kind(), ended.reason()), (Kind::Unavailable, "SHUTTING_DOWN"));
    let took = stopped.await.expect("no panic");
    assert!(took < QUICK.lame_duck + QUICK.limit + Duration::from_secs(7), "{took:?}");
    for mut stream in silent {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "the socket is closed, not left behind");
    }
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn an_idle_server_goes_away_at_once() {
    let running = running(Drain { lame_duck: Duration::ZERO, limit: Duration::from_secs(40) }).await;
    assert!(running.stop().await < Duration::from_secs(20));
}
