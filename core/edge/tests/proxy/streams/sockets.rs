//! Streams to servers on sockets of the file system.

use super::{End, Rig, Server, word};
use crate::rig::{Front, eventually};
use lockstep_edge::config::OnSwitch;
use lockstep_edge::proxy::ProxySettings;
use lockstep_policy::{Side, Sides};

#[tokio::test]
async fn a_stream_to_a_socket_keeps_its_halves_and_follows_its_listeners_word() {
    let (a, b) = (Server::start("a", "127.0.0.1:0").await, Server::start("b", "[::1]:0").await);
    let dir = tempfile::tempdir().unwrap();
    let front = Front::open(&dir.path().join("app.sock"), a.address);
    let servers = Sides { a: vec![front.name()], b: vec![b.address.to_string()] };
    let rig = Rig::of(a, b, servers, word(OnSwitch::Reset), ProxySettings::default(), |listener| listener);
    rig.serve(Side::A, 1);
    let mut half = rig.greeted_by("a").await;
    let long = "0123456789".repeat(50_000);
    half.says(&long).await;
    half.hears(&long).await;
    tokio::io::AsyncWriteExt::shutdown(&mut half.0).await.unwrap();
    half.ends_with(".", End::Fin).await;

    let mut other = rig.greeted_by("a").await;
    rig.serve(Side::B, 2);
    other.ends_with("", End::Reset).await;
    rig.greeted_by("b").await;
    eventually("nothing is left at a", || rig.is_left(Side::A)).await;
    rig.serve(Side::A, 3);
    rig.greeted_by("a").await;
}
