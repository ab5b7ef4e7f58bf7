//! Calls and streams over the simulated network, and once over QUIC.
