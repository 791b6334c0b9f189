//! The binary `ripsaw`.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // A huge page is 2 MiB of memory for the first byte that is used in it; budgets of a few MiB want small ones.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    std::process::exit(engine::app::main(std::env::args().collect()));
}
