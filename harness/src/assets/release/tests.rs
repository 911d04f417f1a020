use std::net::SocketAddr;

use aws_lc_rs::digest::digest;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::assets::NoProgress;
use crate::exit;

/// An archive with these files.
fn archive(files: &[&str]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for name in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(10);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &b"#!/bin/sh\n"[..])
            .unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

const FILES: [&str; 4] = [
    "controller-tools/envtest/etcd",
    "controller-tools/envtest/kube-apiserver",
    "controller-tools/envtest/kubectl",
    "controller-tools/envtest/README",
];

/// Answers every request with `head` and `body`, and then closes.
async fn server(head: String, body: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
        }
    });
    address
}

async fn serving(body: &[u8]) -> SocketAddr {
    server(
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()),
        body.to_vec(),
    )
    .await
}

fn release(address: SocketAddr, of: &[u8]) -> Release {
    crate::tls::install_provider();
    Release {
        url: format!("http://{address}/a.tar.gz"),
        sha512: digest(&SHA512, of).as_ref().to_vec(),
    }
}

fn cache() -> (tempfile::TempDir, Cache) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("assets")).unwrap();
    let cache = Cache::at(dir.path());
    (dir, cache)
}

/// The files in the cache, complete or partial.
fn left(cache: &Cache) -> Vec<String> {
    let entries = std::fs::read_dir(cache.root().join("assets")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn archive_with_the_pinned_hash_is_unpacked() {
    let (_dir, cache) = cache();
    let archive = archive(&FILES);
    release(serving(&archive).await, &archive)
        .fetch(&cache, &NoProgress)
        .await
        .unwrap();
    for tool in TOOLS {
        assert_eq!(cache.find(tool), Some(cache.release().join(tool.file())));
    }
    assert_eq!(std::fs::read_dir(cache.release()).unwrap().count(), 3);
    assert_eq!(left(&cache), [format!("release-{VERSION}")]);
}

#[tokio::test]
async fn archive_with_another_hash_is_rejected() {
    let (_dir, cache) = cache();
    let archive = archive(&FILES);
    let mut altered = archive.clone();
    altered[20] ^= 1;
    let Err(ReleaseError::Bad(error)) = release(serving(&altered).await, &archive)
        .fetch(&cache, &NoProgress)
        .await
    else {
        panic!("an altered archive was taken");
    };
    assert_eq!(exit::code(&error), 3);
    assert!(
        error.to_string().contains("SHA-512") && error.to_string().contains("--build"),
        "{error}"
    );
    assert!(left(&cache).is_empty(), "{:?}", left(&cache));
}

#[tokio::test]
async fn incomplete_archive_is_rejected() {
    let (_dir, cache) = cache();
    let archive = archive(&FILES[..2]);
    let Err(ReleaseError::Bad(error)) = release(serving(&archive).await, &archive)
        .fetch(&cache, &NoProgress)
        .await
    else {
        panic!("half an archive was taken");
    };
    assert!(error.to_string().contains("no kubectl"), "{error}");
    assert!(left(&cache).is_empty(), "{:?}", left(&cache));
}

#[tokio::test]
async fn unreachable_release_allows_another_source() {
    let (_dir, cache) = cache();
    let archive = archive(&FILES);
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let cut = server(
        "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n".into(),
        archive.clone(),
    )
    .await;
    let missing = server(
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into(),
        Vec::new(),
    )
    .await;
    for address in [closed, cut, missing] {
        let fetched = release(address, &archive).fetch(&cache, &NoProgress).await;
        assert!(
            matches!(fetched, Err(ReleaseError::Unreachable(_))),
            "{fetched:?}"
        );
        assert!(left(&cache).is_empty(), "{:?}", left(&cache));
    }
}

#[test]
fn pinned_hashes_are_sha_512() {
    for (os, arch, hash) in PINNED {
        assert_eq!(STANDARD.decode(hash).unwrap().len(), 64, "{os} {arch}");
    }
}
