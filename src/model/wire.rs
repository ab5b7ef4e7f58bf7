//! The messages of `proto/model.proto`: what logs and files hold.

#![allow(missing_docs, clippy::doc_markdown)]

include!(concat!(env!("OUT_DIR"), "/nodenomad.model.rs"));
