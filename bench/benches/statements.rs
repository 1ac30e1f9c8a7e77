//! The five operations on every back end: as sea-query statements on Rome's stores and on SQL servers, and as commands of the stores' own clients.
//!
//! One client, one operation at a time. `cargo run --release -p bench --bin report` prints the results as a table.

#![allow(clippy::expect_used, reason = "a benchmark that fails has no other way to say so")]

use bench::back_end::{self, BackEnd, Opened};
use bench::report::RAW;
use bench::subject::Operation;
use criterion::{BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;

const WARM_UP: Duration = Duration::from_millis(500);
const MEASUREMENT: Duration = Duration::from_secs(2);
const SAMPLES: usize = 20;

fn statements(criterion: &mut Criterion) {
    // One thread, as for a single client: what runs beside it would be measured with it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut all = Vec::new();
    for back_end in BackEnd::ALL.into_iter().filter(|back_end| back_end::is_available(*back_end)) {
        let name = back_end.name();
        runtime.block_on(back_end.prepare()).expect(name);
        all.push((back_end, name.to_owned(), runtime.block_on(back_end::relational(back_end)).expect(name)));
        if let Some(opened) = runtime.block_on(back_end::raw(back_end)).expect(name) {
            all.push((back_end, format!("{RAW}{name}"), opened));
        }
    }
    // What is compared is measured within the same minute: the speed of a machine drifts.
    for operation in Operation::ALL {
        for (back_end, name, opened) in &all {
            runtime.block_on(back_end.prepare()).expect(name);
            measure(criterion, &runtime, operation, name, opened);
        }
    }
}

fn measure(criterion: &mut Criterion, runtime: &Runtime, operation: Operation, name: &str, opened: &Opened) {
    let turn = AtomicI64::new(0);
    let mut group = criterion.benchmark_group(operation.name());
    group.warm_up_time(WARM_UP).measurement_time(MEASUREMENT).sample_size(SAMPLES);
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
        bencher.to_async(runtime).iter(|| async {
            let turn = turn.fetch_add(1, Ordering::Relaxed);
            opened.subject.run(operation, turn).await.expect("the operation works");
        });
    });
    group.finish();
}

criterion_group!(benches, statements);
criterion_main!(benches);
