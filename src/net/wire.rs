//! The messages of `proto/net.proto`: what members and clients say to each other.

#![allow(missing_docs, clippy::doc_markdown)]

include!(concat!(env!("OUT_DIR"), "/nodenomad.net.rs"));
