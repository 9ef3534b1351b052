//! Bytes to values and back, with no state: frames, messages, record batches, codecs.
