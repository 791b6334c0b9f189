//! Instructions of one pass of every stage, with caches: `cargo bench -p ripsaw-benches --bench callgrind`. Needs valgrind
//! and `iai-callgrind-runner` of the same version; `check.py` needs valgrind only.

#![expect(missing_docs, reason = "the macros of iai-callgrind make public items without any")]

use benches::Run;
use iai_callgrind::{library_benchmark, library_benchmark_group, main};
use std::hint::black_box;

/// A stage whose working memory has its size already.
fn ready(name: &str) -> Run {
    let mut pass = (benches::stage(name).expect("a stage of this name").make)();
    pass();
    pass
}

#[library_benchmark]
#[bench::split(args = ("split"), setup = ready)]
#[bench::cri_whole(args = ("cri_whole"), setup = ready)]
#[bench::cri_parts(args = ("cri_parts"), setup = ready)]
#[bench::docker(args = ("docker"), setup = ready)]
#[bench::multiline_records(args = ("multiline_records"), setup = ready)]
#[bench::json_plain(args = ("json_plain"), setup = ready)]
#[bench::json_spaced(args = ("json_spaced"), setup = ready)]
#[bench::json_escaped(args = ("json_escaped"), setup = ready)]
#[bench::json_opened_small(args = ("json_opened_small"), setup = ready)]
#[bench::json_opened_large(args = ("json_opened_large"), setup = ready)]
#[bench::regex_nginx(args = ("regex_nginx"), setup = ready)]
#[bench::regex_apache2(args = ("regex_apache2"), setup = ready)]
#[bench::regex_myapp(args = ("regex_myapp"), setup = ready)]
#[bench::time_iso(args = ("time_iso"), setup = ready)]
#[bench::time_clf(args = ("time_clf"), setup = ready)]
#[bench::grep_literal(args = ("grep_literal"), setup = ready)]
#[bench::grep_class(args = ("grep_class"), setup = ready)]
#[cfg_attr(feature = "engine", bench::kubernetes(args = ("kubernetes"), setup = ready))]
#[bench::write_plain(args = ("write_plain"), setup = ready)]
#[bench::write_escaped(args = ("write_escaped"), setup = ready)]
#[cfg_attr(feature = "outputs", bench::encode_file(args = ("encode_file"), setup = ready))]
#[cfg_attr(feature = "outputs", bench::encode_cloudwatch(args = ("encode_cloudwatch"), setup = ready))]
#[cfg_attr(feature = "outputs", bench::pack_cloudwatch(args = ("pack_cloudwatch"), setup = ready))]
fn stage(mut pass: Run) -> (u64, Run) {
    // The stage is given back, so that its end is not counted.
    (black_box(pass()), pass)
}

library_benchmark_group!(name = stages; benchmarks = stage);
main!(library_benchmark_groups = stages);
