//! stub
pub struct RealDisk;
