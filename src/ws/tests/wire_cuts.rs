//! Bytes to messages: every cut, every violation.

use super::super::wire::{Incoming, Reader, frame, unframe};

/// A client's frame. A mask of zeros is legal; real ones are tested by the stock client.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let short = if payload.len() < 126 { &[][..] } else { &(payload.len() as u16).to_be_bytes() };
    let second = 0x80 | if short.is_empty() { payload.len() as u8 } else { 126 };
    [&[first, second], short, &[0; 4], payload].concat()
}

#[test]
fn messages_survive_any_cut() {
    let parts = [masked(1, "grüß ".as_bytes()), masked(0x89, b"?"), masked(0x80, b"dich"), masked(0x81, &[b'z'; 999])];
    for piece in [1, 2, 3, 7, 125, 4096] {
        let (mut reader, mut heard) = (Reader::new(1000), vec![]);
        for bytes in parts.concat().chunks_mut(piece) {
            let hears = |message: Incoming<'_>| {
                heard.push(format!("{message:?}"));
                Ok(())
            };
            reader.feed(bytes, hears).unwrap();
        }
        assert_eq!(heard[..2], [r#"Ping([63])"#, r#"Text("grüß dich")"#]);
        assert_eq!(heard[2].len(), 999 + r#"Text("")"#.len());
    }
}

#[test]
fn violations_earn_their_code() {
    let cases = [
        (1002, "not masked", vec![0x81, 2, b'h', b'i']),
        (1002, "reserved bit", masked(0xc1, b"hi")),
        (1002, "unknown data opcode", masked(0x83, b"")),
        (1002, "unknown control opcode", masked(0x8b, b"")),
        (1002, "ping in fragments", masked(0x09, b"")),
        (1002, "long ping", masked(0x89, &[0; 126])),
        (1002, "continuation of nothing", masked(0x80, b"x")),
        (1002, "message inside a message", [masked(1, b"a"), masked(0x81, b"b")].concat()),
        (1002, "length not in its shortest form", vec![0x81, 0x80 | 126, 0, 5, 0, 0, 0, 0]),
        (1002, "half a close code", masked(0x88, b"\x03")),
        (1002, "close code not allowed", masked(0x88, &1005u16.to_be_bytes())),
        (1007, "close reason not UTF-8", masked(0x88, b"\x03\xe8\xff")),
        (1007, "text not UTF-8", masked(0x81, b"\xff\xfe")),
        (1007, "character cut by the end", [masked(1, b"\xe2\x82"), masked(0x80, b"")].concat()),
        (1009, "too big, by the head alone", [&[0x81, 0xff][..], &(10u64 << 20).to_be_bytes(), &[0; 4]].concat()),
        (1009, "half the address space", [&[0x82, 0xff][..], &(1u64 << 63).to_be_bytes(), &[0; 4]].concat()),
        (1009, "too big, in fragments", [masked(1, &[b'a'; 600]), masked(0x80, &[b'a'; 600])].concat()),
    ];
    for (code, name, mut bytes) in cases {
        assert_eq!(Reader::new(1000).feed(&mut bytes, |_| Ok(())).map_err(|it| it.code), Err(code), "{name}");
    }
}

#[test]
fn frames_of_ours_are_walked_whole() {
    let parts = [frame(1, b"a"), frame(2, &[7; 200]), frame(1, &[b'x'; 70_000])];
    let all = parts.concat();
    let heard: Vec<_> = unframe(&all).map(|it| (it.0, it.1.len())).collect();
    assert_eq!(heard, [(1, 1), (2, 200), (1, 70_000)]);
}
