//! Compiles the messages in `proto/`, without `protoc`.

use std::io::{Error, Result};

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=proto");
    // `Bytes` fields share the memory of the frame they were decoded from.
    let all = protox::compile(["proto/net.proto"], ["proto"]).map_err(Error::other)?;
    prost_build::Config::new()
        .bytes(["."])
        .extern_path(".nodenomad.model", "crate::model::wire")
        .compile_fds(all)?;
    // After the other: that one leaves an empty file for the package it takes from elsewhere.
    let model = protox::compile(["proto/model.proto"], ["proto"]).map_err(Error::other)?;
    // Few jobs are splits or merges, and all would be as large.
    prost_build::Config::new()
        .bytes(["."])
        .boxed(".nodenomad.model.JobRecord.split")
        .boxed(".nodenomad.model.JobRecord.merge")
        .compile_fds(model)
}
