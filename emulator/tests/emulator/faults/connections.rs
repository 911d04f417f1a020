//! Delays, connections without a response, and resets.

use std::io::ErrorKind;
use std::time::Duration;

use kmslab_emulator::Emulator;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{aws_encrypt, aws_key, fault, hits};
use crate::support::{Call, started};

/// What a client reads until the connection ends, and how it ends.
async fn read(emulator: &Emulator, call: &Call) -> (String, Result<(), ErrorKind>) {
    let request = call.signed(emulator.http_addr());
    let mut text = format!(
        "POST / HTTP/1.1\r\ncontent-length: {}\r\n",
        request.body().len()
    );
    for (name, value) in request.headers() {
        text += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    let mut stream = TcpStream::connect(emulator.http_addr()).await.unwrap();
    let bytes = format!("{text}\r\n{}", request.body());
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    (text, end.map(drop).map_err(|error| error.kind()))
}

#[tokio::test]
async fn connection_is_reset_before_or_in_the_middle_of_a_response() {
    let emulator = started().await;
    let call = aws_encrypt(&aws_key(&emulator).await);
    emulator.add_fault(fault("reset")).unwrap();
    let (text, end) = read(&emulator, &call).await;
    assert_eq!((text.as_str(), end), ("", Err(ErrorKind::ConnectionReset)));
    assert_eq!(emulator.requests().outcome("Encrypt", "reset"), 1);
    emulator.clear_faults();

    emulator.add_fault(fault("reset=middle")).unwrap();
    let (text, end) = read(&emulator, &call).await;
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.unwrap().parse().unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(body.len(), length / 2);
    assert_eq!(hits(&emulator), [1]);
}

#[tokio::test]
async fn hang_ends_by_its_time_or_when_the_fault_is_removed() {
    let emulator = started().await;
    let call = aws_encrypt(&aws_key(&emulator).await);
    emulator.add_fault(fault("hang=200ms")).unwrap();
    let (text, end) = read(&emulator, &call).await;
    assert_eq!(
        (text.as_str(), end),
        ("", Ok(())),
        "closed without a response"
    );
    assert_eq!(emulator.requests().outcome("Encrypt", "hang"), 1);
    emulator.clear_faults();

    let name = emulator.add_fault(fault("hang")).unwrap();
    let answered = tokio::join!(call.send(emulator.http_addr()), async {
        while hits(&emulator) != [1] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(emulator.remove_fault(&name));
    });
    assert_eq!(answered.0.status, 200);
    assert!(!emulator.remove_fault(&name));
}

#[tokio::test]
async fn latency_delays_the_response() {
    let emulator = started().await;
    let call = aws_encrypt(&aws_key(&emulator).await);
    emulator.add_fault(fault("latency=150ms..200ms")).unwrap();
    let start = tokio::time::Instant::now();
    assert_eq!(call.send(emulator.http_addr()).await.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(150));
    assert_eq!(hits(&emulator), [1]);
}
