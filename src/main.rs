//! The executable: hands its arguments to [`nodenomad::cmd`], which ends with the exit code.

/// Threads allocate and free each other's memory all the time here; this allocator is made for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    nodenomad::node::heap::keep_freed();
    nodenomad::cmd::main(std::env::args_os())
}
