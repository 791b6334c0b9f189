//! Times per line of every stage: `cargo bench -p ripsaw-benches --bench criterion [NAME]`.

use criterion::{Criterion, Throughput};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("stage");
    group.throughput(Throughput::Elements(benches::LINES));
    for stage in benches::STAGES {
        let mut pass = (stage.make)();
        group.bench_function(stage.name, |bencher| bencher.iter(&mut pass));
    }
    group.finish();
    let mut group = criterion.benchmark_group("openers");
    group.throughput(Throughput::Elements(benches::LINES));
    for (name, mut pass) in benches::openers() {
        group.bench_function(name, |bencher| bencher.iter(&mut pass));
    }
    group.finish();
    criterion.final_summary();
}
