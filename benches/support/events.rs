//! What the benches send: text that compresses as real events do.

use std::io::Write;

/// Lines like those of an event log, `len` bytes in all, the same in every run.
pub(crate) fn events(len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 200);
    let mut seed = 1u64;
    while out.len() < len {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (user, item, price) = (seed >> 44, (seed >> 30) & 0x3fff, (seed >> 20) & 0x3ff);
        let kind = ["created", "paid", "shipped", "returned"][(seed >> 62) as usize];
        // Writing into memory cannot fail.
        let _ = write!(
            out,
            r#"{{"order":"{seed:016x}","user":{user},"item":"sku-{item}","price":{price}.99,"status":"{kind}"}}"#
        );
    }
    out.truncate(len);
    out
}
