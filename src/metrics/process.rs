//! The process, under the names that all clients of Prometheus use. Read from /proc at each scrape.

use std::fmt;

use procfs::process::{LimitValue, Process as Proc};
use procfs::{ProcResult, boot_time_secs, page_size, ticks_per_second};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

#[derive(Debug)]
pub(super) struct Process;

/// Seconds of CPU time, and the gauges: name, help text, value.
type Figures = (f64, [(&'static str, &'static str, f64); 6]);

fn read() -> ProcResult<Figures> {
    let process = Proc::myself()?;
    let stat = process.stat()?;
    let seconds = |ticks: u64| ticks as f64 / ticks_per_second() as f64;
    let resident = (stat.rss * page_size()) as f64;
    let open_fds = process.fd_count()? as f64;
    let max_fds = match process.limits()?.max_open_files.soft_limit {
        LimitValue::Value(limit) => limit as f64,
        LimitValue::Unlimited => f64::INFINITY,
    };
    let threads = stat.num_threads as f64;
    let started = boot_time_secs()? as f64 + seconds(stat.starttime);
    let gauges = [
        ("resident_memory_bytes", "resident memory", resident),
        ("virtual_memory_bytes", "virtual memory", stat.vsize as f64),
        ("open_fds", "open file descriptors", open_fds),
        ("max_fds", "limit of open file descriptors", max_fds),
        ("threads", "threads of the operating system", threads),
        ("start_time_seconds", "Unix time of the start", started),
    ];
    Ok((seconds(stat.utime + stat.stime), gauges))
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        // A /proc that cannot be read must not cost the other metrics.
        let Ok((cpu_seconds, gauges)) = read() else {
            return Ok(());
        };
        let cpu = ConstCounter::new(cpu_seconds);
        let help = "CPU time, user and system";
        let kind = cpu.metric_type();
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, kind)?)?;
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            let kind = gauge.metric_type();
            let name = format!("process_{name}");
            gauge.encode(encoder.encode_descriptor(&name, help, None, kind)?)?;
        }
        Ok(())
    }
}
