//! What holds of all batches.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::*;
use super::{LIMIT, only};
use crate::record::Header;
use crate::wire::compress::{Codec, Compression};

/// A record's fields, owned.
#[derive(Clone, Debug)]
struct Fields {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Fields {
    fn headers(&self) -> Vec<Header<'_>> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect()
    }
}

fn any_record() -> impl Strategy<Value = Fields> {
    let bytes = || proptest::option::of(prop_oneof![vec(any::<u8>(), 0..80), vec(Just(7), 0..20_000)]);
    // Half of all times, so that no two are too far apart.
    let timestamp = prop_oneof![i64::MIN / 2..i64::MAX / 2, 1_700_000_000_000i64..1_700_000_000_100];
    let header = (".{0,12}", proptest::option::of(vec(any::<u8>(), 0..20)));
    (timestamp, bytes(), bytes(), vec(header, 0..3)).prop_map(|(timestamp, key, value, headers)| Fields {
        timestamp,
        key,
        value,
        headers,
    })
}

fn any_codec() -> impl Strategy<Value = Codec> {
    let built = |codec: &Codec| cfg!(feature = "zstd") || *codec != Codec::Zstd;
    proptest::sample::select(Codec::ALL.into_iter().filter(built).collect::<Vec<_>>())
}

fn seal(records: &[Fields], codec: Codec) -> SealedBatch {
    let mut builder = BatchBuilder::new(0, 64 << 10);
    for (index, record) in records.iter().enumerate() {
        let before = builder.len();
        let headers = record.headers();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let appended = builder.append(record.timestamp, key, value, &headers);
        assert_eq!(appended, Ok(u32::try_from(index).unwrap()));
        assert!(builder.len() - before <= size_bound(key, value, &headers), "the bound is one");
    }
    builder.seal(Compression::new(codec)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn records_round_trip(records in vec(any_record(), 1..30), codec in any_codec(), base in 0i64..1 << 40) {
        let sealed = seal(&records, codec);
        let mut bytes = sealed.bytes().to_vec();
        set_base_offset(&mut bytes, base);
        let batch = only(&Bytes::from(bytes));
        batch.verify_crc().unwrap();
        prop_assert_eq!(batch.header().max_timestamp, records.iter().map(|it| it.timestamp).max().unwrap());
        let mut cursor = batch.cursor(LIMIT).unwrap();
        let mut owning = cursor.clone();
        let mut read = cursor.records();
        for (offset, record) in (base..).zip(&records) {
            let borrowed = read.next().unwrap().unwrap();
            prop_assert_eq!(borrowed.offset, offset);
            prop_assert_eq!(borrowed.timestamp, record.timestamp);
            prop_assert_eq!(borrowed.key, record.key.as_deref());
            prop_assert_eq!(borrowed.value, record.value.as_deref());
            let headers: Vec<_> = borrowed.headers.map(Result::unwrap).collect();
            prop_assert_eq!(headers, record.headers());
            let raw = owning.next().unwrap().unwrap();
            let value = raw.value.map(|span| owning.share(span));
            prop_assert_eq!(value.as_deref(), record.value.as_deref());
        }
        prop_assert!(read.next().is_none());
        prop_assert!(owning.next().is_none());
    }

    #[test]
    fn a_cut_anywhere_loses_only_the_last_batch(records in vec(any_record(), 1..4), codec in any_codec()) {
        let one = seal(&records, codec).bytes().clone();
        let log = Bytes::from([&one[..], &one[..]].concat());
        for cut in 0..log.len() {
            let mut batches = Batches::new(log.slice(..cut));
            let whole = batches.by_ref().map(Result::unwrap).count();
            prop_assert_eq!(whole, cut / one.len());
            prop_assert_eq!(batches.remaining(), cut % one.len());
        }
    }

    #[test]
    fn records_with_wrong_bytes_never_break_the_reader(
        records in vec(any_record(), 1..6),
        wrong in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = seal(&records, Codec::None).bytes().to_vec();
        for (at, byte) in wrong {
            let at = HEADER_LEN + at.index(bytes.len() - HEADER_LEN);
            bytes[at] = byte;
        }
        let batch = only(&Bytes::from(bytes));
        let mut cursor = batch.cursor(LIMIT).unwrap();
        let mut last = -1;
        for record in cursor.records() {
            let Ok(record) = record else { break };
            prop_assert!(record.offset > last && record.offset <= batch.header().last_offset());
            prop_assert!(record.headers.clone().all(|header| header.is_ok()));
            last = record.offset;
        }
    }

    #[test]
    fn a_stamp_is_as_good_as_a_checksum_of_all(
        records in vec(any_record(), 1..4),
        codec in any_codec(),
        stamps in vec((any::<i64>(), any::<i16>(), any::<i32>(), any::<bool>()), 1..4),
        shared: bool,
    ) {
        let mut sealed = seal(&records, codec);
        for (producer_id, producer_epoch, base_sequence, transactional) in stamps {
            let holder = shared.then(|| sealed.bytes().clone());
            let before = holder.as_deref().map(<[u8]>::to_vec);
            sealed.stamp(Stamp { producer_id, producer_epoch, base_sequence, transactional });
            let batch = only(sealed.bytes());
            batch.verify_crc().unwrap();
            let header = batch.header();
            prop_assert_eq!(header.producer_id, producer_id);
            prop_assert_eq!(header.producer_epoch, producer_epoch);
            prop_assert_eq!(header.base_sequence, base_sequence);
            prop_assert_eq!(header.attributes.is_transactional(), transactional);
            prop_assert_eq!(holder.as_deref(), before.as_deref(), "bytes in a writer must not change");
        }
    }

    #[test]
    fn memory_is_used_again(records in vec(any_record(), 1..10), codec in any_codec()) {
        let expected = seal(&records, codec);
        let mut old = BytesMut::with_capacity(1 << 20);
        old.extend_from_slice(&[0xaa; 5_000]);
        let mut builder = BatchBuilder::reuse(old, 1 << 20);
        for record in &records {
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            builder.append(record.timestamp, key, value, &record.headers()).unwrap();
        }
        let mut sealed = builder.seal(Compression::new(codec)).unwrap();
        prop_assert_eq!(sealed.bytes(), expected.bytes());
        let buffer = match sealed.take_spare() {
            Some(spare) => spare,
            None => sealed.into_buffer().expect("nobody else holds the bytes"),
        };
        prop_assert!(buffer.capacity() >= 1 << 20);
    }
}
