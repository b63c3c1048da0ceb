//! Metrics with closed labels: every series exists from the start, and counting one is an index
//! into an array and an atomic addition.

use std::fmt::Debug;
use std::marker::PhantomData;

use prometheus::core::{Collector, Metric};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts,
    Registry,
};

/// A label with a closed list of values.
pub trait Label: Copy + Debug + 'static {
    /// Its name.
    const NAME: &'static str;
    /// Its values, in the order of their indices.
    const ALL: &'static [Self];

    /// The value as it is shown.
    fn text(self) -> &'static str;

    /// The place of the value in [`Self::ALL`].
    fn index(self) -> usize;
}

/// Counters by one label.
#[derive(Debug)]
pub struct Counters<L>(Vec<IntCounter>, PhantomData<L>);

impl<L: Label> Counters<L> {
    /// Adds to one of them.
    pub fn add(&self, label: L, count: u64) {
        self.0[label.index()].inc_by(count);
    }

    /// The value of one of them.
    pub fn get(&self, label: L) -> u64 {
        self.0[label.index()].get()
    }
}

/// Counters by two labels; those of some values of the first may be left out.
#[derive(Debug)]
pub struct Counters2<A, B>(Vec<Option<Counters<B>>>, PhantomData<A>);

impl<A: Label, B: Label> Counters2<A, B> {
    /// Adds one.
    pub fn add_one(&self, a: A, b: B) {
        if let Some(counters) = &self.0[a.index()] {
            counters.add(b, 1);
        }
    }

    /// The value of one of them.
    pub fn get(&self, a: A, b: B) -> u64 {
        let counters = self.0[a.index()].as_ref();
        counters.map_or(0, |counters| counters.get(b))
    }
}

/// Gauges by one label; those of some values of it may be left out.
#[derive(Debug)]
pub struct Gauges<L>(Vec<Option<Gauge>>, PhantomData<L>);

impl<L: Label> Gauges<L> {
    /// Sets one of them.
    pub fn set(&self, label: L, value: f64) {
        if let Some(gauge) = &self.0[label.index()] {
            gauge.set(value);
        }
    }

    /// The value of one of them.
    pub fn get(&self, label: L) -> f64 {
        self.0[label.index()].as_ref().map_or(0.0, Gauge::get)
    }
}

/// Histograms by one label; those of some values of it may be left out.
#[derive(Debug)]
pub struct Histograms<L>(Vec<Option<Histogram>>, PhantomData<L>);

impl<L: Label> Histograms<L> {
    /// Notes a value.
    pub fn observe(&self, label: L, value: f64) {
        if let Some(histogram) = &self.0[label.index()] {
            histogram.observe(value);
        }
    }
}

/// Makes metrics, all in one registry.
#[derive(Debug, Default)]
pub(super) struct Maker {
    pub registry: Registry,
}

#[expect(
    clippy::expect_used,
    reason = "names and labels are constants; a wrong one ends every start"
)]
impl Maker {
    fn registered<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect("names and labels are well formed");
        self.registry
            .register(Box::new(collector.clone()))
            .expect("every name is registered once");
        collector
    }

    pub fn counters<L: Label>(&self, name: &str, help: &str) -> Counters<L> {
        let made = IntCounterVec::new(Opts::new(name, help), &[L::NAME]);
        let family = self.registered(made);
        let all = L::ALL.iter();
        let counters = all.map(|label| family.with_label_values(&[label.text()]));
        Counters(counters.collect(), PhantomData)
    }

    /// Counters for each of `labels` and each value of the second label.
    pub fn counters2<A: Label, B: Label>(
        &self,
        name: &str,
        help: &str,
        labels: &[A],
    ) -> Counters2<A, B> {
        let made = IntCounterVec::new(Opts::new(name, help), &[A::NAME, B::NAME]);
        let family = self.registered(made);
        let of = |a: &A| {
            let counter = |b: &B| family.with_label_values(&[a.text(), b.text()]);
            Counters(B::ALL.iter().map(counter).collect(), PhantomData)
        };
        Counters2(of_some(labels, of), PhantomData)
    }

    pub fn counter_family(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.registered(IntCounterVec::new(Opts::new(name, help), labels))
    }

    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.registered(Gauge::new(name, help))
    }

    pub fn gauge_family(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.registered(GaugeVec::new(Opts::new(name, help), labels))
    }

    /// A gauge for each of `labels`.
    pub fn gauges<L: Label>(&self, name: &str, help: &str, labels: &[L]) -> Gauges<L> {
        let family = self.gauge_family(name, help, &[L::NAME]);
        let of = |label: &L| family.with_label_values(&[label.text()]);
        Gauges(of_some(labels, of), PhantomData)
    }

    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.registered(Histogram::with_opts(options))
    }

    /// A histogram for each of `labels`.
    pub fn histograms<L: Label>(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[L],
    ) -> Histograms<L> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let family = self.registered(HistogramVec::new(options, &[L::NAME]));
        let of = |label: &L| family.with_label_values(&[label.text()]);
        Histograms(of_some(labels, of), PhantomData)
    }
}

/// What is made of some values of a label, each in its place among all.
fn of_some<L: Label, T>(labels: &[L], make: impl Fn(&L) -> T) -> Vec<Option<T>> {
    let wanted = |label: &L| labels.iter().any(|wanted| wanted.index() == label.index());
    let all = L::ALL.iter();
    all.map(|label| wanted(label).then(|| make(label)))
        .collect()
}

/// Upper bounds and how many values lie at or below each, and the sum and number of all values.
pub(super) fn read(histogram: &Histogram) -> (Vec<(f64, u64)>, f64, u64) {
    let read = histogram.metric();
    let read = read.get_histogram();
    let buckets = read.get_bucket().iter();
    let buckets = buckets.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
    (
        buckets.collect(),
        read.get_sample_sum(),
        read.get_sample_count(),
    )
}
