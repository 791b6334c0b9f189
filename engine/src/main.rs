//! The binary `ripsaw`.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    std::process::exit(engine::app::main(std::env::args().collect()));
}
