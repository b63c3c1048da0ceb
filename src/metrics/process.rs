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

struct Figures {
    cpu_seconds: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    open_fds: f64,
    max_fds: f64,
    threads: f64,
    started: f64,
}

impl Figures {
    fn read() -> ProcResult<Self> {
        let process = Proc::myself()?;
        let stat = process.stat()?;
        let seconds = |ticks: u64| ticks as f64 / ticks_per_second() as f64;
        Ok(Self {
            cpu_seconds: seconds(stat.utime + stat.stime),
            resident_bytes: (stat.rss * page_size()) as f64,
            virtual_bytes: stat.vsize as f64,
            open_fds: process.fd_count()? as f64,
            max_fds: match process.limits()?.max_open_files.soft_limit {
                LimitValue::Value(limit) => limit as f64,
                LimitValue::Unlimited => f64::INFINITY,
            },
            threads: stat.num_threads as f64,
            started: boot_time_secs()? as f64 + seconds(stat.starttime),
        })
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        // A /proc that cannot be read must not cost the other metrics.
        let Ok(figures) = Figures::read() else {
            return Ok(());
        };
        let cpu = ConstCounter::new(figures.cpu_seconds);
        let help = "CPU time, user and system";
        let kind = cpu.metric_type();
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, kind)?)?;
        for (name, help, value) in [
            (
                "resident_memory_bytes",
                "resident memory",
                figures.resident_bytes,
            ),
            (
                "virtual_memory_bytes",
                "virtual memory",
                figures.virtual_bytes,
            ),
            ("open_fds", "open file descriptors", figures.open_fds),
            ("max_fds", "limit of open file descriptors", figures.max_fds),
            (
                "threads",
                "threads of the operating system",
                figures.threads,
            ),
            (
                "start_time_seconds",
                "Unix time of the start",
                figures.started,
            ),
        ] {
            let gauge = ConstGauge::new(value);
            let kind = gauge.metric_type();
            let name = format!("process_{name}");
            gauge.encode(encoder.encode_descriptor(&name, help, None, kind)?)?;
        }
        Ok(())
    }
}
